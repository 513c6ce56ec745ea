"""Audit events on the wire."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from app.domain.audit import Outcome
from app.domain.ids import encode
from app.domain.signed_urls import LONGEST
from app.kit.wire import WHOLE, Out, OwnIn
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


class AuditLinkIn(OwnIn):
    """For how long a link is good, whether once only, and whether only for the address that asks for it."""

    expiry_seconds: Annotated[int, Field(ge=60, le=LONGEST), WHOLE] = 3600
    one_time: bool = False
    only_from_here: bool = False


class AuditLinkOut(Out):
    """The link, and when it expires."""

    url: str
    expires_at: datetime
