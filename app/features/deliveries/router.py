"""Routes of attempts, of how messages stand with endpoints, and of sending again."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Response

from app.auth.audit import Trail, Trailing
from app.auth.dependencies import Db
from app.auth.idempotency import OnceOnly
from app.auth.resources import ApplicationToExpunge, ApplicationToReplay, ApplicationWithDeliveries
from app.domain.audit import Target
from app.domain.ids import encode
from app.features.audit.targets import endpoint_target, message_target
from app.features.background_tasks.operations import PREFIX, TaskKind
from app.features.deliveries import service
from app.features.deliveries.queries import AttemptFilters
from app.features.deliveries.schemas import (
    BulkReplayIn,
    CodeClass,
    EndpointMessageOut,
    MessageAttemptOut,
    MessageEndpointOut,
    Nothing,
    ReplayIn,
    ReplayOut,
)
from app.features.deliveries.service import Show
from app.features.messages.queries import Filters
from app.kit.openapi import problems
from app.kit.paging import Listing, PageQuery
from app.kit.query import Label, Moment, Names, Reference
from app.kit.raw_json import respond
from app.kit.routing import Router
from app.models import BackgroundTask, Status

router = Router(tag="Message Attempt")
replays = Router(tag="Endpoint")
MessageId = Annotated[Reference, Path(description="The message's id or eventId")]
EndpointId = Annotated[Reference, Path(description="The endpoint's id or uid")]
AttemptId = Annotated[Reference, Path(description="The attempt's id")]
StatusQuery = Annotated[int | None, Query(ge=min(Status), le=max(Status), description="Only of this status")]

REPLAYS = {
    TaskKind.recover: "endpoint.recovery_started",
    TaskKind.replay: "endpoint.replay_started",
    TaskKind.bulk_replay: "endpoint.bulk_replay_started",
}


def _filters(
    event_types: Names = None,
    channel: Label | None = None,
    tag: Label | None = None,
    before: Moment | None = None,
    after: Moment | None = None,
) -> Filters:
    return Filters(tuple(event_types or ()), channel, tag, before, after)


def _show(*, with_content: bool = True, with_msg: bool = False, expanded_statuses: bool = False) -> Show:
    return Show(with_content, with_msg, expanded_statuses)


FiltersQuery = Annotated[Filters, Depends(_filters)]
ShowQuery = Annotated[Show, Depends(_show)]


def _attempt_filters(
    filters: FiltersQuery, show: ShowQuery, status: StatusQuery = None, status_code_class: CodeClass | None = None
) -> AttemptFilters:
    return AttemptFilters(filters, show.wanted(status), status_code_class)


AttemptFiltersQuery = Annotated[AttemptFilters, Depends(_attempt_filters)]
AttemptList = Listing[MessageAttemptOut]


@router.get(
    "/app/{app_id}/attempt/endpoint/{endpoint_id}",
    response_model=AttemptList,
    operation_id="v1.message-attempt.list-by-endpoint",
)
async def list_attempts_by_endpoint(
    db: Db,
    application: ApplicationWithDeliveries,
    endpoint_id: EndpointId,
    filters: AttemptFiltersQuery,
    asked: PageQuery,
    show: ShowQuery,
) -> dict[str, Any]:
    """What was tried at an endpoint, the newest first."""
    return await service.attempts_of_endpoint(db, application, endpoint_id, filters, asked, show)


@router.get("/app/{app_id}/msg/{msg_id}/attempt", response_model=AttemptList, include_in_schema=False)
@router.get(
    "/app/{app_id}/attempt/msg/{msg_id}", response_model=AttemptList, operation_id="v1.message-attempt.list-by-msg"
)
async def list_attempts_by_message(
    db: Db,
    application: ApplicationWithDeliveries,
    msg_id: MessageId,
    filters: AttemptFiltersQuery,
    asked: PageQuery,
    show: ShowQuery,
    endpoint_id: Annotated[str | None, Query(max_length=256, description="Only at this endpoint")] = None,
) -> dict[str, Any]:
    """What was tried for a message, the newest first."""
    return await service.attempts_of_message(db, application, msg_id, filters, asked, show, endpoint_id)


@router.get(
    "/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt", response_model=AttemptList, include_in_schema=False
)
async def list_attempts_of_pair(
    db: Db,
    application: ApplicationWithDeliveries,
    msg_id: MessageId,
    endpoint_id: EndpointId,
    filters: AttemptFiltersQuery,
    asked: PageQuery,
    show: ShowQuery,
) -> dict[str, Any]:
    """What was tried for a message at one endpoint, the newest first."""
    return await service.attempts_of_message(db, application, msg_id, filters, asked, show, endpoint_id)


@router.get("/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", operation_id="v1.message-attempt.get")
async def get_attempt(
    db: Db, application: ApplicationWithDeliveries, msg_id: MessageId, attempt_id: AttemptId
) -> MessageAttemptOut:
    """One attempt."""
    return await service.attempt(db, application, msg_id, attempt_id)


@router.delete(
    "/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content",
    status_code=204,
    operation_id="v1.message-attempt.expunge-content",
)
async def expunge_attempt(
    db: Db,
    application: ApplicationToExpunge,
    msg_id: MessageId,
    attempt_id: AttemptId,
    trail: Trailing,
) -> None:
    """Overwrites what the endpoint answered with `EXPUNGED`."""
    message = await service.expunge(db, application, msg_id, attempt_id)
    trail.record("attempt.expunged", Target("attempt", attempt_id), message=message_target(message).id)


@router.get(
    "/app/{app_id}/endpoint/{endpoint_id}/msg",
    response_model=Listing[EndpointMessageOut],
    operation_id="v1.message-attempt.list-attempted-messages",
)
async def list_attempted_messages(
    db: Db,
    application: ApplicationWithDeliveries,
    endpoint_id: EndpointId,
    filters: FiltersQuery,
    asked: PageQuery,
    show: ShowQuery,
    status: StatusQuery = None,
) -> Response:
    """The messages that were or are owed to an endpoint and how each stands, the newest first."""
    return respond(await service.messages_of_endpoint(db, application, endpoint_id, filters, asked, show, status))


@router.get(
    "/app/{app_id}/msg/{msg_id}/endpoint",
    response_model=Listing[MessageEndpointOut],
    operation_id="v1.message-attempt.list-attempted-destinations",
)
async def list_attempted_destinations(
    db: Db, application: ApplicationWithDeliveries, msg_id: MessageId, asked: PageQuery, show: ShowQuery
) -> dict[str, Any]:
    """The endpoints that a message was or is owed to and how it stands with each."""
    return await service.endpoints_of_message(db, application, msg_id, asked, show)


@router.post(
    "/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend",
    status_code=202,
    response_model=Nothing,
    responses=problems(400),
    operation_id="v1.message-attempt.resend",
)
async def resend(
    db: Db,
    application: ApplicationToReplay,
    msg_id: MessageId,
    endpoint_id: EndpointId,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """Sends a message to an endpoint once more, at once; the schedule of its retries stays as it is."""

    async def work() -> Nothing:
        message, endpoint = await service.resend(db, application, msg_id, endpoint_id)
        trail.record("message.resent", message_target(message), endpoint=endpoint_target(endpoint).id)
        return Nothing()

    return await once(202, work)


@replays.post(
    "/app/{app_id}/endpoint/{endpoint_id}/recover",
    status_code=202,
    response_model=ReplayOut,
    responses=problems(400),
    operation_id="v1.endpoint.recover",
)
async def recover(
    db: Db,
    application: ApplicationToReplay,
    endpoint_id: EndpointId,
    asked: ReplayIn,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """Sends again what failed at an endpoint in a window that begins at most 14 days ago."""

    async def work() -> ReplayOut:
        return _started(trail, await service.recover(db, application, endpoint_id, asked))

    return await once(202, work)


@replays.post(
    "/app/{app_id}/endpoint/{endpoint_id}/replay-missing",
    status_code=202,
    response_model=ReplayOut,
    responses=problems(400),
    operation_id="v1.endpoint.replay-missing",
)
async def replay_missing(
    db: Db,
    application: ApplicationToReplay,
    endpoint_id: EndpointId,
    asked: ReplayIn,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """Sends messages of the window that the endpoint subscribes to now and was never owed."""

    async def work() -> ReplayOut:
        return _started(trail, await service.replay_missing(db, application, endpoint_id, asked))

    return await once(202, work)


@replays.post(
    "/app/{app_id}/endpoint/{endpoint_id}/bulk-replay",
    status_code=202,
    response_model=ReplayOut,
    responses=problems(400),
    operation_id="v1.endpoint.bulk-replay",
)
async def bulk_replay(
    db: Db,
    application: ApplicationToReplay,
    endpoint_id: EndpointId,
    asked: BulkReplayIn,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """Sends finished messages of the window again, delivered ones too, unless a status narrows it."""

    async def work() -> ReplayOut:
        return _started(trail, await service.bulk_replay(db, application, endpoint_id, asked))

    return await once(202, work)


def _started(trail: Trail, task: BackgroundTask) -> ReplayOut:
    target = Target("endpoint", task.request["endpointId"])
    trail.record(REPLAYS[TaskKind(task.kind)], target, task=encode(PREFIX, task.id), **task.request)
    return ReplayOut.of(task)
