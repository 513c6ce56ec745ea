"""What was tried, how messages stand with endpoints, and sending again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.ids import decode
from app.features.background_tasks import operations as background
from app.features.background_tasks.operations import TaskKind
from app.features.deliveries import queries
from app.features.deliveries.errors import endpoint_disabled, missing_payload
from app.features.deliveries.replays import FINISHED, Replay
from app.features.deliveries.schemas import (
    BulkReplayIn,
    MessageAttemptOut,
    MessageEndpointOut,
    MessageOut,
    ReplayIn,
    status_text,
)
from app.features.endpoints.operations import find as find_endpoint
from app.features.messages import reading
from app.features.messages.queries import Filters, messages_by_id
from app.kit.clock import utc_now
from app.kit.errors import invalid, not_found
from app.kit.paging import Order, Page, Seal, paginate, paginate_cuts
from app.kit.raw_json import write_page, write_with
from app.kit.wakes import Wake, ask
from app.models import Application, Attempt, BackgroundTask, Endpoint, Message, Status

RECOVERABLE = timedelta(days=14)
REPLAYABLE = timedelta(days=90)
# A caller who counts back from its own clock means the whole of the time allowed.
LENIENCE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Show:
    """How much of attempts is shown; without `expanded` a canceled delivery counts as a success."""

    content: bool = True
    message: bool = False
    expanded: bool = False

    def status(self, status: int) -> Status:
        """The status as it is shown."""
        return Status.success if status == Status.canceled and not self.expanded else Status(status)

    def wanted(self, status: int | None) -> tuple[Status, ...] | None:
        """The statuses to look for when `status` is asked for."""
        if status is None:
            return None
        shown_as = tuple(one for one in Status if self.status(one) == status)
        return shown_as or (Status(status),)


async def attempts_of_endpoint(
    db: AsyncSession,
    application: Application,
    endpoint_ref: str,
    filters: queries.AttemptFilters,
    asked: Page,
    show: Show,
) -> dict[str, Any]:
    """A page of what was tried at an endpoint, the newest first."""
    endpoint = await db.run_sync(find_endpoint, application, endpoint_ref)
    found = queries.attempts_of_endpoint(application.environment_id, endpoint.id, filters)
    return await _attempts(db, found, asked, Seal("endpoint-attempts", _owner(endpoint)), show)


async def attempts_of_message(
    db: AsyncSession,
    application: Application,
    message_ref: str,
    filters: queries.AttemptFilters,
    asked: Page,
    show: Show,
    endpoint_ref: str | None = None,
) -> dict[str, Any]:
    """A page of what was tried for a message, the newest first."""
    message, _ = await db.run_sync(reading.find, application, message_ref)
    endpoint = await db.run_sync(find_endpoint, application, endpoint_ref) if endpoint_ref else None
    found = queries.attempts_of_message(
        application.environment_id, message.id, filters, None if endpoint is None else endpoint.id
    )
    return await _attempts(db, found, asked, Seal("message-attempts", _owner(message)), show)


def _owner(row: Any) -> tuple[UUID, ...]:  # noqa: ANN401 a message or an endpoint
    return row.environment_id, row.id


async def _attempts(
    db: AsyncSession, statement: Select[Attempt], asked: Page, seal: Seal, show: Show
) -> dict[str, Any]:
    page = await paginate(
        db, statement, Attempt.id, asked, seal=seal, shape=lambda attempt: attempt, order=Order.descending
    )
    attempts: list[Attempt] = page["data"]
    shown = [MessageAttemptOut.of(one, with_content=show.content) for one in attempts]
    if show.message and attempts:
        messages = await _messages(db, attempts[0].environment_id, {one.message_id for one in attempts})
        for out, one in zip(shown, attempts, strict=True):
            out.msg = _shown(messages.get(one.message_id))
    return {**page, "data": shown}


async def _messages(db: AsyncSession, environment_id: UUID, ids: Collection[UUID]) -> dict[UUID, Row[Message, bool]]:
    rows = await db.execute(messages_by_id(environment_id, ids)) if ids else ()
    return {row[0].id: row for row in rows}


def _shown(row: Row[Message, bool] | None) -> MessageOut | None:
    return None if row is None else MessageOut.model_validate({**reading.describe(row[0]), "payload": {}})


async def attempt(db: AsyncSession, application: Application, message_ref: str, reference: str) -> MessageAttemptOut:
    """One attempt. Raises `not_found`."""
    message, _ = await db.run_sync(reading.find, application, message_ref)
    found = await db.scalar(queries.attempt(application.environment_id, message.id, _attempt_id(reference)))
    if found is None:
        raise not_found("Attempt")
    return MessageAttemptOut.of(found, with_content=True)


async def expunge(db: AsyncSession, application: Application, message_ref: str, reference: str) -> Message:
    """Overwrites what the endpoint answered to the message. Raises `not_found`."""
    message, _ = await db.run_sync(reading.find, application, message_ref)
    statement = queries.expunge_response(application.environment_id, message.id, _attempt_id(reference))
    if await db.scalar(statement) is None:
        raise not_found("Attempt")
    return message


def _attempt_id(reference: str) -> UUID:
    found = decode("atmpt", reference)
    if found is None:
        raise not_found("Attempt")
    return found


async def messages_of_endpoint(
    db: AsyncSession,
    application: Application,
    endpoint_ref: str,
    filters: Filters,
    asked: Page,
    show: Show,
    status: int | None,
) -> bytes:
    """A page of the messages owed to an endpoint as JSON text, the newest first."""
    endpoint = await db.run_sync(find_endpoint, application, endpoint_ref)
    owner = endpoint.environment_id, endpoint.id
    page = await paginate_cuts(
        db,
        partial(queries.messages_of_endpoint, *owner, filters, show.wanted(status)),
        asked,
        seal=Seal("endpoint-messages", owner),
        shape=lambda row: row,
        order=Order.descending,
    )
    return write_page(page, await _write(db, endpoint.environment_id, page["data"], show))


async def _write(db: AsyncSession, environment_id: UUID, pairs: Sequence[Any], show: Show) -> list[bytes]:
    messages = await _messages(db, environment_id, {pair.message_id for pair in pairs})
    rows = [messages[pair.message_id] for pair in pairs if pair.message_id in messages]
    payloads = await db.run_sync(reading.payloads, environment_id, rows, with_content=show.content)
    texts = {message.id: (message, payload) for (message, _), payload in zip(rows, payloads, strict=True)}
    return [_write_one(pair, show, *texts[pair.message_id]) for pair in pairs if pair.message_id in texts]


def _write_one(pair: Any, show: Show, message: Message, payload: bytes) -> bytes:  # noqa: ANN401 of messages_of_endpoint
    status = show.status(pair.status)
    standing = {
        "status": int(status),
        "statusText": status_text(status),
        "nextAttempt": reading.instant(pair.next_at),
    }
    return write_with(reading.describe(message) | standing, "payload", payload)


async def endpoints_of_message(
    db: AsyncSession, application: Application, message_ref: str, asked: Page, show: Show
) -> dict[str, Any]:
    """A page of the endpoints that a message is or was owed to."""
    message, _ = await db.run_sync(reading.find, application, message_ref)
    return await paginate(
        db,
        queries.endpoints_of_message(application.environment_id, message.id),
        Endpoint.id,
        asked,
        seal=Seal("message-endpoints", _owner(message)),
        shape=lambda row: MessageEndpointOut.of(row.Endpoint, show.status(row.status), row.next_at),
        order=Order.descending,
    )


async def resend(
    db: AsyncSession, application: Application, message_ref: str, endpoint_ref: str
) -> tuple[Message, Endpoint]:
    """Owes the endpoint one try more, at once. Raises `not_found`, `missing_payload`, `endpoint_disabled`."""
    message, readable = await db.run_sync(reading.find, application, message_ref)
    endpoint = await db.run_sync(find_endpoint, application, endpoint_ref)
    pair = application.environment_id, endpoint.id, message.id
    if not await db.scalar(queries.is_owed(*pair)):
        raise not_found("Message destination")
    if not readable:
        raise missing_payload()
    if endpoint.disabled:
        raise endpoint_disabled()
    await db.execute(queries.resend(message, endpoint.id, "resend"))
    ask(db.sync_session, Wake.delivery)
    return message, endpoint


async def recover(db: AsyncSession, application: Application, endpoint_ref: str, asked: ReplayIn) -> BackgroundTask:
    """Starts to send again what failed in the window."""
    replay = await _replay(db, application, endpoint_ref, asked, RECOVERABLE)
    return await _start(db, application, TaskKind.recover, replace(replay, statuses=(Status.fail,)))


async def replay_missing(
    db: AsyncSession, application: Application, endpoint_ref: str, asked: ReplayIn
) -> BackgroundTask:
    """Starts to send what the endpoint was never owed but subscribes to now."""
    replay = await _replay(db, application, endpoint_ref, asked, REPLAYABLE)
    return await _start(db, application, TaskKind.replay, replay)


async def bulk_replay(
    db: AsyncSession, application: Application, endpoint_ref: str, asked: BulkReplayIn
) -> BackgroundTask:
    """Starts to send finished messages of the window again."""
    replay = replace(
        await _replay(db, application, endpoint_ref, asked, REPLAYABLE),
        statuses=FINISHED if asked.status is None else (Status(asked.status),),
        messages=Filters(tuple(asked.event_types or ()), asked.channel, asked.tag),
        code_class=asked.status_code_class,
    )
    return await _start(db, application, TaskKind.bulk_replay, replay)


async def _replay(
    db: AsyncSession, application: Application, endpoint_ref: str, asked: ReplayIn, longest: timedelta
) -> Replay:
    endpoint = await db.run_sync(find_endpoint, application, endpoint_ref)
    since, until = _window(asked, longest)
    if endpoint.disabled:
        raise endpoint_disabled()
    return Replay(application.id, endpoint.id, since, until)


def _window(asked: ReplayIn, longest: timedelta) -> tuple[datetime, datetime]:
    now = utc_now()
    if asked.since < now - longest - LENIENCE:
        raise invalid("since", f"must be within the last {longest.days} days")
    until = min(asked.until or now, now)
    if asked.until is not None and asked.until < asked.since:
        raise invalid("until", "must not lie before since")
    return asked.since, max(until, asked.since)


async def _start(db: AsyncSession, application: Application, kind: TaskKind, replay: Replay) -> BackgroundTask:
    return await db.run_sync(background.start, application.environment_id, kind, replay.as_request())
