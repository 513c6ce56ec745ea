"""Log lines as JSON, each with the id of the request that it is about."""

import logging
from contextvars import ContextVar

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict

REQUEST_ID = "request_id"
# Set for each request, and read for the few that log: binding it the general way costs as much as a look-up.
_request: ContextVar[str | None] = ContextVar(REQUEST_ID, default=None)


def formatter() -> logging.Formatter:
    """Writes a record of any library as one JSON object."""
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            _name_request,
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


def about(request_id: str) -> None:
    """Marks what this task logs from here on."""
    _request.set(request_id)


def _name_request(_logger: object, _method: str, event: EventDict) -> EventDict:
    request_id = _request.get()
    return event if request_id is None else {**event, REQUEST_ID: request_id}
