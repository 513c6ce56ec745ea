"""Makes OAuth clients, gives them secrets, and ends both."""

import base64
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.api_key import Environment
from app.domain.audit import Target
from app.domain.ids import encode
from app.domain.permissions import Role
from app.features.oauth import queries
from app.features.oauth.errors import CLIENT, has_no_secrets, last_secret, rotation_in_progress
from app.features.organisations.operations import environment_id
from app.kit import changes
from app.kit.clock import new_id, utc_now
from app.kit.errors import not_found
from app.models import OAuthClient, OAuthClientSecret

SECRET_BYTES = 32
PREFIX = "whcs_"
MOST_LIVE = 2
DEFAULT_OVERLAP = 86400
LONGEST_OVERLAP = 7 * 86400


class AuthMethod(StrEnum):
    """How a client proves who it is."""

    none = "none"
    client_secret_basic = "client_secret_basic"  # noqa: S105 a name of OAuth's
    client_secret_post = "client_secret_post"  # noqa: S105 as above
    private_key_jwt = "private_key_jwt"


class GrantType(StrEnum):
    """For what a client is given tokens."""

    authorization_code = "authorization_code"
    refresh_token = "refresh_token"  # noqa: S105 a name of OAuth's
    client_credentials = "client_credentials"
    password = "password"  # noqa: S105 as above


FOR_CONFIDENTIAL = frozenset({GrantType.client_credentials, GrantType.password})
CONFIDENTIAL = "client_credentials and password are for clients that can prove who they are"
FIRST_PARTY = "password is for clients of the first party, which the operator makes"
WITH_SECRET = frozenset({AuthMethod.client_secret_basic, AuthMethod.client_secret_post})


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client that is to be made; see OAuthClient."""

    name: str
    environment: Environment
    auth_method: AuthMethod
    grant_types: Sequence[GrantType]
    scopes: Sequence[str]
    redirect_uris: Sequence[str] = ()
    post_logout_redirect_uris: Sequence[str] = ()
    backchannel_logout_uri: str | None = None
    role: Role = Role.viewer
    id_token_algorithm: str = "RS256"  # noqa: S105 an algorithm
    jwks: dict[str, Any] | None = None
    first_party: bool = False


def fault(columns: Mapping[str, Any]) -> tuple[str, str] | None:
    """Which column of a client does not fit to the others, and why; None when all fit."""
    grants, method = set(columns["grant_types"]), columns["auth_method"]
    by_code, signs = GrantType.authorization_code in grants, method == AuthMethod.private_key_jwt
    checks = (
        ("grant_types", not grants - {GrantType.refresh_token}, "needs a grant by which the first token is got"),
        ("grant_types", method == AuthMethod.none and bool(grants & FOR_CONFIDENTIAL), CONFIDENTIAL),
        ("grant_types", GrantType.password in grants and not columns["first_party"], FIRST_PARTY),
        ("redirect_uris", by_code and not columns["redirect_uris"], "needs one for the grant authorization_code"),
        ("jwks", signs and not columns["jwks"], "is needed for private_key_jwt"),
        ("jwks", not signs and bool(columns["jwks"]), "is for private_key_jwt alone"),
        ("scopes", not columns["scopes"], "needs one at least"),
    )
    return next(((field, why) for field, wrong, why in checks if wrong), None)


def create(db: Session, organisation_id: UUID, new: NewClient) -> tuple[OAuthClient, str | None]:
    """Adds a client; its secret comes with it, if it has one. LookupError without such an organisation."""
    made = OAuthClient(
        organisation_id=organisation_id,
        id=new_id(),
        environment_id=environment_id(db, organisation_id, new.environment),
        name=new.name,
        auth_method=new.auth_method,
        redirect_uris=list(new.redirect_uris),
        post_logout_redirect_uris=list(new.post_logout_redirect_uris),
        backchannel_logout_uri=new.backchannel_logout_uri,
        grant_types=sorted(set(new.grant_types)),
        scopes=sorted(set(new.scopes)),
        role=new.role,
        first_party=new.first_party,
        id_token_algorithm=new.id_token_algorithm,
        jwks=new.jwks,
    )
    db.add(made)
    db.flush()
    return made, _add_secret(db, made) if made.auth_method in WITH_SECRET else None


def rotate(db: Session, client: OAuthClient, overlap: timedelta) -> str:
    """Gives a locked client a new secret, which is returned; the old one ends when the overlap is over.

    Raises `no_secrets`, and `rotation_in_progress` while two are in force.
    """
    if client.auth_method not in WITH_SECRET:
        raise has_no_secrets()
    now = utc_now()
    db.execute(queries.drop_ended(client.organisation_id, client.id))
    live = secrets(db, client)
    if len(live) >= MOST_LIVE:
        raise rotation_in_progress(live[-1].id)
    for old in live:
        old.expires_at = min(old.expires_at or now + overlap, now + overlap)
    _touch(db, client, now)
    return _add_secret(db, client)


def end_secret(db: Session, client: OAuthClient, secret_id: UUID) -> None:
    """Ends a secret of a locked client at once. Raises `not_found`, `last_secret`."""
    live = secrets(db, client)
    ended = next((one for one in live if one.id == secret_id), None)
    if ended is None:
        raise not_found("Secret")
    if len(live) == 1:
        raise last_secret()
    ended.expires_at = utc_now()
    _touch(db, client, ended.expires_at)


def delete(db: Session, organisation_id: UUID, client_id: UUID) -> bool:
    """Ends a client with all that it was given; False for one that was ended before."""
    changes.note(db, organisation_id)
    return db.scalar(queries.end(organisation_id, client_id)) is not None


def secrets(db: Session, client: OAuthClient) -> Sequence[OAuthClientSecret]:
    """The secrets of a client that are in force, the newest first."""
    return db.scalars(queries.secrets(client.organisation_id, [client.id])).all()


def is_secret(stored: Sequence[OAuthClientSecret], text: str) -> bool:
    """Whether the text is one of the secrets."""
    given = digest(text)
    return any(hmac.compare_digest(one.digest, given) for one in stored)


def digest(text: str) -> bytes:
    """The 32 bytes that are stored instead of a secret: 256 random bits cannot be guessed."""
    return sha256(text.encode()).digest()


def client_target(client: OAuthClient) -> Target:
    """A client as the target of audit events."""
    return Target("client", encode(CLIENT, client.id), client.name)


def _add_secret(db: Session, client: OAuthClient) -> str:
    text = PREFIX + base64.urlsafe_b64encode(os.urandom(SECRET_BYTES)).rstrip(b"=").decode()
    db.add(
        OAuthClientSecret(
            organisation_id=client.organisation_id,
            client_id=client.id,
            id=new_id(),
            digest=digest(text),
            hint=text[-4:],
        )
    )
    db.flush()
    return text


def _touch(db: Session, client: OAuthClient, now: datetime) -> None:
    """What its secrets are is part of what callers see of a client: it has a new version."""
    client.updated_at = now
    db.flush()
