"""Log lines of one schema: an event's name with fields, and the ids of what it is about."""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, WrappedLogger

from app.kit.telemetry import about

FIELDS = "fields"
"""Where a record of ours holds the fields of its event."""


def get_logger(name: str) -> BoundLogger:
    """The logger of a module: `logger.warning("redis_unavailable", error="…")`.

    An event's name is a word that stays; what varies is in its fields. `exception`, or `exc_info`, adds a trace.
    """
    return structlog.wrap_logger(  # type: ignore[no-any-return] # of the class that is named here
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _to_record],
        wrapper_class=BoundLogger,
        cache_logger_on_first_use=True,
    )


def formatter() -> logging.Formatter:
    """Writes a record of any library as one JSON object."""
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer(default=str)],
        foreign_pre_chain=[
            _add_fields,
            _name_work,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
    )


def install() -> None:
    """Sends what the process logs to its standard error, unless somebody else has seen to it."""
    # At DEBUG it writes down whole tokens.
    logging.getLogger("authlib").setLevel(logging.INFO)
    # It writes down each request that it makes.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _to_record(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], Mapping[str, Any]]:
    """What the standard library's logger is called with; its record is what other handlers see too."""
    name, exc_info = event.pop("event"), event.pop("exc_info", None)
    return (name,), {"exc_info": exc_info, "extra": {FIELDS: event}}


def _add_fields(_logger: object, _method: str, event: EventDict) -> MutableMapping[str, Any]:
    return {**getattr(event["_record"], FIELDS, {}), **event}


def _name_work(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {**about.current().known(), **event}
