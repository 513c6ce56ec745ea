"""One-time tokens of people, as links carry them: 256 random bits that name their owner, of which a digest is kept."""

import hmac
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Update, func, select, update
from sqlalchemy.orm import Session

from app.domain.owned_tokens import SECRET_BYTES, Token
from app.kit.clock import new_id, utc_now
from app.kit.random_bytes import RandomBytes
from app.models import OneTimeToken

SIGN_IN = "sign_in"
SIGN_IN_LIFETIME = timedelta(hours=24)
_random = RandomBytes(SECRET_BYTES)


def issue(db: Session, user_id: UUID, purpose: str, lifetime: timedelta, data: Mapping[str, Any] | None = None) -> str:
    """A new token of the person as text; earlier ones of the same purpose open nothing any more."""
    db.execute(_use_up(user_id, purpose))
    token = Token(user_id, new_id(), _random())
    db.add(
        OneTimeToken(
            user_id=user_id,
            id=token.id,
            purpose=purpose,
            digest=token.digest,
            data=dict(data or {}),
            expires_at=utc_now() + lifetime,
        )
    )
    db.flush()
    return token.text()


def look(db: Session, token: Token, purpose: str) -> OneTimeToken | None:
    """What is behind a token that is still good; it stays so."""
    return _genuine(db.scalars(_good(token, purpose)).one_or_none(), token)


def redeem(db: Session, token: Token, purpose: str) -> OneTimeToken | None:
    """What is behind a token that is still good, which it is no more; of many who try at once one succeeds."""
    found = _genuine(db.scalars(_good(token, purpose).with_for_update()).one_or_none(), token)
    if found is not None:
        found.used_at = utc_now()
        db.flush()
    return found


def _genuine(found: OneTimeToken | None, token: Token) -> OneTimeToken | None:
    return found if found is not None and hmac.compare_digest(found.digest, token.digest) else None


def _good(token: Token, purpose: str) -> Select[OneTimeToken]:
    mine = (OneTimeToken.user_id == token.owner_id, OneTimeToken.id == token.id, OneTimeToken.purpose == purpose)
    return select(OneTimeToken).where(*mine, OneTimeToken.used_at.is_(None), OneTimeToken.expires_at > func.now())


def _use_up(user_id: UUID, purpose: str) -> Update:
    mine = (OneTimeToken.user_id == user_id, OneTimeToken.purpose == purpose, OneTimeToken.used_at.is_(None))
    return update(OneTimeToken).where(*mine).values(used_at=func.now()).execution_options(synchronize_session=False)
