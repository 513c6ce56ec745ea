"""Warns organisations of keys that end soon, once for each secret."""

from typing import Any

from sqlalchemy.orm import Session

from app.domain.ids import encode
from app.features.operational_webhooks.operations import Event, emit_all
from app.features.organisations.errors import KEY, SECRET
from app.features.organisations.expiry_queries import take_ending

EXPIRING = "api_key.expiring"


def warn(db: Session) -> int:
    """Emits `api_key.expiring` for secrets whose end is near, to their keys' environments; says for how many."""
    events = [_event(row) for row in db.execute(take_ending())]
    emit_all(db, events)
    return len(events)


def _event(row: Any) -> Event:  # noqa: ANN401 a row of take_ending
    data = {
        "keyId": encode(KEY, row.key_id),
        "name": row.name,
        "secretId": encode(SECRET, row.id),
        "hint": row.hint,
        "endsAt": row.ends_at.isoformat(),
    }
    return Event(row.environment_id, EXPIRING, data)
