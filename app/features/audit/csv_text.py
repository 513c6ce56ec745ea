"""Audit events as CSV (RFC 4180), in which no spreadsheet finds a formula."""

import csv
import io
from collections.abc import Iterable

from app.domain.audit_chain import canonical
from app.domain.ids import encode
from app.features.audit.documents import moment
from app.models import AuditEvent

COLUMNS = (
    *("id", "occurred_at", "action", "outcome", "actor_kind", "actor_id", "actor_label"),
    *("target_kind", "target_id", "target_label", "ip", "user_agent", "request_id", "count", "details"),
)
# With these a cell begins what spreadsheets carry out, some of them after blanks.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def header() -> bytes:
    """The first line."""
    return _written([COLUMNS])


def rows(events: Iterable[AuditEvent]) -> bytes:
    """A line for each event."""
    return _written(map(_cells, events))


def cell(value: object) -> str:
    """The value as text; behind an apostrophe when it could be taken for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or text.startswith(FORMULA) else text


def _cells(event: AuditEvent) -> list[str]:
    special = {
        "id": encode("audit", event.id),
        "occurred_at": moment(event.occurred_at),
        "details": canonical(event.details).decode(),
    }
    return [cell(special.get(name, getattr(event, name))) for name in COLUMNS]


def _written(lines: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue().encode()
