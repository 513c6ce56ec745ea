"""Routes that read messages and expunge their payloads."""

from typing import Annotated

from fastapi import Depends, Path, Query, Response

from app.auth.audit import Trailing
from app.auth.dependencies import Db
from app.auth.resources import ApplicationToExpunge, ApplicationWithMessages
from app.domain.ids import encode
from app.features.audit.targets import message_target
from app.features.messages import service
from app.features.messages.queries import Filters
from app.features.messages.schemas import MessageOut
from app.kit.paging import Listing, PageQuery
from app.kit.query import Label, Moment, Names, Reference
from app.kit.raw_json import respond
from app.kit.routing import Router

router = Router(tag="Message")
MessageId = Annotated[Reference, Path(description="The message's id or eventId")]
WithContent = Annotated[bool, Query(description="Whether payloads are shown")]


def _filters(
    event_types: Names = None,
    channel: Label | None = None,
    tag: Label | None = None,
    before: Moment | None = None,
    after: Moment | None = None,
) -> Filters:
    return Filters(tuple(event_types or ()), channel, tag, before, after)


@router.get("/app/{app_id}/msg", response_model=Listing[MessageOut], operation_id="v1.message.list")
async def list_messages(
    db: Db,
    application: ApplicationWithMessages,
    filters: Annotated[Filters, Depends(_filters)],
    asked: PageQuery,
    *,
    with_content: WithContent = True,
) -> Response:
    """The application's messages, the newest first."""
    return respond(await service.page(db, application, filters, asked, with_content=with_content))


@router.get("/app/{app_id}/msg/{msg_id}", response_model=MessageOut, operation_id="v1.message.get")
async def get_message(
    db: Db, application: ApplicationWithMessages, msg_id: MessageId, *, with_content: WithContent = True
) -> Response:
    """One message, by its id or its eventId."""
    return respond(await service.read(db, application, msg_id, with_content=with_content))


@router.delete("/app/{app_id}/msg/{msg_id}/content", status_code=204, operation_id="v1.message.expunge-content")
async def expunge_message(db: Db, application: ApplicationToExpunge, msg_id: MessageId, trail: Trailing) -> None:
    """Deletes the payload for good; what is pending of the message is cancelled."""
    message = await service.expunge(db, application, msg_id)
    trail.record("message.expunged", message_target(message), application=encode("app", application.id))
