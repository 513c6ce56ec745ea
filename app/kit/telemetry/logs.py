"""Log lines as JSON, each with the ids of what it is about."""

import logging

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict

from app.kit.telemetry import about


def formatter() -> logging.Formatter:
    """Writes a record of any library as one JSON object."""
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
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


def _name_work(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {**about.current().known(), **event}
