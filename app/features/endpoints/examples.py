"""Sends an example of an event type to one endpoint, at a bounded rate."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import ids
from app.domain.examples import example_of, given_examples
from app.domain.throttle import admit
from app.features.endpoints import queries
from app.features.endpoints.errors import (
    endpoint_disabled,
    no_example,
    too_many_examples,
    unknown_event_types,
)
from app.features.messages.operations import Incoming, accept
from app.kit.clock import new_id
from app.kit.errors import Problem, invalid
from app.kit.telemetry import about
from app.kit.telemetry.traces import carried
from app.models import Application, Endpoint, EventType

PING = "svix.ping"
PING_PAYLOAD = {"success": True}
PER_SECOND = 1
AT_ONCE = 10
KEPT = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Example:
    """What is to be sent: the event type's example at `index`, or a payload of the caller's own."""

    event_type: str
    index: int | None = None
    payload: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that is on its way to one endpoint."""

    id: UUID
    payload: Mapping[str, Any]


def send(db: Session, application: Application, endpoint: Endpoint, example: Example) -> Sent:
    """Accepts a message for a locked endpoint alone, whatever it subscribes to.

    Raises `no_example`, `invalid` for an unknown event type or index, `conflict` when the endpoint is disabled, and
    `limit_reached` beyond ten at once and one a second.
    """
    if endpoint.disabled:
        raise endpoint_disabled()
    payload = _payload(db, endpoint.environment_id, example)
    _spend(db, endpoint)
    message_id = new_id()
    incoming = Incoming(
        environment_id=endpoint.environment_id,
        application=ids.encode("app", application.id),
        message_id=message_id,
        event_type=example.event_type,
        body=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(),
        content_type="application/json",
        expires_at=ids.timestamp(message_id) + KEPT,
        endpoint_id=endpoint.id,
        traceparent=carried(),
        request_id=about.current().request_id,
    )
    for result in accept(db, [incoming]):
        if isinstance(result, Problem):
            raise result
    return Sent(message_id, payload)


def _spend(db: Session, endpoint: Endpoint) -> None:
    now: datetime = db.execute(queries.moment()).scalar_one()
    admission = admit(endpoint.example_tat, PER_SECOND, now, 1, burst=AT_ONCE)
    if not admission.granted:
        raise too_many_examples((admission.next_at - now).total_seconds())
    db.execute(queries.spend_example(endpoint.environment_id, endpoint.id, admission.tat))


def _payload(db: Session, environment_id: UUID, example: Example) -> Mapping[str, Any]:
    if example.payload is not None:
        return example.payload
    if example.event_type == PING:
        return PING_PAYLOAD
    event_type = db.scalars(queries.event_type(environment_id, example.event_type)).one_or_none()
    if event_type is None:
        raise unknown_event_types("eventType", [example.event_type])
    return _object(event_type, example)


def _object(event_type: EventType, example: Example) -> Mapping[str, Any]:
    schema = _newest(event_type.schemas or {})
    listed = given_examples(schema) if schema else None
    index = example.index or 0
    if listed and index >= len(listed):
        raise invalid("exampleIndex", f"the event type has {len(listed)} examples")
    found = listed[index] if listed else example_of(schema)
    if not isinstance(found, Mapping):
        raise no_example(event_type.name)
    return found


def _newest(schemas: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of the highest version; versions are numbers as a rule."""
    if not schemas:
        return None
    found = schemas[max(schemas, key=lambda name: (int(name) if name.isdecimal() else -1, name))]
    return found if isinstance(found, Mapping) else None
