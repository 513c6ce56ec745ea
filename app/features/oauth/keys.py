"""Makes the keys that tokens are signed with, turns them, and ends them; for the operator, workers and beat."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import SYSTEM, Actor, Event, Target
from app.features.audit.operations import record
from app.features.oauth import key_queries as queries
from app.kit.clock import new_id
from app.kit.encryption import KeyRing
from app.kit.token_keys import Algorithm, Key, KeySet, make, private_half, public_half, sealed_for
from app.models import SigningKey

TURNED_AFTER = timedelta(days=30)
PUBLISHED_AHEAD = timedelta(hours=1)
"""For how long a key is published before it signs: longer than anybody keeps the published set."""
VERIFIES_ON = timedelta(hours=25)
"""For how long a key verifies after it has signed: ID tokens tell who signs out for as long as a session lasts."""
OPERATOR = Actor("operator")
Fresh = Mapping[Algorithm, Key]
"""New keys that nobody has yet."""


def key_set(db: Session, ring: KeyRing) -> KeySet:
    """The keys in force, opened."""
    return KeySet.of(db.scalars(queries.in_force()).all(), ring)


def every(db: Session) -> Sequence[SigningKey]:
    """All keys that are remembered, the oldest first."""
    return db.scalars(queries.every()).all()


def fresh(algorithms: Iterable[Algorithm]) -> Fresh:
    """New keys, made before a transaction begins: an RSA key takes its time, and locks are not held meanwhile."""
    return {one: make(one) for one in algorithms}


def missing(db: Session) -> list[Algorithm]:
    """The algorithms by which nothing signs now."""
    now = _now(db)
    return [one for one in Algorithm if _newest(db, one, ready_at=now) is None]


def due(db: Session) -> list[Algorithm]:
    """The algorithms of which a new key is wanted, since there is none or it is old."""
    old = _now(db) - TURNED_AFTER
    return [one for one in Algorithm if (found := _newest(db, one)) is None or found.signs_from <= old]


def make_missing(db: Session, ring: KeyRing, made: Fresh, actor: Actor = OPERATOR) -> list[SigningKey]:
    """Takes of these keys those whose algorithms have none which signs now."""
    now = _locked(db)
    return [_add(db, ring, one, made[one], now, actor) for one in missing(db) if one in made]


def rotate(
    db: Session,
    ring: KeyRing,
    algorithm: Algorithm,
    key: Key,
    actor: Actor = OPERATOR,
    *,
    ahead: timedelta = PUBLISHED_AHEAD,
    kept: timedelta = VERIFIES_ON,
) -> SigningKey:
    """Takes a key that is published now and signs after `ahead`; older ones verify for `kept` after that."""
    begins = _locked(db) + ahead
    for old in db.scalars(queries.in_force().where(SigningKey.algorithm == algorithm)):
        old.verifies_until = min(old.verifies_until or begins + kept, begins + kept)
    return _add(db, ring, algorithm, key, begins, actor)


def turn(db: Session, ring: KeyRing, made: Fresh, actor: Actor) -> list[SigningKey]:
    """Takes of these keys those that are wanted, and forgets what verifies nothing any more."""
    taken = make_missing(db, ring, made, actor)
    taken += [rotate(db, ring, one, made[one], actor) for one in due(db) if one in made]
    db.execute(queries.over(_now(db)))
    return taken


def revoke(db: Session, ring: KeyRing, key_id: UUID, made: Fresh, actor: Actor = OPERATOR) -> bool:
    """Ends a key at once, and with it all that it signed; where it was the one that signs, one of these takes over.

    False for a key that is not in force.
    """
    now = _locked(db)
    found = db.scalars(queries.in_force().where(SigningKey.id == key_id)).one_or_none()
    if found is None:
        return False
    found.revoked_at = found.verifies_until = now
    db.flush()
    _note(db, "signing_key.revoked", found, actor)
    make_missing(db, ring, made, actor)
    return True


def _locked(db: Session) -> datetime:
    """Now, and nobody else makes keys until the transaction ends."""
    db.execute(queries.lock())
    return _now(db)


def _now(db: Session) -> datetime:
    now: datetime = db.scalars(queries.now()).one()
    return now


def _newest(db: Session, algorithm: Algorithm, *, ready_at: datetime | None = None) -> SigningKey | None:
    statement = queries.in_force().where(SigningKey.algorithm == algorithm)
    if ready_at is not None:
        statement = statement.where(SigningKey.signs_from <= ready_at)
    return db.scalars(statement.order_by(None).order_by(SigningKey.signs_from.desc()).limit(1)).one_or_none()


def _add(db: Session, ring: KeyRing, algorithm: Algorithm, key: Key, signs_from: datetime, actor: Actor) -> SigningKey:
    key_id = new_id()
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
