"""Audit events on the wire."""

from datetime import datetime
from typing import Any, Self

from app.domain.audit import Outcome
from app.domain.ids import encode
from app.kit.wire import Out
from app.models import AuditEvent


class AuditActorOut(Out):
    """Who."""

    kind: str
    id: str
    label: str


class AuditTargetOut(Out):
    """What it was done to; empty texts when there is no such thing."""

    kind: str
    id: str
    label: str


class AuditEventOut(Out):
    """An event; `count` says how many alike it stands for."""

    id: str
    occurred_at: datetime
    action: str
    outcome: Outcome
    actor: AuditActorOut
    target: AuditTargetOut
    ip: str | None
    user_agent: str
    request_id: str
    count: int
    details: dict[str, Any]

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """The row as it is shown."""
        return cls(
            id=encode("audit", event.id),
            occurred_at=event.occurred_at,
            action=event.action,
            outcome=Outcome(event.outcome),
            actor=AuditActorOut(kind=event.actor_kind, id=event.actor_id, label=event.actor_label),
            target=AuditTargetOut(kind=event.target_kind, id=event.target_id, label=event.target_label),
            ip=event.ip,
            user_agent=event.user_agent,
            request_id=event.request_id,
            count=event.count,
            details=event.details,
        )
