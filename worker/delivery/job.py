"""What is handed from stage to stage: a claimed delivery, and what came of sending it."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from app.domain.outcome import Failure, Verdict, judge
from app.domain.signing import Key, Style

EndpointKey = tuple[UUID, UUID]
"""An organisation and one of its endpoints."""


class DueKey(NamedTuple):
    """The key of a row of due_deliveries."""

    environment_id: UUID
    endpoint_id: UUID
    message_id: UUID
    trigger: int

    @property
    def endpoint(self) -> EndpointKey:
        """The endpoint that is owed to."""
        return self[:2]


@dataclass(frozen=True, slots=True)
class Destination:
    """What sending to an endpoint takes, as of its `revision`.

    Keys are newest first, with their end if there is one. `fault` says why nothing can be sent.
    """

    revision: int
    url: str
    headers: tuple[tuple[str, str], ...]
    keys: tuple[tuple[Key, datetime | None], ...]
    header_style: Style
    ca_pem: bytes | None
    retry_schedule: tuple[int, ...] | None
    fault: str | None = None
    organisation_id: UUID | None = None

    def live_keys(self, now: datetime) -> list[Key]:
        """The keys that sign at `now`, the database's time."""
        return [key for key, end in self.keys if end is None or end > now]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A delivery under lease. `attempt` is its fence; `claimed_at` the database's time, when it was `late` (seconds).

    Each equals itself alone: under way at once may be two of the same delivery, if the first has outlived its lease.
    By the process's clock the claim `began`, and had it `taken`.
    It `was_held` back before, for the sake of its endpoint.
    `traceparent` and `request_id` say what brought the message: see `Payload`.
    """

    key: DueKey
    application_id: UUID
    lane: int
    attempt: int
    failures: int
    event_type: str
    destination: Destination
    content_type: str
    body: bytes
    traceparent: bytes | None
    request_id: str | None
    is_unwell: bool
    was_held: bool
    is_operational: bool
    late: float
    claimed_at: datetime
    taken: float
    began: float

    def database_time(self) -> datetime:
        """Now by the database's clock, carried forward by the time since the claim."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.taken)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one attempt brought. `body` is what is kept of the answer; `traceparent` is the attempt's span."""

    job: Job
    attempt_id: UUID
    started_at: datetime
    status: int | None
    failure: Failure | None
    detail: str
    body: bytes
    retry_after: str | None
    duration_ms: int
    traceparent: bytes | None = None

    @property
    def verdict(self) -> Verdict:
        """What it means."""
        return judge(self.status, self.failure)
