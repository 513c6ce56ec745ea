"""Brings what lies encrypted under the active key of the ring, in batches, while everything serves."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Select, Update, and_, bindparam, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.features.endpoints.sealing import HEADERS_COLUMN, SECRET_COLUMN, binding
from app.kit.db import table_of
from app.kit.encryption import KeyRing
from app.models import Endpoint, EndpointSecret

BATCH = 500
SECRETS = table_of(EndpointSecret)
ENDPOINTS = table_of(Endpoint)


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
    rows = db.execute(secrets_under_other_keys(ring.header)).all()
    for row in rows:
        aad = binding(SECRET_COLUMN, row.organisation_id, row.endpoint_id)
        turned = ring.encrypt(ring.decrypt(row.secret, aad), aad)
        db.execute(replace_secret(row.organisation_id, row.id, row.secret, turned))
    return len(rows)


def _turn_headers(db: Session, ring: KeyRing) -> int:
    rows = db.execute(headers_under_other_keys(ring.header)).all()
    for row in rows:
        aad = binding(HEADERS_COLUMN, row.organisation_id, row.id)
        turned = ring.encrypt(ring.decrypt(row.headers, aad), aad)
        db.execute(replace_headers(row.organisation_id, row.id, row.headers, turned))
    return len(rows)


def _is_under_another_key(blob: Any, header: bytes) -> Any:  # noqa: ANN401 column expressions
    start = bindparam("header", header, LargeBinary)
    return and_(blob.is_not(None), func.substr(blob, 1, len(header)) != start)


def secrets_under_other_keys(header: bytes) -> Select[*tuple[Any, ...]]:
    """A batch of secrets whose bytes do not begin with `header`, locked."""
    return (
        select(SECRETS.c.organisation_id, SECRETS.c.endpoint_id, SECRETS.c.id, SECRETS.c.secret)
        .where(_is_under_another_key(SECRETS.c.secret, header))
        .limit(BATCH)
        .with_for_update()
    )


def headers_under_other_keys(header: bytes) -> Select[*tuple[Any, ...]]:
    """A batch of endpoints whose headers' bytes do not begin with `header`, locked."""
    return (
        select(ENDPOINTS.c.organisation_id, ENDPOINTS.c.id, ENDPOINTS.c.headers)
        .where(_is_under_another_key(ENDPOINTS.c.headers, header))
        .limit(BATCH)
        .with_for_update()
    )


def replace_secret(organisation_id: UUID, secret_id: UUID, old: bytes, new: bytes) -> Update:
    """Puts `new` where `old` still is."""
    return (
        update(SECRETS)
        .where(SECRETS.c.organisation_id == organisation_id, SECRETS.c.id == secret_id, SECRETS.c.secret == old)
        .values(secret=new)
    )


def replace_headers(organisation_id: UUID, endpoint_id: UUID, old: bytes, new: bytes) -> Update:
    """Puts `new` where `old` still is; the endpoint itself has not changed, so its revision stays."""
    return (
        update(ENDPOINTS)
        .where(
            ENDPOINTS.c.organisation_id == organisation_id, ENDPOINTS.c.id == endpoint_id, ENDPOINTS.c.headers == old
        )
        .values(headers=new)
    )
