"""Tells organisations what attempts changed, by operational webhooks; those about operational webhooks tell nobody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import ids
from app.features.deliveries import record_queries as queries
from app.features.operational_webhooks.operations import Event, emit_all
from app.kit.arrays import transpose
from worker.delivery.job import Sent


@dataclass(frozen=True, slots=True)
class Disabled:
    """An endpoint that was disabled because it failed, since `since`, or said that it is gone."""

    environment_id: UUID
    application_id: UUID
    endpoint_id: UUID
    uid: str | None
    since: datetime


def tell(db: Session, changes: Sequence[tuple[str | None, Sent]], disabled: Sequence[Disabled]) -> None:
    """Emits `message.attempt.*` for attempts that changed something, and `endpoint.disabled`."""
    told = [(kind, sent) for kind, sent in changes if kind and not sent.job.is_operational]
    if not told and not disabled:
        return
    uids = _uids(db, told, disabled)
    event_ids = _event_ids(db, told)
    emit_all(
        db,
        [_attempt_event(kind, sent, uids, event_ids) for kind, sent in told]
        + [_disabled_event(one, uids) for one in disabled],
    )


def _uids(db: Session, told: Sequence[tuple[str, Sent]], disabled: Sequence[Disabled]) -> Mapping[UUID, str]:
    keys = {(sent.job.key.environment_id, sent.job.application_id) for _, sent in told}
    keys |= {(one.environment_id, one.application_id) for one in disabled}
    rows = db.execute(queries.application_uids(), transpose(sorted(keys), "environment_id", "id"))
    return {row.id: row.uid for row in rows}


def _event_ids(db: Session, told: Sequence[tuple[str, Sent]]) -> Mapping[UUID, str]:
    keys = sorted({(sent.job.key.environment_id, sent.job.key.message_id) for _, sent in told})
    if not keys:
        return {}
    rows = db.execute(queries.event_ids(), transpose(keys, "environment_id", "id"))
    return {row.id: row.event_id for row in rows}


def _attempt_event(kind: str, sent: Sent, uids: Mapping[UUID, str], event_ids: Mapping[UUID, str]) -> Event:
    job = sent.job
    data: dict[str, Any] = {
        "appId": ids.encode("app", job.application_id),
        "appUid": uids.get(job.application_id),
        "endpointId": ids.encode("ep", job.key.endpoint_id),
        "msgId": ids.encode("msg", job.key.message_id),
        "msgEventId": event_ids.get(job.key.message_id),
        "lastAttempt": {
            "id": ids.encode("atmpt", sent.attempt_id),
            "responseStatusCode": sent.status or 0,
            "timestamp": sent.started_at.isoformat(),
        },
    }
    return Event(job.key.environment_id, f"message.attempt.{kind}", data)


def _disabled_event(one: Disabled, uids: Mapping[UUID, str]) -> Event:
    data = {
        "appId": ids.encode("app", one.application_id),
        "appUid": uids.get(one.application_id),
        "endpointId": ids.encode("ep", one.endpoint_id),
        "endpointUid": one.uid,
        "failSince": one.since.isoformat(),
    }
    return Event(one.environment_id, "endpoint.disabled", data)
