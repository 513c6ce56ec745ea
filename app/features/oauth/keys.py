"""Makes the keys that tokens are signed with, turns them, and ends them; for the operator, workers and beat."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Delete, Select, delete, func, or_, select
from sqlalchemy.orm import Session

from app.domain.audit import SYSTEM, Actor, Event, Target
from app.features.audit.operations import record
from app.kit.clock import new_id
from app.kit.encryption import KeyRing
from app.kit.token_keys import Algorithm, KeySet, make, private_half, public_half, sealed_for
from app.models import SigningKey

LOCK = 0x6A776B73  # 'jwks': the class of the advisory lock under which keys are made
TURNED_AFTER = timedelta(days=30)
PUBLISHED_AHEAD = timedelta(hours=1)
"""For how long a key is published before it signs: longer than anybody keeps the published set."""
VERIFIES_ON = timedelta(hours=25)
"""For how long a key verifies after it has signed: ID tokens tell who signs out for as long as a session lasts."""
OPERATOR = Actor("operator")


def in_force() -> Select[SigningKey]:
    """The keys that verify, the oldest first."""
    return (
        select(SigningKey)
        .where(
            SigningKey.organisation_id == SYSTEM,
            SigningKey.revoked_at.is_(None),
            or_(SigningKey.verifies_until.is_(None), SigningKey.verifies_until > func.now()),
        )
        .order_by(SigningKey.signs_from, SigningKey.id)
    )


def key_set(db: Session, ring: KeyRing) -> KeySet:
    """The keys in force, opened."""
    return KeySet.of(db.scalars(in_force()).all(), ring)


def every(db: Session) -> Sequence[SigningKey]:
    """All keys that are remembered, the oldest first."""
    return db.scalars(select(SigningKey).order_by(SigningKey.signs_from, SigningKey.id)).all()


def make_missing(db: Session, ring: KeyRing, actor: Actor = OPERATOR) -> list[SigningKey]:
    """Makes a key for each algorithm that has none which signs now."""
    now = _locked(db)
    return [_add(db, ring, one, now, actor) for one in Algorithm if _newest(db, one, ready_at=now) is None]


def rotate(
    db: Session,
    ring: KeyRing,
    algorithm: Algorithm,
    actor: Actor = OPERATOR,
    *,
    ahead: timedelta = PUBLISHED_AHEAD,
    kept: timedelta = VERIFIES_ON,
) -> SigningKey:
    """Makes a key that is published now and signs after `ahead`; older ones verify for `kept` after that."""
    begins = _locked(db) + ahead
    for old in db.scalars(in_force().where(SigningKey.algorithm == algorithm)):
        old.verifies_until = min(old.verifies_until or begins + kept, begins + kept)
    return _add(db, ring, algorithm, begins, actor)


def turn(db: Session, ring: KeyRing, actor: Actor) -> list[SigningKey]:
    """Makes what is missing, turns what is old, and forgets what verifies nothing any more."""
    made = make_missing(db, ring, actor)
    now = _locked(db)
    for algorithm in Algorithm:
        newest = _newest(db, algorithm)
        if newest is not None and newest.signs_from <= now - TURNED_AFTER:
            made.append(rotate(db, ring, algorithm, actor))
    db.execute(_over(now))
    return made


def revoke(db: Session, ring: KeyRing, key_id: UUID, actor: Actor = OPERATOR) -> bool:
    """Ends a key at once, and with it all that it signed; where it was the one that signs, another one takes over.

    False for a key that is not in force.
    """
    now = _locked(db)
    found = db.scalars(in_force().where(SigningKey.id == key_id)).one_or_none()
    if found is None:
        return False
    found.revoked_at = found.verifies_until = now
    db.flush()
    _note(db, "signing_key.revoked", found, actor)
    make_missing(db, ring, actor)
    return True


def _locked(db: Session) -> datetime:
    """Now, and nobody else makes keys until the transaction ends."""
    db.execute(select(func.pg_advisory_xact_lock(LOCK, 0)))
    now: datetime = db.scalars(select(func.clock_timestamp())).one()
    return now


def _newest(db: Session, algorithm: Algorithm, *, ready_at: datetime | None = None) -> SigningKey | None:
    statement = in_force().where(SigningKey.algorithm == algorithm)
    if ready_at is not None:
        statement = statement.where(SigningKey.signs_from <= ready_at)
    return db.scalars(statement.order_by(None).order_by(SigningKey.signs_from.desc()).limit(1)).one_or_none()


def _add(db: Session, ring: KeyRing, algorithm: Algorithm, signs_from: datetime, actor: Actor) -> SigningKey:
    key, key_id = make(algorithm), new_id()
    row = SigningKey(
        organisation_id=SYSTEM,
        id=key_id,
        algorithm=algorithm,
        public_jwk=public_half(key),
        sealed=ring.encrypt(private_half(key), sealed_for(key_id)),
        signs_from=signs_from,
    )
    db.add(row)
    db.flush()
    _note(db, "signing_key.made", row, actor)
    return row


def _note(db: Session, action: str, key: SigningKey, actor: Actor) -> None:
    details = {"algorithm": key.algorithm, "signs_from": key.signs_from.isoformat()}
    record(db, Event(SYSTEM, action, actor, Target("signing_key", key.id.hex), details=details))


def _over(now: datetime) -> Delete:
    return delete(SigningKey).where(SigningKey.organisation_id == SYSTEM, SigningKey.verifies_until <= now)
