"""Log lines as JSON, each with the id of the request that it is about."""

import logging

import structlog
from structlog.stdlib import ProcessorFormatter

REQUEST_ID = "request_id"


def formatter() -> logging.Formatter:
    """Writes a record of any library as one JSON object."""
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
    )


def install() -> None:
    """Sends what the process logs to its standard error, unless somebody else has seen to it."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(formatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def about(request_id: str) -> None:
    """Marks what this task logs from here on."""
    structlog.contextvars.bind_contextvars(**{REQUEST_ID: request_id})
