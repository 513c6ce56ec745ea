"""What comes of one grant: a family of tokens, which ends as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import ANONYMOUS, NOWHERE, Actor, Event, Outcome, Target, Where
from app.domain.ids import encode
from app.domain.owned_tokens import SECRET_BYTES, Token
from app.features.audit.operations import record
from app.features.mail.letters import Letter
from app.features.mail.operations import queue
from app.features.oauth import queries
from app.features.oauth.errors import CLIENT
from app.kit import changes
from app.kit.clock import new_id, utc_now
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.random_bytes import RandomBytes
from app.models import OAuthClient, OAuthCode, OAuthFamily, OAuthRefreshToken, User

CODE_LIFETIME = timedelta(seconds=60)
FAMILY_LIFETIME = timedelta(days=30)
"""How long a grant lasts at most, however often its tokens are renewed."""
REPLAYED_CODE, REUSED_TOKEN = "code used twice", "refresh token used twice"
_random = RandomBytes(SECRET_BYTES)


@dataclass(frozen=True, slots=True)
class NewFamily:
    """A grant that is to be made; see OAuthFamily. `session_id` is None where it may outlive the session."""

    scopes: Sequence[str]
    expires_at: datetime
    user_id: UUID | None = None
    session_id: UUID | None = None
    began_in: UUID | None = None
    session_version: int | None = None
    methods: Sequence[str] = ()
    authenticated_at: datetime | None = None
    claims: dict[str, Any] | None = field(default=None)


@dataclass(frozen=True, slots=True)
class NewCode:
    """A code that is to be given away; see OAuthCode."""

    redirect_uri: str
    challenge: str
    nonce: str | None = None


def begin(db: Session, client: OAuthClient, new: NewFamily) -> OAuthFamily:
    """Begins a family."""
    family = OAuthFamily(
        organisation_id=client.organisation_id,
        id=new_id(),
        client_id=client.id,
        user_id=new.user_id,
        session_id=new.session_id,
        began_in=new.began_in,
        session_version=new.session_version,
        scopes=list(new.scopes),
        methods=list(new.methods),
        authenticated_at=new.authenticated_at,
        claims=new.claims,
        expires_at=new.expires_at,
    )
    db.add(family)
    db.flush()
    return family


def add_code(db: Session, family: OAuthFamily, new: NewCode) -> str:
    """A code for the family's first tokens; its text is given away and not kept."""
    assert family.user_id is not None
    token = Token(family.organisation_id, new_id(), _random())
    db.add(
        OAuthCode(
            organisation_id=family.organisation_id,
            id=token.id,
            family_id=family.id,
            client_id=family.client_id,
            user_id=family.user_id,
            digest=token.digest,
            redirect_uri=new.redirect_uri,
            challenge=new.challenge,
            scopes=family.scopes,
            nonce=new.nonce,
            expires_at=utc_now() + CODE_LIFETIME,
        )
    )
    db.flush()
    return token.text()


def add_refresh_token(db: Session, family: OAuthFamily, scopes: Sequence[str], parent_id: UUID | None) -> str:
    """One more refresh token of the family; its text, which names the family, is given away and not kept."""
    token = Token(family.organisation_id, family.id, _random())
    db.add(
        OAuthRefreshToken(
            organisation_id=family.organisation_id,
            family_id=family.id,
            id=new_id(),
            parent_id=parent_id,
            digest=token.digest,
            scopes=list(scopes),
        )
    )
    db.flush()
    return token.text()


def is_in_force(db: Session, organisation_id: UUID, family_id: UUID, token_id: str = "") -> bool:
    """Whether the family, and the access token of this id, is in force, with all that it hangs on."""
    return db.execute(queries.in_force(organisation_id, family_id, token_id)).first() is not None


def revoke(
    db: Session,
    family: OAuthFamily,
    reason: str,
    *,
    actor: Actor = ANONYMOUS,
    where: Where = NOWHERE,
    outcome: Outcome = Outcome.success,
) -> bool:
    """Ends a family with all its tokens; False for one that was ended before."""
    if family.revoked_at is not None:
        return False
    family.revoked_at, family.revoked_reason = utc_now(), reason
    db.flush()
    changes.note(db, family.organisation_id)
    target = Target("client", encode(CLIENT, family.client_id))
    owner = None if family.user_id is None else encode("user", family.user_id)
    details = {"family": family.id.hex, "reason": reason, "user": owner}
    record(db, Event(family.organisation_id, "oauth.family_revoked", actor, target, where, outcome, details))
    return True


def tell(db: Session, ring: KeyRing, family: OAuthFamily, client: OAuthClient) -> None:
    """Writes to the person that somebody else may have a token of this client; the transaction sees the person too."""
    if family.user_id is None:
        return
    enter_tenants(db, [family.organisation_id, family.user_id])
    user = db.get(User, family.user_id)
    if user is not None:
        queue(db, ring, user.id, Letter("token_reused", user.email, {"client": client.name}))
