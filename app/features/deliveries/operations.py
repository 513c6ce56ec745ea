"""What both processes do to deliveries."""

from uuid import UUID

from sqlalchemy.orm import Session

from app.features.deliveries import queries
from app.kit.telemetry.metrics import DELIVERIES

_CANCELED = DELIVERIES.labels("canceled")


def cancel(
    db: Session,
    environment_id: UUID,
    *,
    application_id: UUID | None = None,
    endpoint_id: UUID | None = None,
    message_id: UUID | None = None,
    reason: str,
) -> int:
    """Cancels what is pending in the scope, the whole organisation's when none is given; returns how many.

    An attempt in flight is not stopped, but its result finds no row and is dropped.
    """
    statement = queries.cancel(
        environment_id, application_id=application_id, endpoint_id=endpoint_id, message_id=message_id, reason=reason
    )
    canceled: int = db.execute(statement).scalar_one()
    _CANCELED.inc(canceled)
    return canceled
