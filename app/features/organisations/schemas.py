"""An organisation and its API keys on the wire."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from app.domain import networks
from app.domain.api_key import Environment as Kind
from app.domain.ids import encode
from app.domain.permissions import Permission, Role
from app.features.organisations.errors import KEY, SECRET, USER
from app.features.organisations.operations import MOST_KEY_DAYS
from app.features.organisations.rotation import DEFAULT_OVERLAP, LONGEST_OVERLAP, Described
from app.kit.wire import WHOLE, Instant, Out, OwnIn
from app.models import ApiKeySecret, Environment, Organisation


def _normal(texts: list[str]) -> list[str]:
    return [str(one) for one in networks.parse(texts)]


Title = Annotated[str, Field(min_length=1, max_length=256)]
Networks = Annotated[list[str], AfterValidator(_normal), Field(max_length=networks.MAX_NETWORKS)]
"""Networks or addresses; what is an IPv4 address mapped into IPv6 becomes that address."""
RoleName = Annotated[Role, Field(strict=False)]
Scopes = Annotated[list[Annotated[Permission, Field(strict=False)]], Field(min_length=1, max_length=len(Permission))]
Days = Annotated[int, Field(ge=1, le=MOST_KEY_DAYS), WHOLE]


class OrganisationPatch(OwnIn):
    """What is to change; null clears."""

    name: Title = ""
    key_days: Days | None = Field(None, description="For how many days a secret of a key is good")
    allowed_networks: Networks = Field(default_factory=list, description="If any, only from these")
    denied_networks: Networks = Field(default_factory=list, description="Never from these")
    mfa_required: bool = Field(default=False, description="Its people need a second factor, from their next request on")

    def changes(self) -> dict[str, Any]:
        """The columns that are given."""
        return self.model_dump(include=self.model_fields_set)


class EnvironmentOut(Out):
    """One of an organisation's walled-off parts."""

    id: str
    kind: str


class OrganisationOut(Out):
    """An organisation, with the policies that hold in all of its environments."""

    id: str
    name: str
    key_days: int | None
    allowed_networks: list[str]
    denied_networks: list[str]
    mfa_required: bool
    environments: list[EnvironmentOut]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Organisation, environments: Iterable[Environment]) -> Self:
        """The wire's view of rows."""
        return cls(
            id=encode("org", row.id),
            name=row.name,
            key_days=row.key_days,
            allowed_networks=row.allowed_networks,
            denied_networks=row.denied_networks,
            mfa_required=row.mfa_required,
            environments=[EnvironmentOut(id=encode("env", one.id), kind=one.kind) for one in environments],
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class ApiKeyPatch(OwnIn):
    """What is to change; null clears."""

    name: Title = ""
    role: RoleName = Role.viewer
    scopes: Scopes | None = Field(None, description="Of what its role may, only this")
    allowed_networks: Networks = Field(default_factory=list, description="If any, only from these")
    denied_networks: Networks = Field(default_factory=list, description="Never from these")
    expires_at: Instant | None = None

    def changes(self) -> dict[str, Any]:
        """The columns that are given."""
        values = self.model_dump(include=self.model_fields_set)
        if values.get("scopes") is not None:
            values["scopes"] = sorted(set(values["scopes"]))
        return values


class ApiKeyIn(ApiKeyPatch):
    """A new key."""

    name: Title
    role: RoleName
    environment: Kind | None = Field(None, description="By default the caller's own")
    signs: bool = Field(default=False, description="It signs requests, and is never sent")


class ApiKeyRotateIn(OwnIn):
    """For how long the secret so far stays good beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP), WHOLE] = DEFAULT_OVERLAP


class ApiKeySecretOut(Out):
    """One of the texts that a key is known by, which is never shown again; `hint` is how it ends."""

    id: str
    hint: str
    created_at: datetime
    ends_at: datetime | None


class ApiKeyOut(Out):
    """An API key; `made_by` is the person with whose place in the organisation it ends, if it is somebody's."""

    id: str
    name: str
    environment: str
    role: Role
    scopes: list[str] | None
    signs: bool
    made_by: str | None
    allowed_networks: list[str]
    denied_networks: list[str]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None
    secrets: list[ApiKeySecretOut]

    @classmethod
    def of(cls, found: Described, secrets: Sequence[ApiKeySecret], **more: Any) -> Self:  # noqa: ANN401 fields of heirs
        """The wire's view of rows."""
        key = found.key
        return cls(
            id=encode(KEY, key.id),
            name=key.name,
            environment=found.environment,
            role=Role(key.role),
            scopes=key.scopes,
            signs=key.signs,
            made_by=None if key.user_id is None else encode(USER, key.user_id),
            allowed_networks=key.allowed_networks,
            denied_networks=key.denied_networks,
            created_at=key.created_at,
            updated_at=key.updated_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            last_used_from=None if key.last_used_from is None else str(key.last_used_from),
            secrets=[_secret(found, one) for one in secrets],
            **more,
        )


class NewApiKeyOut(ApiKeyOut):
    """An API key with its newest text, which is shown this once."""

    key: str


def _secret(found: Described, secret: ApiKeySecret) -> ApiKeySecretOut:
    return ApiKeySecretOut(
        id=encode(SECRET, secret.id),
        hint=secret.hint,
        created_at=secret.created_at,
        ends_at=found.ends_at(secret),
    )
