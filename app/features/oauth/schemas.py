"""OAuth clients on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field
from pydantic.config import JsonDict

from app.domain import redirects
from app.domain.api_key import Environment as Kind
from app.domain.ids import encode
from app.domain.permissions import Role
from app.domain.scopes import WORDS
from app.features.oauth.client_keys import MAX_KEYS, key_set
from app.features.oauth.clients import DEFAULT_OVERLAP, LONGEST_OVERLAP, AuthMethod, GrantType
from app.features.oauth.errors import CLIENT, SECRET
from app.kit.wire import WHOLE, Out, OwnIn
from app.models import OAuthClient, OAuthClientSecret

MOST_URIS = 20
# What is refused is told in sentences of its own; the document says it as far as a schema can.
ADDRESS: JsonDict = {"format": "uri"}
KEYS: JsonDict = {"type": "array", "minItems": 1, "maxItems": MAX_KEYS, "items": {"type": "object"}}
KEY_SET: JsonDict = {"required": ["keys"], "properties": {"keys": KEYS}}


def _possible(uri: str) -> str:
    wrong = redirects.fault(uri)
    if wrong is not None:
        raise ValueError(wrong)
    return uri


def _known(scope: str) -> str:
    if scope not in WORDS:
        msg = "is no scope: openid, profile, email, offline_access and the names of permissions are"
        raise ValueError(msg)
    return scope


def _keys(document: dict[str, Any] | None) -> dict[str, Any] | None:
    if document is not None:
        key_set(document)
    return document


Title = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Uri = Annotated[str, AfterValidator(_possible), Field(max_length=redirects.MAX_LENGTH, json_schema_extra=ADDRESS)]
Uris = Annotated[list[Uri], Field(max_length=MOST_URIS)]
Scope = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(map(str, WORDS))})]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(WORDS))]
Grants = Annotated[list[Annotated[GrantType, Field(strict=False)]], Field(min_length=1, max_length=len(GrantType))]
Method = Annotated[AuthMethod, Field(strict=False)]
RoleName = Annotated[Role, Field(strict=False)]
Jwks = Annotated[
    dict[str, Any], AfterValidator(_keys), Field(description="Public keys (RFC 7517)", json_schema_extra=KEY_SET)
]
Algorithm = Literal["RS256", "ES256"]


class OAuthClientPatch(OwnIn):
    """What is to change."""

    name: Title = ""
    redirect_uris: Uris = Field(default_factory=list, description="Where people are sent back to")
    post_logout_redirect_uris: Uris = Field(default_factory=list, description="Where people are sent after logout")
    backchannel_logout_uri: Uri | None = Field(None, description="Where the client hears of logouts")
    grant_types: Grants = Field(default_factory=list)
    scopes: Scopes = Field(default_factory=list, description="What it may ask for")
    role: RoleName = Field(Role.viewer, description="Of its scopes, what it may in its own name")
    id_token_algorithm: Algorithm = "RS256"  # noqa: S105 an algorithm
    jwks: Jwks | None = None

    def changes(self) -> dict[str, Any]:
        """The columns that are given."""
        values = self.model_dump(include=self.model_fields_set)
        for name in values.keys() & {"grant_types", "scopes"}:
            values[name] = sorted(set(values[name]))
        return values


class OAuthClientIn(OAuthClientPatch):
    """A new client."""

    name: Title
    scopes: Scopes
    grant_types: Grants = Field(default_factory=lambda: [GrantType.client_credentials])
    auth_method: Method = Field(AuthMethod.client_secret_basic, description="How it shows who it is; none is public")
    environment: Kind | None = Field(None, description="Where it acts; by default in the caller's own environment")


class OAuthClientRotateIn(OwnIn):
    """For how long the secret so far stays good beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP), WHOLE] = DEFAULT_OVERLAP


class OAuthClientSecretOut(Out):
    """A secret of a client, whose text is never shown again; `hint` is how it ends."""

    id: str
    hint: str
    created_at: datetime
    ends_at: datetime | None


class OAuthClientOut(Out):
    """A program that asks for tokens; `id` is its `client_id`."""

    id: str
    name: str
    environment: str
    auth_method: AuthMethod
    grant_types: list[GrantType]
    scopes: list[str]
    role: Role
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    backchannel_logout_uri: str | None
    id_token_algorithm: str
    jwks: dict[str, Any] | None
    first_party: bool
    created_at: datetime
    updated_at: datetime
    secrets: list[OAuthClientSecretOut]

    @classmethod
    def of(cls, client: OAuthClient, kind: str, secrets: Sequence[OAuthClientSecret], **more: Any) -> Self:  # noqa: ANN401 fields of heirs
        """The wire's view of rows."""
        return cls(
            id=encode(CLIENT, client.id),
            name=client.name,
            environment=kind,
            auth_method=AuthMethod(client.auth_method),
            grant_types=[GrantType(one) for one in client.grant_types],
            scopes=client.scopes,
            role=Role(client.role),
            redirect_uris=client.redirect_uris,
            post_logout_redirect_uris=client.post_logout_redirect_uris,
            backchannel_logout_uri=client.backchannel_logout_uri,
            id_token_algorithm=client.id_token_algorithm,
            jwks=client.jwks,
            first_party=client.first_party,
            created_at=client.created_at,
            updated_at=client.updated_at,
            secrets=[_secret(one) for one in secrets],
            **more,
        )


class NewOAuthClientOut(OAuthClientOut):
    """A client with its newest secret, which is shown this once; null for one that has none."""

    secret: str | None


def _secret(secret: OAuthClientSecret) -> OAuthClientSecretOut:
    return OAuthClientSecretOut(
        id=encode(SECRET, secret.id), hint=secret.hint, created_at=secret.created_at, ends_at=secret.expires_at
    )
