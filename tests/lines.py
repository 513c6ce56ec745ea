"""What a log record of ours says."""

from logging import LogRecord
from typing import Any

from app.kit.telemetry.lines import FIELDS


def fields_of(record: LogRecord) -> dict[str, Any]:
    """The fields of its event; none for a record of somebody else's."""
    fields: dict[str, Any] = getattr(record, FIELDS, {})
    return fields
