"""Brings what lies encrypted under the active key of the ring, in batches, while everything serves."""

from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from app.features.endpoints import rotation_queries as queries
from app.features.endpoints.sealing import HEADERS_COLUMN, SECRET_COLUMN, binding
from app.kit.encryption import KeyRing

BATCH = 500


def rotate(sessions: sessionmaker[Session], ring: KeyRing, report: Callable[[int], None]) -> int:
    """Re-encrypts every secret and header set that is under another key; returns how many, and reports on the way.

    Each batch is a transaction. A row that somebody changes meanwhile is left to them: they write under the active
    key. Undecryptable is raised when a key that a row needs is not in the ring; what was done stays done.
    """
    done = 0
    for turn in (_turn_secrets, _turn_headers):
        while count := _in_transaction(sessions, ring, turn):
            done += count
            report(done)
    return done


Turn = Callable[[Session, KeyRing], int]


def _in_transaction(sessions: sessionmaker[Session], ring: KeyRing, turn: Turn) -> int:
    with sessions.begin() as db:
        return turn(db, ring)


def _turn_secrets(db: Session, ring: KeyRing) -> int:
    rows = db.execute(queries.secrets_under_other_keys(ring.header, BATCH)).all()
    for row in rows:
        aad = binding(SECRET_COLUMN, row.environment_id, row.endpoint_id)
        turned = ring.encrypt(ring.decrypt(row.secret, aad), aad)
        db.execute(queries.replace_secret(row.environment_id, row.id, row.secret, turned))
    return len(rows)


def _turn_headers(db: Session, ring: KeyRing) -> int:
    rows = db.execute(queries.headers_under_other_keys(ring.header, BATCH)).all()
    for row in rows:
        aad = binding(HEADERS_COLUMN, row.environment_id, row.id)
        turned = ring.encrypt(ring.decrypt(row.headers, aad), aad)
        db.execute(queries.replace_headers(row.environment_id, row.id, row.headers, turned))
    return len(rows)
