"""Writes audit events, seals them, and verifies the chain."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from itertools import accumulate
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import Event
from app.domain.audit_chain import BEGINNING, LATEST, Fault, Keys, Record, Seal, first_fault, link
from app.features.audit import queries
from app.features.audit.documents import described, seal_of
from app.features.audit.keys import signing_key
from app.kit.arrays import transpose
from app.kit.encryption import KeyRing
from app.models import AuditEvent, AuditSeal

BATCH = 500
STREAM = {"yield_per": 500}


class Adds(Protocol):
    """A session of either kind."""

    def add(self, instance: object) -> None:
        """Takes a new row along."""


def record(db: Adds, event: Event) -> None:
    """Writes an event in the caller's own transaction: it is there when, and only when, that is committed."""
    db.add(AuditEvent.of(event))


def seal(db: Session, ring: KeyRing, organisation_id: UUID) -> Seal | None:
    """Puts the oldest waiting events in the chain and seals it; None when none waits, or another process seals.

    The transaction holds the organisation's lock until it ends, so that the chain cannot fork.
    """
    is_ours, now = db.execute(queries.take(organisation_id)).one()
    events = db.scalars(queries.unsealed(organisation_id, BATCH)).all() if is_ours else ()
    if not events:
        return None
    last = db.scalars(queries.last_seal(organisation_id)).one_or_none()
    begun = last.hash if last else BEGINNING
    hashes = list(accumulate(map(described, events), link, initial=begun))[1:]
    row = _next_seal(ring, organisation_id, last, hashes, now)
    links = list(zip(range(row.first_sequence, row.last_sequence + 1), [one.id for one in events], hashes, strict=True))
    db.execute(queries.put_in_chain(organisation_id), transpose(links, "sequence", "event_id", "hash"))
    db.add(row)
    db.execute(queries.take_out_of_queue(organisation_id, [one.id for one in events]))
    return seal_of(row)


def _next_seal(
    ring: KeyRing, organisation_id: UUID, last: AuditSeal | None, hashes: Sequence[bytes], now: datetime
) -> AuditSeal:
    key_id, key = signing_key(ring)
    first = last.last_sequence + 1 if last else 1
    row = AuditSeal(
        organisation_id=organisation_id,
        number=last.number + 1 if last else 1,
        first_sequence=first,
        last_sequence=first + len(hashes) - 1,
        hash=hashes[-1],
        previous_hash=last.hash if last else BEGINNING,
        sealed_at=now,
        key_id=key_id,
        signature=b"",
    )
    row.signature = seal_of(row).sign(key)
    return row


def verify(db: Session, organisation_id: UUID, keys: Keys, anchors: Iterable[Seal] = ()) -> Fault | None:
    """The first fault in the organisation's log; None when it is as it was sealed, and reaches every anchor.

    Reads everything, row by row; the transaction must see one moment (REPEATABLE READ).
    """
    with closing(records(db, organisation_id)) as chain, closing(seals(db, organisation_id)) as sealed:
        found = first_fault(chain, sealed, keys, anchors)
    return found or _unsealed_fault(db, organisation_id)


def seals(db: Session, organisation_id: UUID) -> Generator[Seal]:
    """The seals in their order."""
    with db.scalars(queries.seals(organisation_id), execution_options=STREAM) as rows:
        yield from map(seal_of, rows)


def records(db: Session, organisation_id: UUID) -> Generator[Record]:
    """The chain with its events, in its order."""
    with db.execute(queries.chain(organisation_id), execution_options=STREAM) as rows:
        for sequence, digest, event in rows:
            yield Record(sequence, digest, None if event is None else described(event))


def _unsealed_fault(db: Session, organisation_id: UUID) -> Fault | None:
    """What is wrong with events that no seal covers."""
    last = db.scalars(queries.last_seal(organisation_id)).one_or_none()
    following = last.last_sequence + 1 if last else 1
    if (found := db.scalar(queries.outside(organisation_id))) is not None:
        return Fault(following, f"taken out of the chain: event {found}")
    if (found := db.scalar(queries.vanished(organisation_id))) is not None:
        return Fault(following, f"removed before it was sealed: event {found}")
    if last and (found := db.scalar(queries.backdated(organisation_id, last.sealed_at - LATEST))) is not None:
        return Fault(following, f"inserted: event {found} was written long after it says that it happened")
    return None
