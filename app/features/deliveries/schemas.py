"""Attempts, and how messages stand with endpoints, on the wire."""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from app.domain.ids import encode
from app.features.background_tasks.operations import PREFIX, TaskKind, TaskStatus
from app.kit.wire import WHOLE, In, Instant, Name, Out
from app.models import Attempt, BackgroundTask, Endpoint, Status, Trigger


class StatusText(StrEnum):
    """The statuses in words."""

    success = "success"
    pending = "pending"
    fail = "fail"
    sending = "sending"
    canceled = "canceled"


class CodeClass(IntEnum):
    """Classes of status codes; 0 is no answer."""

    none = 0
    informational = 100
    success = 200
    redirection = 300
    client_error = 400
    server_error = 500


class MessageOut(Out):
    """A message; its payload may be left out as `{}`."""

    id: str
    event_type: str
    event_id: str | None
    channels: list[str] | None
    tags: list[str] | None
    deliver_at: datetime | None
    timestamp: datetime
    payload: dict[str, Any]


class EndpointMessageOut(MessageOut):
    """A message and how it stands with the endpoint that was asked about."""

    status: Status
    status_text: StatusText
    next_attempt: datetime | None


class MessageAttemptOut(Out):
    """One try to deliver a message. Without an answer the code is 0 and `response` says what went wrong."""

    id: str
    msg_id: str
    endpoint_id: str
    url: str
    status: Status
    status_text: StatusText
    response: str
    response_status_code: int
    response_duration_ms: int
    trigger_type: Trigger
    timestamp: datetime
    msg: MessageOut | None = None

    @classmethod
    def of(cls, attempt: Attempt, *, with_content: bool) -> Self:
        """The row as it is shown."""
        return cls(
            id=encode("atmpt", attempt.id),
            msg_id=encode("msg", attempt.message_id),
            endpoint_id=encode("ep", attempt.endpoint_id),
            url=attempt.url,
            status=Status(attempt.status),
            status_text=status_text(attempt.status),
            response=_response(attempt) if with_content else "",
            response_status_code=attempt.response_status,
            response_duration_ms=attempt.duration_ms,
            trigger_type=Trigger(attempt.trigger),
            timestamp=attempt.started_at,
        )


class MessageEndpointOut(Out):
    """An endpoint that a message is or was owed to, and how it stands there."""

    id: str
    status: Status
    status_text: StatusText
    next_attempt: datetime | None
    url: str
    uid: str | None
    description: str
    version: int
    disabled: bool
    event_types: list[str] | None
    filter_types: list[str] | None
    channels: list[str] | None
    throttle_rate: int | None
    rate_limit: int | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint, status: int, next_at: datetime | None) -> Self:
        """The row as it is shown."""
        return cls(
            id=encode("ep", endpoint.id),
            status=Status(status),
            status_text=status_text(status),
            next_attempt=next_at,
            url=endpoint.url,
            uid=endpoint.uid,
            description=endpoint.description,
            version=endpoint.version,
            disabled=endpoint.disabled,
            event_types=endpoint.event_types,
            filter_types=endpoint.event_types,
            channels=endpoint.channels,
            throttle_rate=endpoint.throttle_rate,
            rate_limit=endpoint.throttle_rate,
            created_at=endpoint.created_at,
            updated_at=endpoint.updated_at,
        )


class Nothing(Out):
    """An empty object."""


class ReplayIn(In):
    """A window of time, by when messages were accepted; until now, unless it says otherwise."""

    since: Instant
    until: Instant | None = None


class BulkReplayIn(ReplayIn):
    """Which of the window's messages are sent again; all that are finished unless narrowed."""

    event_types: list[Name] | None = None
    channel: str | None = Field(None, max_length=128, pattern=r"^[^\x00]*$")
    tag: str | None = Field(None, max_length=128, pattern=r"^[^\x00]*$")
    status: Annotated[int, Field(ge=min(Status), le=max(Status)), WHOLE] | None = None
    status_code_class: Annotated[Literal[0, 100, 200, 300, 400, 500], WHOLE] | None = None


class ReplayOut(Out):
    """The background task that was started."""

    id: str
    status: TaskStatus
    task: TaskKind
    updated_at: datetime

    @classmethod
    def of(cls, task: BackgroundTask) -> Self:
        """The row as it is shown."""
        return cls(
            id=encode(PREFIX, task.id),
            status=TaskStatus(task.status),
            task=TaskKind(task.kind),
            updated_at=task.updated_at,
        )


def status_text(status: int) -> StatusText:
    """The word for a status."""
    return StatusText[Status(status).name]


def _response(attempt: Attempt) -> str:
    if attempt.response or attempt.failure is None:
        return attempt.response.decode(errors="replace")
    return f"{attempt.failure}: {attempt.detail}" if attempt.detail else attempt.failure
