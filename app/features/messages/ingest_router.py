"""POST of a message: the one route that commits in groups."""

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.routing import APIRoute

from app.auth.dependencies import CanSendMessages
from app.auth.idempotency import DOCUMENTED as IDEMPOTENCY
from app.auth.idempotency import REPLAYED
from app.auth.resources import AppId
from app.features.messages.admission import Admission
from app.features.messages.committer import Committer
from app.features.messages.posting import ACCEPTED, JSON, Post, read
from app.features.messages.schemas import MessageBody, MessageOut
from app.features.organisations.usage import Usage
from app.kit.errors import Kind, Problem
from app.kit.instance import HEADER
from app.kit.openapi import REF, problems
from app.kit.routing import Router

router = Router(tag="Message", route_class=APIRoute)
CREATE = "v1.message.create"
DOCUMENTED = {
    "parameters": [IDEMPOTENCY],
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": MessageBody.model_json_schema(by_alias=True, ref_template=REF)}},
    },
}


@router.post(
    "/app/{app_id}/msg",
    status_code=ACCEPTED,
    response_model=MessageOut,
    responses=problems(400, 409, 429),
    operation_id=CREATE,
    openapi_extra=DOCUMENTED,
)
async def create_message(
    request: Request,
    app_id: AppId,
    caller: CanSendMessages,
    with_content: Annotated[bool, Query()] = True,  # noqa: FBT002 a query parameter
) -> Response:
    """Accepts an event for every subscribed endpoint of the application.

    202 means that the message and what it owes are committed. `payload` is kept, signed and sent byte for byte.
    """
    state = request.app.state
    committer: Committer = state.committer
    admission: Admission = state.admission
    usage: Usage = state.usage
    refuse_own(request.headers.get(HEADER), state.markers)
    key = request.headers.get("idempotency-key")
    if not usage.check(caller.organisation_id):
        await usage.learn(caller.organisation_id)
    await admission.check(caller.organisation_id)
    body = await request.body()
    await admission.enter(caller.organisation_id)
    try:
        ask = read(Post(caller, app_id, request.url.path, body, key, with_content))
        status, body, repeats = ask.answer(await committer.accept(ask.incoming))
    finally:
        admission.leave(caller.organisation_id)
    return Response(body, status, {REPLAYED: "true"} if repeats else None, JSON)


def refuse_own(mark: str | None, own: frozenset[str]) -> None:
    """Problem when the request is a delivery of this installation."""
    if mark in own:
        raise Problem(Kind.bad_request, "loop_detected", "This is a delivery of Postrider's own; the loop is cut here")
