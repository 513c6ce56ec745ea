"""Brings what lies encrypted under the active key of the ring, in batches, while everything serves."""

from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from app.features.key_ring import queries
from app.features.key_ring.columns import SEALED, Sealed
from app.kit.encryption import KeyRing

BATCH = 500


def rotate(sessions: sessionmaker[Session], ring: KeyRing, report: Callable[[int], None]) -> int:
    """Re-encrypts everything that is under another key; returns how many, and reports on the way.

    Each batch is a transaction. A row that somebody changes meanwhile is left to them: they write under the active
    key. Undecryptable is raised when a key that a row needs is not in the ring; what was done stays done.
    """
    done = 0
    for sealed in SEALED:
        while count := _turn(sessions, ring, sealed):
            done += count
            report(done)
    return done


def _turn(sessions: sessionmaker[Session], ring: KeyRing, sealed: Sealed) -> int:
    with sessions.begin() as db:
        rows = db.execute(queries.under_other_keys(sealed.column, ring.header, BATCH)).all()
        for row in rows:
            aad = sealed.binding(row)
            db.execute(queries.replace(sealed.column, row, ring.encrypt(ring.decrypt(row.sealed_bytes, aad), aad)))
    return len(rows)
