"""From the bytes of a POST to the message that asks to come in, and to what is answered."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

from pydantic import ValidationError

from app.auth.caller import Caller
from app.auth.dependencies import require
from app.auth.idempotency import request_key
from app.domain import ids
from app.domain.idempotency import is_valid_key
from app.domain.json_text import BadJson, Document, read_object
from app.domain.permissions import Permission
from app.features.messages.operations import Accepted, Incoming, NewApplication, Once, Replayed
from app.features.messages.schemas import MessageIn
from app.kit.clock import new_id, utc_now
from app.kit.errors import Fault, Kind, Problem, invalid
from app.kit.routing import malformed
from app.kit.telemetry import about
from app.kit.telemetry.traces import carried

MAX_PAYLOAD_BYTES = 1024 * 1024
PAYLOAD_NAMES = frozenset({"payload", "data"})
ACCEPTED = 202
JSON = "application/json"
_ONE_LINE = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class Post:
    """A request, as far as it decides what is stored. `key` is its idempotency key."""

    caller: Caller
    application: str
    path: str
    body: bytes
    key: str | None
    with_content: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """What asks to come in, and the bytes of its payload that the answer shows."""

    incoming: Incoming
    shown: bytes

    def answer(self, result: Accepted | Replayed) -> tuple[int, bytes, bool]:
        """Status and body of the answer, and whether it repeats an earlier one.

        A request that is repeated has the same body, so that its payload is the one that was answered before.
        """
        if isinstance(result, Accepted):
            note = about.current()
            note.application_id, note.message_id = result.application_id, result.message_id
            return ACCEPTED, self._with_payload(self.incoming.response), False
        return result.status, self._with_payload(result.response), True

    def _with_payload(self, head: bytes) -> bytes:
        # The payload's bytes are put in as they came: reading and writing them anew would change numbers.
        return b'%b, "payload": %b}' % (head, self.shown)


def read(post: Post) -> Ask:
    """The message of a request. Raises the Problem that refuses it."""
    document, fields = _parse(post.body)
    if fields.application is not None:
        require(post.caller, Permission.application_write)
    payload = _payload(document)
    message_id = new_id()
    params = fields.transformations_params
    raw = None if params is None else params.raw_payload
    expires_at = utc_now() + timedelta(hours=fields.retention_hours)
    if fields.deliver_at is not None and fields.deliver_at >= expires_at:
        raise invalid("deliverAt", "must lie before the payload expires")
    incoming = Incoming(
        environment_id=post.caller.environment_id,
        application=post.application,
        message_id=message_id,
        event_type=fields.event_type,
        body=payload if raw is None else raw.encode(),
        content_type=_content_type(fields),
        expires_at=expires_at,
        event_id=fields.event_id,
        channels=_tuple(fields.channels),
        tags=_tuple(fields.tags),
        deliver_at=fields.deliver_at,
        response=_head(message_id, fields),
        once=_once(post),
        new_application=_new_application(fields, post.application),
        organisation_id=post.caller.organisation_id,
        traceparent=carried(),
        request_id=about.current().request_id,
    )
    return Ask(incoming, payload if post.with_content else b"{}")


def _parse(body: bytes) -> tuple[Document, MessageIn]:
    try:
        document = read_object(body, raw=PAYLOAD_NAMES)
        return document, MessageIn.model_validate(document.values)
    except BadJson as error:
        raise malformed(error) from None
    except ValidationError as error:
        faults = [Fault(("body", *one["loc"]), one["msg"], one["type"]) for one in error.errors()]
        raise Problem(Kind.invalid, "invalid", "invalid message", faults=faults) from None


def _payload(document: Document) -> bytes:
    payload = document.raw.get("payload", document.raw.get("data"))
    if payload is None:
        raise invalid("payload", "Field required", type_="missing")
    if not payload.startswith(b"{"):
        raise invalid("payload", "Input should be an object", type_="dict_type")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Problem(Kind.too_large, "payload_too_large", f"A payload has at most {MAX_PAYLOAD_BYTES} bytes")
    return payload


def _content_type(fields: MessageIn) -> str:
    params = fields.transformations_params
    return (params and params.headers and params.headers.content_type) or JSON


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return tuple(values) if values else None


def _new_application(fields: MessageIn, reference: str) -> NewApplication | None:
    asked = fields.application
    if asked is None:
        return None
    return NewApplication(asked.uid or reference, asked.name, asked.throttle_rate, asked.metadata)


def _once(post: Post) -> Once | None:
    if post.key is None:
        return None
    if not is_valid_key(post.key):
        raise invalid("idempotency-key", "1 to 256 printable ASCII characters", where="header")
    digest = request_key(post.caller, "POST", post.path, post.key)
    return Once(digest, sha256(post.body).digest(), ACCEPTED)


def _head(message_id: UUID, fields: MessageIn) -> bytes:
    """The answer without its payload and its end."""
    known = {
        "id": ids.encode("msg", message_id),
        "eventType": fields.event_type,
        "eventId": fields.event_id,
        "channels": fields.channels or None,
        "tags": fields.tags or None,
        "deliverAt": _instant(fields.deliver_at),
        "timestamp": _instant(ids.timestamp(message_id)),
    }
    return _ONE_LINE(known)[:-1].encode()


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
