"""POST of a message: the one route that commits in groups."""

import json
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from app.auth.caller import Caller
from app.auth.dependencies import OrganisationCaller
from app.auth.idempotency import DOCUMENTED as IDEMPOTENCY
from app.auth.idempotency import REPLAYED, request_key
from app.auth.resources import AppId
from app.domain import ids
from app.domain.idempotency import is_valid_key
from app.domain.json_text import BadJson, Document, read_object
from app.features.messages.committer import Committer
from app.features.messages.operations import Accepted, Incoming, NewApplication, Once
from app.features.messages.schemas import MessageBody, MessageIn, MessageOut
from app.kit.clock import new_id, utc_now
from app.kit.errors import Fault, Kind, Problem, invalid
from app.kit.instance import HEADER
from app.kit.openapi import REF, problems
from app.kit.routing import malformed

router = APIRouter(tags=["Message"])
MAX_PAYLOAD_BYTES = 1024 * 1024
PAYLOAD_NAMES = frozenset({"payload", "data"})
JSON = "application/json"
DOCUMENTED = {
    "parameters": [IDEMPOTENCY],
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": MessageBody.model_json_schema(by_alias=True, ref_template=REF)}},
    },
}


@router.post(
    "/app/{app_id}/msg",
    status_code=202,
    response_model=MessageOut,
    responses=problems(400, 409, 429),
    operation_id="v1.message.create",
    openapi_extra=DOCUMENTED,
)
async def create_message(
    request: Request,
    app_id: AppId,
    caller: OrganisationCaller,
    with_content: Annotated[bool, Query()] = True,  # noqa: FBT002 a query parameter
) -> Response:
    """Accepts an event for every subscribed endpoint of the application.

    202 means that the message and what it owes are committed. `payload` is kept, signed and sent byte for byte.
    """
    committer: Committer = request.app.state.committer
    committer.check_room(caller.organisation_id)
    if request.headers.get(HEADER) in request.app.state.markers:
        raise Problem(Kind.bad_request, "loop_detected", "This is a delivery of Postrider's own; the loop is cut here")
    incoming = _read(request, app_id, caller, await request.body(), with_content=with_content)
    result = await committer.accept(incoming)
    if isinstance(result, Accepted):
        return Response(incoming.response, 202, media_type=JSON)
    return Response(result.response, result.status, {REPLAYED: "true"}, JSON)


def _read(request: Request, app_id: str, caller: Caller, body: bytes, *, with_content: bool) -> Incoming:
    document, fields = _parse(body)
    payload = _payload(document)
    message_id = new_id()
    params = fields.transformations_params
    raw = None if params is None else params.raw_payload
    response = _render(message_id, fields, payload if with_content else b"{}")
    return Incoming(
        organisation_id=caller.organisation_id,
        application=app_id,
        message_id=message_id,
        event_type=fields.event_type,
        body=payload if raw is None else raw.encode(),
        content_type=_content_type(fields),
        expires_at=utc_now() + timedelta(hours=fields.retention_hours),
        event_id=fields.event_id,
        channels=_tuple(fields.channels),
        tags=_tuple(fields.tags),
        deliver_at=fields.deliver_at,
        response=response,
        once=_once(request, caller, body),
        new_application=_new_application(fields, app_id),
    )


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


def _new_application(fields: MessageIn, app_id: str) -> NewApplication | None:
    asked = fields.application
    if asked is None:
        return None
    return NewApplication(asked.uid or app_id, asked.name, asked.throttle_rate, asked.metadata)


def _once(request: Request, caller: Caller, body: bytes) -> Once | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not is_valid_key(key):
        raise invalid("idempotency-key", "1 to 256 printable ASCII characters", where="header")
    digest = request_key(caller, request.method, request.url.path, key)
    return Once(digest, sha256(body).digest(), 202)


def _render(message_id: UUID, fields: MessageIn, payload: bytes) -> bytes:
    # The payload's bytes are put in as they came: reading and writing them anew would change numbers.
    known = {
        "id": ids.encode("msg", message_id),
        "eventType": fields.event_type,
        "eventId": fields.event_id,
        "channels": fields.channels or None,
        "tags": fields.tags or None,
        "deliverAt": _instant(fields.deliver_at),
        "timestamp": _instant(ids.timestamp(message_id)),
    }
    return json.dumps(known).encode()[:-1] + b', "payload": ' + payload + b"}"


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
