"""Replays: background tasks that owe an endpoint messages anew, batch by batch; each step is one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.filters import Subscription, matches
from app.domain.ids import decode, encode, lowest, timestamp
from app.features.background_tasks.operations import StepError, TaskKind
from app.features.deliveries import queries
from app.features.messages.queries import NO_FILTERS, Filters
from app.models import BackgroundTask, Endpoint, Status

BATCH = 500
FINISHED = (Status.success, Status.fail, Status.canceled)
ENDED = "The endpoint is deleted or disabled"


@dataclass(frozen=True, slots=True)
class Replay:
    """What a task was asked: an endpoint, a window of time and, of a bulk replay, what narrows it."""

    application_id: UUID
    endpoint_id: UUID
    since: datetime
    until: datetime
    statuses: tuple[Status, ...] = FINISHED
    messages: Filters = NO_FILTERS
    code_class: int | None = None

    def as_request(self) -> dict[str, Any]:
        """As it is kept with the task and shown; members without a value are left out."""
        asked = {
            "appId": encode("app", self.application_id),
            "endpointId": encode("ep", self.endpoint_id),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "eventTypes": list(self.messages.event_types) or None,
            "channel": self.messages.channel,
            "tag": self.messages.tag,
            "statusCodeClass": self.code_class,
        }
        shown = {name: value for name, value in asked.items() if value is not None}
        return shown if self.statuses == FINISHED else {**shown, "statuses": [int(one) for one in self.statuses]}

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> Self:
        """What `as_request` wrote."""
        labels = Filters(tuple(request.get("eventTypes", ())), request.get("channel"), request.get("tag"))
        return cls(
            _id("app", request["appId"]),
            _id("ep", request["endpointId"]),
            datetime.fromisoformat(request["since"]),
            datetime.fromisoformat(request["until"]),
            tuple(Status(one) for one in request.get("statuses", FINISHED)),
            labels,
            request.get("statusCodeClass"),
        )

    def share(self, last: UUID) -> float:
        """How far the message of this id lies into the window, from 0 to 1."""
        whole = (self.until - self.since).total_seconds()
        return min(1.0, max(0.0, (timestamp(last) - self.since).total_seconds() / whole)) if whole > 0 else 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step did: how many messages it looked at and owed, and the last of them."""

    looked: int
    owed: int
    last: UUID | None


def step(db: Session, task: BackgroundTask) -> tuple[dict[str, Any], bool]:
    """Does the next batch of a task; its progress then, and whether it is done. Raises StepError."""
    asked = Replay.of_request(task.request)
    endpoint = db.scalar(queries.open_endpoint(task.environment_id, asked.endpoint_id))
    if endpoint is None:
        raise StepError(ENDED)
    after = UUID(task.progress["cursor"]) if "cursor" in task.progress else _before(asked.since)
    batch = STEPS[TaskKind(task.kind)](db, endpoint, asked, after)
    return _progress(task, asked, batch), batch.looked < BATCH


def _progress(task: BackgroundTask, asked: Replay, batch: Batch) -> dict[str, Any]:
    progress = {**task.progress, "sent": int(task.progress.get("sent", 0)) + batch.owed}
    if batch.last is not None:
        progress |= {"cursor": str(batch.last), "share": round(asked.share(batch.last), 4)}
    return progress


def _owe_finished(db: Session, endpoint: Endpoint, asked: Replay, after: UUID) -> Batch:
    scope = queries.Scope(
        endpoint.environment_id,
        endpoint.id,
        after,
        lowest(asked.until),
        asked.statuses,
        asked.messages,
        asked.code_class,
    )
    return Batch(*db.execute(queries.replay(scope, BATCH, "replay")).one())


def _owe_missing(db: Session, endpoint: Endpoint, asked: Replay, after: UUID) -> Batch:
    owner = endpoint.environment_id, endpoint.application_id
    looked = db.execute(queries.candidates(*owner, endpoint.id, after, lowest(asked.until)).limit(BATCH)).all()
    subscription = _subscription(endpoint)
    flags = _flags(db, endpoint, {event_type for _, event_type, _, _ in looked})
    wanted = [
        message_id
        for message_id, event_type, channels, is_missing in looked
        if is_missing
        and matches(subscription, event_type, frozenset(channels or ()), flags.get(event_type, frozenset()))
    ]
    owed = (
        db.scalars(queries.owe_missing(endpoint.environment_id, endpoint.id, wanted, "replay")).one() if wanted else 0
    )
    return Batch(len(looked), owed, looked[-1][0] if looked else None)


def _subscription(endpoint: Endpoint) -> Subscription:
    event_types, channels, flags = (
        None if one is None else frozenset(one)
        for one in (endpoint.event_types, endpoint.channels, endpoint.feature_flags)
    )
    return Subscription(event_types, channels, feature_flags=flags)


def _flags(db: Session, endpoint: Endpoint, names: set[str]) -> dict[str, frozenset[str]]:
    if endpoint.feature_flags is None or not names:
        return {}
    rows = db.execute(queries.flags_of(endpoint.environment_id, names))
    return {name: frozenset(flags or ()) for name, flags in rows}


STEPS = {
    TaskKind.recover: _owe_finished,
    TaskKind.bulk_replay: _owe_finished,
    TaskKind.replay: _owe_missing,
}


def _before(moment: datetime) -> UUID:
    return UUID(int=lowest(moment).int - 1)


def _id(prefix: str, text: str) -> UUID:
    found = decode(prefix, text)
    if found is None:
        msg = f"not an id of a stored task: {text}"
        raise ValueError(msg)
    return found
