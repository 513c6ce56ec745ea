"""Lets go of what was deleted and can no longer be restored, in small steps: one run goes on where another ended."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Table
from sqlalchemy.orm import Session, sessionmaker

from app.features.deliveries.operations import cancel
from app.features.retention import purge_queries as queries
from app.features.retention.purge_queries import Scope
from app.kit.db import Base, table_of
from app.models import (
    Application,
    ApplicationRate,
    Attempt,
    Delivery,
    DeliveryAction,
    DueDelivery,
    Endpoint,
    EndpointGate,
    EndpointHealth,
    EndpointRate,
    EndpointSecret,
    Message,
    MessageEventId,
    Organisation,
    Payload,
    PortalExpiry,
)

BATCH = 500
SUSPENDED = "organisation suspended"
# Tables that outlive those whom they tell of.
KEPT = frozenset({"audit_events", "audit_unsealed", "audit_chain", "audit_seals", "api_key_addresses"})
OF_ENDPOINT: tuple[tuple[type[Base], str], ...] = (
    (DueDelivery, "message_id"),
    (Delivery, "message_id"),
    (Attempt, "id"),
    (EndpointSecret, "id"),
    (EndpointHealth, "endpoint_id"),
    (EndpointRate, "endpoint_id"),
    (EndpointGate, "lane"),
)
OF_MESSAGE = (Payload, DeliveryAction, DueDelivery, Delivery, Attempt)
OF_APPLICATION: tuple[tuple[type[Base], str], ...] = (
    (MessageEventId, "event_id"),
    (ApplicationRate, "application_id"),
    (PortalExpiry, "id"),
)
Sessions = sessionmaker[Session]
Step = tuple[str, int]
"""A batch: its table, and how many rows are gone from there."""
Owner = tuple[UUID, UUID]


def purge(sessions: Sessions) -> Iterator[Step]:
    """Carries out one step after the other, each in a transaction of its own, for as long as they are asked for."""
    yield from _give_up(sessions)
    yield from _each(sessions, queries.endpoints, _endpoint)
    yield from _each(sessions, queries.applications, _application)
    for organisation_id in _values(sessions, queries.organisations(BATCH)):
        yield from _organisation(sessions, organisation_id)


def _give_up(sessions: Sessions) -> Iterator[Step]:
    """Cancels what has waited for a suspended organisation for too long, since it keeps old days from being dropped."""
    for environment_id, endpoint_id in _read(sessions, queries.held_too_long()):
        with sessions.begin() as db:
            canceled = cancel(db, environment_id, endpoint_id=endpoint_id, reason=SUSPENDED)
        yield "due_deliveries", canceled


def _each(
    sessions: Sessions,
    owners: Callable[[int], Select[UUID, UUID]],
    let_go: Callable[[Sessions, Owner], Iterator[Step]],
) -> Iterator[Step]:
    while found := _read(sessions, owners(BATCH)):
        for owner in found:
            yield from let_go(sessions, owner)


def _organisation(sessions: Sessions, organisation_id: UUID) -> Iterator[Step]:
    for environment_id in _values(sessions, queries.environments_of(organisation_id)):
        yield from _each(sessions, partial(queries.applications_of, environment_id), _application)
        yield from _all_of(sessions, {"environment_id": environment_id}, _owned_by("environment_id"))
    yield from _all_of(sessions, {"organisation_id": organisation_id}, _owned_by("organisation_id"))
    yield from _empty(sessions, table_of(Organisation), "id", {"id": organisation_id})


def _application(sessions: Sessions, owner: Owner) -> Iterator[Step]:
    environment_id, application_id = owner
    yield from _each(sessions, partial(queries.endpoints_of, *owner), _endpoint)
    while ids := _values(sessions, queries.messages_of(*owner, BATCH)):
        yield from _messages(sessions, environment_id, ids)
    scope = {"environment_id": environment_id, "application_id": application_id}
    for model, key in OF_APPLICATION:
        yield from _empty(sessions, table_of(model), key, scope)
    yield from _empty(sessions, table_of(Application), "id", {"environment_id": environment_id, "id": application_id})


def _messages(sessions: Sessions, environment_id: UUID, ids: Sequence[UUID]) -> Iterator[Step]:
    scope = {"environment_id": environment_id}
    for model in OF_MESSAGE:
        yield _let_go(sessions, table_of(model), "message_id", scope, ids)
    yield _let_go(sessions, table_of(Message), "id", scope, ids)


def _endpoint(sessions: Sessions, owner: Owner) -> Iterator[Step]:
    environment_id, endpoint_id = owner
    scope = {"environment_id": environment_id, "endpoint_id": endpoint_id}
    for model, key in OF_ENDPOINT:
        yield from _empty(sessions, table_of(model), key, scope)
    yield from _empty(sessions, table_of(Endpoint), "id", {"environment_id": environment_id, "id": endpoint_id})


def _owned_by(column: str) -> Iterator[Table]:
    """The tables whose rows belong to what the column names, those that refer to others first."""
    tables = (one for one in reversed(Base.metadata.sorted_tables) if one.name not in KEPT)
    return (one for one in tables if column in one.c and (one.c[column].primary_key or column == "organisation_id"))


def _all_of(sessions: Sessions, scope: Scope, tables: Iterator[Table]) -> Iterator[Step]:
    for table in tables:
        *_, key = table.primary_key
        yield from _empty(sessions, table, key.name, scope)


def _empty(sessions: Sessions, table: Table, key: str, scope: Scope) -> Iterator[Step]:
    while keys := _values(sessions, queries.some(table, key, scope, BATCH)):
        yield _let_go(sessions, table, key, scope, keys)


def _let_go(sessions: Sessions, table: Table, key: str, scope: Scope, keys: Sequence[Any]) -> Step:
    with sessions.begin() as db:
        db.execute(queries.in_turn())
        done = db.execute(queries.gone(table, key, scope, keys).returning(table.c[key])).all()
    return table.name, len(done)


def _read(sessions: Sessions, statement: Select[Any, Any]) -> Sequence[Owner]:
    with sessions() as db:
        return [(first, second) for first, second in db.execute(statement)]


def _values(sessions: Sessions, statement: Select[Any]) -> Sequence[Any]:
    with sessions() as db:
        return db.scalars(statement).all()
