"""Finds messages and puts them into words, for every feature that shows them; sync over Session."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic_core import from_json
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.domain.ids import decode, encode
from app.domain.json_text import is_object
from app.features.messages import queries
from app.kit.errors import not_found
from app.kit.raw_json import write
from app.kit.wire import is_name
from app.models import Application, Message

MESSAGE = "msg"
WITHOUT_CONTENT = b"{}"
EXPIRED = b'{"expired":true}'
MessageRow = Row[Message, bool]


def find(db: Session, application: Application, reference: str) -> MessageRow:
    """The application's message of this id or eventId, and whether its payload is readable. Raises `not_found`."""
    owner = application.environment_id, application.id
    found = None
    if message_id := decode(MESSAGE, reference):
        found = db.execute(queries.message(*owner, message_id)).one_or_none()
    if found is None and is_name(reference):
        found = db.execute(queries.message_by_event_id(*owner, reference)).one_or_none()
    if found is None:
        raise not_found("Message")
    return found


def describe(message: Message) -> dict[str, Any]:
    """A message on the wire without its payload."""
    return {
        "id": encode(MESSAGE, message.id),
        "eventType": message.event_type,
        "eventId": message.event_id,
        "channels": message.channels,
        "tags": message.tags,
        "deliverAt": instant(message.deliver_at),
        "timestamp": instant(message.created_at),
    }


def instant(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def payloads(
    db: Session, environment_id: UUID, rows: Sequence[tuple[Message, bool]], *, with_content: bool
) -> list[bytes]:
    """For each message the JSON text to show as its payload."""
    if not with_content:
        return [WITHOUT_CONTENT] * len(rows)
    readable = [message for message, is_readable in rows if is_readable]
    bodies = _bodies(db, environment_id, readable) if readable else {}
    return [bodies.get(message.id, EXPIRED) for message, _ in rows]


def _bodies(db: Session, environment_id: UUID, messages: Sequence[Message]) -> dict[UUID, bytes]:
    # What is readable has not moved on, so it lies under the day of its expiry.
    days = {message.payload_expires_at.astimezone(UTC).date() for message in messages}
    found = db.execute(queries.payloads(environment_id, [one.id for one in messages], days))
    return {message_id: shown(body) for message_id, body in found}


def shown(body: bytes) -> bytes:
    """The bytes themselves when they are a JSON object; what was sent raw and is none appears as text in one."""
    try:
        shows = isinstance(from_json(body, allow_inf_nan=False), dict)
    except ValueError:
        # Numbers too long for Python are not too long for JSON.
        shows = is_object(body)
    return body if shows else write({"rawPayload": body.decode(errors="replace")})
