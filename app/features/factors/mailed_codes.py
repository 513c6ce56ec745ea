"""Codes that are mailed to a person who has no factor: eight digits, good once, for ten minutes and for one purpose."""

import hmac
import secrets
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from sqlalchemy.orm import Session

from app.features.factors import queries
from app.features.mail.letters import Letter
from app.features.mail.operations import queue
from app.kit.clock import new_id, utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem
from app.models import OneTimeToken, User

DIGITS = 8
PURPOSE = "mailed_code"
LIFETIME = timedelta(minutes=10)
MOST_ALIVE = 5
TOO_MANY = "Codes were mailed to you several times: look into your mail, or wait a few minutes"


def send(db: Session, ring: KeyRing, user: User, bound_to: UUID) -> None:
    """Mails a code, good for what it is bound to: a ticket or a session. Raises Problem `too_many`."""
    if (db.scalar(queries.live_tokens(user.id, PURPOSE)) or 0) >= MOST_ALIVE:
        raise Problem(Kind.too_many, "limit_reached", TOO_MANY, retry_after=LIFETIME.total_seconds(), word="throttled")
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
    token_id, key_id = new_id(), ring.active
    db.add(
        OneTimeToken(
            user_id=user.id,
            id=token_id,
            purpose=PURPOSE,
            digest=_digest(ring, key_id, token_id, code),
            data={"for": bound_to.hex, "key": key_id},
            expires_at=utc_now() + LIFETIME,
        )
    )
    db.flush()
    queue(db, ring, user.id, Letter("sign_in_code", user.email, {"code": code}))


def holds(db: Session, ring: KeyRing, user_id: UUID, bound_to: UUID, code: str) -> bool:
    """Whether it is the code that was mailed last for this, which it uses up."""
    token = db.scalars(queries.newest_token(user_id, PURPOSE, bound_to.hex)).one_or_none()
    if token is None:
        return False
    expected = _digest(ring, str(token.data["key"]), token.id, "".join(code.split()))
    return hmac.compare_digest(expected, token.digest) and db.scalar(queries.use_token(user_id, token.id)) is not None


def _digest(ring: KeyRing, key_id: str, token_id: UUID, code: str) -> bytes:
    """What is stored of a code. So few digits can be guessed, but not without the key."""
    return hmac.digest(ring.derive(PURPOSE, key_id)[1], token_id.bytes + code.encode(), sha256)
