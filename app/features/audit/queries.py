"""Statements about audit events, the chain over them and its seals."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CompoundSelect, Delete, Select, Text, Uuid, cast, delete, exists, func, select
from sqlalchemy.dialects.postgresql import INET, insert
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningInsert

from app.domain.ids import lowest
from app.kit.arrays import unnest
from app.kit.db import table_of
from app.models import ApiKeyAddress, AuditChain, AuditEvent, AuditSeal, AuditUnsealed

# Ids are made by the clocks of many machines, moments by the database's.
SKEW = timedelta(hours=1)
SEALING = 0x61756474  # 'audt': the class of the advisory locks of sealing


@dataclass(frozen=True, slots=True)
class EventFilters:
    """What a list of events is narrowed to; None does not narrow. `until` is exclusive."""

    action: str | None = None
    actor: str | None = None
    target: str | None = None
    outcome: str | None = None
    ip: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def events(organisation_id: UUID, filters: EventFilters) -> Select[AuditEvent]:
    """The organisation's events, in no order."""
    found = select(AuditEvent).where(AuditEvent.organisation_id == organisation_id)
    equal: tuple[tuple[InstrumentedAttribute[Any], str | None], ...] = (
        (AuditEvent.action, filters.action),
        (AuditEvent.actor_id, filters.actor),
        (AuditEvent.target_id, filters.target),
        (AuditEvent.outcome, filters.outcome),
        (AuditEvent.ip, filters.ip),
    )
    found = found.where(*(where == value for where, value in equal if value is not None))
    if filters.since is not None:
        found = found.where(AuditEvent.occurred_at >= filters.since, AuditEvent.id >= lowest(filters.since - SKEW))
    if filters.until is not None:
        found = found.where(AuditEvent.occurred_at < filters.until, AuditEvent.id < lowest(filters.until + SKEW))
    return found


def newest(organisation_id: UUID, filters: EventFilters, before: UUID | None, most: int) -> Select[AuditEvent]:
    """The newest events that are older than `before`."""
    found = events(organisation_id, filters)
    if before is not None:
        found = found.where(AuditEvent.id < before)
    return found.order_by(AuditEvent.id.desc()).limit(most)


def waiting(after: UUID | None) -> Select[UUID]:
    """The next organisation by its id that has events to be sealed."""
    found = select(AuditUnsealed.organisation_id).order_by(AuditUnsealed.organisation_id).limit(1)
    return found if after is None else found.where(AuditUnsealed.organisation_id > after)


def take(organisation_id: UUID) -> Select[bool, datetime]:
    """Whether this transaction may seal for the organisation until it ends, and the database's time."""
    lock = func.pg_try_advisory_xact_lock(SEALING, func.hashtext(cast(organisation_id, Text)))
    return select(lock, func.clock_timestamp())


def unsealed(organisation_id: UUID, most: int) -> Select[AuditEvent]:
    """Events that are not in the chain yet, the oldest first."""
    return (
        select(AuditEvent)
        .join(
            AuditUnsealed,
            (AuditUnsealed.organisation_id == AuditEvent.organisation_id) & (AuditUnsealed.event_id == AuditEvent.id),
        )
        .where(AuditUnsealed.organisation_id == organisation_id)
        .order_by(AuditUnsealed.event_id)
        .limit(most)
    )


def last_seal(organisation_id: UUID) -> Select[AuditSeal]:
    """The organisation's newest seal."""
    return (
        select(AuditSeal).where(AuditSeal.organisation_id == organisation_id).order_by(AuditSeal.number.desc()).limit(1)
    )


def put_in_chain(organisation_id: UUID) -> ReturningInsert[int]:
    """Puts events in the chain, which are given by `sequence`, `event_id` and `hash`."""
    given = unnest(sequence=BigInteger(), event_id=Uuid(), hash=AuditChain.hash.type)
    rows = select(cast(organisation_id, Uuid), given.c.sequence, given.c.event_id, given.c.hash)
    names = ["organisation_id", "sequence", "event_id", "hash"]
    return insert(table_of(AuditChain)).from_select(names, rows).returning(AuditChain.sequence)


def take_out_of_queue(organisation_id: UUID, event_ids: Sequence[UUID]) -> Delete:
    """Forgets that these events are to be sealed."""
    return delete(AuditUnsealed).where(
        AuditUnsealed.organisation_id == organisation_id, AuditUnsealed.event_id.in_(event_ids)
    )


def seals(organisation_id: UUID, after: int = 0) -> Select[AuditSeal]:
    """The organisation's seals with a higher number, in their order."""
    return (
        select(AuditSeal)
        .where(AuditSeal.organisation_id == organisation_id, AuditSeal.number > after)
        .order_by(AuditSeal.number)
    )


def organisations() -> CompoundSelect[UUID]:
    """Every organisation that has an event or a seal."""
    return select(AuditEvent.organisation_id).union(select(AuditSeal.organisation_id)).order_by("organisation_id")


def sealed() -> Select[UUID]:
    """Every organisation that has a seal."""
    return select(AuditSeal.organisation_id).where(AuditSeal.number == 1)


def chain(organisation_id: UUID) -> Select[int, bytes, Any]:
    """Sequence, hash and event of each link in its order; the event is None when it is not there."""
    same = (AuditEvent.organisation_id == AuditChain.organisation_id) & (AuditEvent.id == AuditChain.event_id)
    return (
        select(AuditChain.sequence, AuditChain.hash, AuditEvent)
        .outerjoin(AuditEvent, same)
        .where(AuditChain.organisation_id == organisation_id)
        .order_by(AuditChain.sequence)
    )


def outside(organisation_id: UUID) -> Select[UUID]:
    """Events that are neither in the chain nor to be sealed: they were taken out of it."""
    chained = exists().where(
        AuditChain.organisation_id == AuditEvent.organisation_id, AuditChain.event_id == AuditEvent.id
    )
    queued = exists().where(
        AuditUnsealed.organisation_id == AuditEvent.organisation_id, AuditUnsealed.event_id == AuditEvent.id
    )
    return select(AuditEvent.id).where(AuditEvent.organisation_id == organisation_id, ~chained, ~queued).limit(1)


def vanished(organisation_id: UUID) -> Select[UUID]:
    """Events that are to be sealed and are not there."""
    there = exists().where(
        AuditEvent.organisation_id == AuditUnsealed.organisation_id, AuditEvent.id == AuditUnsealed.event_id
    )
    return select(AuditUnsealed.event_id).where(AuditUnsealed.organisation_id == organisation_id, ~there).limit(1)


def backdated(organisation_id: UUID, earliest: datetime) -> Select[UUID]:
    """Events to be sealed that say that they happened before a moment."""
    return unsealed(organisation_id, 1).where(AuditEvent.occurred_at < earliest).with_only_columns(AuditEvent.id)


def note_addresses() -> ReturningInsert[UUID, UUID, str]:
    """Keeps addresses of keys, given by `organisation_id`, `key_id` and `address`; those that are new come back."""
    given = unnest(organisation_id=Uuid(), key_id=Uuid(), address=Text())
    rows = select(given.c.organisation_id, given.c.key_id, cast(given.c.address, INET))
    addresses = insert(table_of(ApiKeyAddress)).from_select(["organisation_id", "key_id", "address"], rows)
    columns = ApiKeyAddress.organisation_id, ApiKeyAddress.key_id, func.host(ApiKeyAddress.address)
    return addresses.on_conflict_do_nothing().returning(*columns)
