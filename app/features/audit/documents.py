"""Events and seals as documents: what is hashed, signed, exported and shown."""

from datetime import UTC, datetime
from typing import Any

from app.domain.audit_chain import Seal
from app.models import AuditEvent, AuditSeal


def moment(value: datetime) -> str:
    """A moment in UTC to the microsecond, always of the same length."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def described(event: AuditEvent) -> dict[str, Any]:
    """All that is known of an event, as it is hashed."""
    return {
        "id": str(event.id),
        "organisation_id": str(event.organisation_id),
        "occurred_at": moment(event.occurred_at),
        "action": event.action,
        "outcome": event.outcome,
        "actor": {"kind": event.actor_kind, "id": event.actor_id, "label": event.actor_label},
        "target": {"kind": event.target_kind, "id": event.target_id, "label": event.target_label},
        "ip": event.ip,
        "user_agent": event.user_agent,
        "request_id": event.request_id,
        "count": event.count,
        "details": event.details,
    }


def seal_of(row: AuditSeal) -> Seal:
    """A stored seal."""
    return Seal(
        organisation_id=str(row.organisation_id),
        number=row.number,
        first=row.first_sequence,
        last=row.last_sequence,
        hash=row.hash,
        previous=row.previous_hash,
        sealed_at=moment(row.sealed_at),
        key_id=row.key_id,
        signature=row.signature,
    )
