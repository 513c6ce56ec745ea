"""Identity providers on the wire."""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field

from app.domain import email
from app.domain.ids import encode
from app.domain.permissions import Role
from app.features.identity_providers.domains import challenge_name, challenge_text
from app.features.identity_providers.errors import PROVIDER
from app.kit.wire import Out, OwnIn
from app.models import IdentityProvider, ProviderDomain

OPENID = "openid"
DEFAULT_SCOPES = (OPENID, "email", "profile")
SCOPE = r"^[\x21\x23-\x5b\x5d-\x7e]+$"
PRINTABLE = r"^[\x20-\x7e]+$"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class AuthMethod(StrEnum):
    """How Postrider shows the provider who it is."""

    basic = "client_secret_basic"
    post = "client_secret_post"
    none = "none"


def _with_openid(scopes: list[str]) -> list[str]:
    return [OPENID, *(one for one in dict.fromkeys(scopes) if one != OPENID)]


def _domain(text: str) -> str:
    key = email.key(f"x@{text}")
    found = "" if key is None else email.domain(key)
    if "." not in found or not all(LABEL.fullmatch(label) for label in found.split(".")):
        msg = "is no domain, such as example.com"
        raise ValueError(msg)
    return found


Title = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Issuer = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="Exactly as the provider's metadata has it",
        json_schema_extra={"format": "uri"},
    ),
]
ClientId = Annotated[str, Field(min_length=1, max_length=512, pattern=PRINTABLE)]
Secret = Annotated[str, Field(min_length=1, max_length=1024, pattern=PRINTABLE)]
Scopes = Annotated[
    list[Annotated[str, Field(max_length=256, pattern=SCOPE)]], Field(max_length=20), AfterValidator(_with_openid)
]
RoleName = Annotated[Role, Field(strict=False)]
Method = Annotated[AuthMethod, Field(strict=False)]
Domain = Annotated[
    str,
    AfterValidator(_domain),
    Field(min_length=1, max_length=253, json_schema_extra={"pattern": r"^[^\x00-\x20\x7f@:/]+$"}),
]


class IdentityProviderPatch(OwnIn):
    """What is to change; null clears."""

    name: Title = ""
    issuer: Issuer = ""
    client_id: ClientId = ""
    client_secret: Secret | None = Field(None, repr=False, description="Never shown again")
    auth_method: Method | None = Field(
        None, description="How the secret is sent to the token endpoint; by default client_secret_basic, none without"
    )
    scopes: Scopes = Field(default_factory=lambda: list(DEFAULT_SCOPES))
    role: RoleName = Field(Role.viewer, description="What people get who come for the first time")
    enabled: bool = Field(default=True, description="Whether people may sign in at it")

    def changes(self) -> dict[str, Any]:
        """The fields that are given."""
        return self.model_dump(include=self.model_fields_set)

    def told(self) -> dict[str, Any]:
        """What the audit log is told of them; of a secret only that there is another one."""
        return {name: "changed" if name == "client_secret" else value for name, value in self.changes().items()}


class IdentityProviderIn(IdentityProviderPatch):
    """A new identity provider."""

    name: Title
    issuer: Issuer
    client_id: ClientId


class ProviderDomainIn(OwnIn):
    """A domain whose people the provider is to vouch for."""

    domain: Domain


class ProviderDomainOut(Out):
    """A domain, and the TXT record that proves it to be the organisation's."""

    domain: str
    record_name: str
    record_text: str
    verified_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: ProviderDomain) -> Self:
        """The row as it is shown."""
        return cls(
            domain=row.domain,
            record_name=challenge_name(row.domain),
            record_text=challenge_text(row.challenge),
            verified_at=row.verified_at,
            created_at=row.created_at,
        )


class IdentityProviderOut(Out):
    """An identity provider, and what it has to know of Postrider."""

    id: str
    name: str
    issuer: str
    client_id: str
    has_client_secret: bool
    auth_method: str
    scopes: list[str]
    role: str
    enabled: bool
    redirect_uri: str
    backchannel_logout_uri: str
    initiate_login_uri: str
    domains: list[ProviderDomainOut]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: IdentityProvider, domains: Sequence[ProviderDomain], public_url: str) -> Self:
        """The row as it is shown; its secret never is."""
        shown = encode(PROVIDER, row.id)
        base = f"{public_url.rstrip('/')}/sign-in/provider"
        return cls(
            id=shown,
            name=row.name,
            issuer=row.issuer,
            client_id=row.client_id,
            has_client_secret=row.sealed_secret is not None,
            auth_method=row.auth_method,
            scopes=row.scopes,
            role=row.role,
            enabled=row.disabled_at is None,
            redirect_uri=f"{base}/callback/{shown}",
            backchannel_logout_uri=f"{base}/{shown}/logout",
            initiate_login_uri=f"{base}/start?provider={shown}",
            domains=[ProviderDomainOut.of(one) for one in domains],
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
