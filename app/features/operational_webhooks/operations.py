"""Tells organisations of Postrider's own events, through Postrider; runs in the transaction of what happened."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import ids
from app.features.messages.operations import Incoming, accept
from app.features.operational_webhooks import queries
from app.kit.clock import new_id
from app.kit.errors import Problem
from app.kit.telemetry import about
from app.kit.telemetry.traces import carried
from app.models import ApplicationKind

KEPT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an organisation's endpoints, messages or tasks; `data` is the wire's model."""

    environment_id: UUID
    type: str
    data: Mapping[str, Any]


def emit(db: Session, environment_id: UUID, event_type: str, data: Mapping[str, Any]) -> None:
    """Tells one organisation of one event."""
    emit_all(db, [Event(environment_id, event_type, data)])


def emit_all(db: Session, events: Sequence[Event]) -> None:
    """Stores a message for each event that an enabled operational endpoint of its organisation wants."""
    if not events:
        return
    wanted = _wanted(db, events)
    for result in accept(db, wanted) if wanted else ():
        if isinstance(result, Problem):
            raise result


def _wanted(db: Session, events: Sequence[Event]) -> list[Incoming]:
    statement = queries.listeners({one.environment_id for one in events}, {one.type for one in events})
    listeners = db.execute(statement).all()
    found = ((one, _application_for(one, listeners)) for one in events)
    return [_incoming(one, application_id) for one, application_id in found if application_id is not None]


def _application_for(event: Event, listeners: Iterable[Any]) -> UUID | None:
    return next(
        (
            application_id
            for environment_id, application_id, event_types in listeners
            if environment_id == event.environment_id and (event_types is None or event.type in event_types)
        ),
        None,
    )


def _incoming(event: Event, application_id: UUID) -> Incoming:
    message_id = new_id()
    return Incoming(
        environment_id=event.environment_id,
        application=ids.encode("app", application_id),
        message_id=message_id,
        event_type=event.type,
        body=json.dumps({"type": event.type, "data": event.data}, separators=(",", ":")).encode(),
        content_type="application/json",
        expires_at=ids.timestamp(message_id) + KEPT,
        kind=ApplicationKind.operational,
        traceparent=carried(),
        request_id=about.current().request_id,
    )
