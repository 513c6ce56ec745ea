"""What a log line says, and how: one schema for records of ours and of libraries."""

import json
import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from app.kit.telemetry import about
from app.kit.telemetry.scrub import scrubbed

FIELDS = "fields"
"""Where a record of ours holds the fields of its event."""
OTHERS_WORDS = frozenset({"error", "detail"})
"""Fields that hold what somebody else has said."""


class Json(logging.Formatter):
    """Writes a record of any library as one JSON object in one line of ASCII."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return json.dumps(described(record, self._component), default=str)


class Console(logging.Formatter):
    """Writes a record for people at a terminal."""

    def __init__(self, component: str, *, colors: bool) -> None:
        super().__init__()
        self._component = component
        self._render = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=24)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and those of a trace if there is one."""
        line = described(record, self._component)
        for name in ("component", "pid"):
            del line[name]
        return str(self._render(None, record.levelname, line))


def described(record: logging.LogRecord, component: str) -> dict[str, Any]:
    """What a line says; see "Logs" in the README for its fields."""
    ours: Mapping[str, Any] | None = getattr(record, FIELDS, None)
    line: dict[str, Any] = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "level": record.levelname.lower(),
        "event": scrubbed(record.getMessage()) if ours is None else record.msg,
        "logger": record.name,
        "component": component,
        "pid": record.process,
        **about.current().known(),
    }
    for name, value in (ours or {}).items():
        line[name] = scrubbed(value) if name in OTHERS_WORDS and isinstance(value, str) else value
    if record.exc_info and record.exc_info[1] is not None:
        line["exception"] = scrubbed("".join(traceback.format_exception(record.exc_info[1])).rstrip())
    return line
