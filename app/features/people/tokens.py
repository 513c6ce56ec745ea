"""Tokens that a mail carries: each is good once, for one purpose and a short time."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.owned_tokens import SECRET_BYTES, Token
from app.features.people import queries
from app.kit.clock import new_id, utc_now
from app.kit.random_bytes import RandomBytes
from app.models import OneTimeToken

_random = RandomBytes(SECRET_BYTES)


def issue(db: Session, user_id: UUID, purpose: str, lifetime: timedelta, **data: str) -> str:
    """Makes a token of a person, whom the transaction names; what is stored cannot be turned back into it."""
    token = Token(user_id, new_id(), _random())
    row = OneTimeToken(
        user_id=user_id,
        id=token.id,
        purpose=purpose,
        digest=token.digest,
        data=data,
        expires_at=utc_now() + lifetime,
    )
    db.add(row)
    db.flush()
    return token.text()


def look(db: Session, token: Token, purpose: str) -> OneTimeToken | None:
    """The token's row where it is still good; it stays so. The transaction names the token's owner."""
    return db.scalars(queries.open_token(token, purpose)).one_or_none()


def use(db: Session, token: Token, purpose: str) -> OneTimeToken | None:
    """Takes the token: its row comes back to exactly one of those who try. The transaction names the token's owner."""
    found = db.scalars(queries.open_token(token, purpose).with_for_update()).one_or_none()
    if found is not None:
        found.used_at = utc_now()
        db.flush()
    return found


def void(db: Session, user_id: UUID, *purposes: str) -> None:
    """Ends all tokens of these purposes that are still open."""
    db.execute(queries.void_tokens(user_id, *purposes))
