"""Log lines of one schema: an event's name with fields, and the ids of what it is about."""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

import structlog
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, WrappedLogger

from app.kit.telemetry.lines import FIELDS, Console, Json
from app.kit.telemetry.outlet import Outlet

Style = Literal["json", "console"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LEVELS = {
    # At DEBUG it writes down whole tokens.
    "authlib": logging.INFO,
    # They write down each request that is made, or connection.
    "httpx2": logging.WARNING,
    "httpcore": logging.WARNING,
    # A line for each part of itself that it finds.
    "alembic.runtime.plugins": logging.WARNING,
    # Each task twice, while we have a line of our own for those that matter.
    "celery.worker.strategy": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    # Each step of each child.
    "multiprocessing": logging.WARNING,
}
MILD = ("celery.worker.consumer.consumer", "celery.beat", "kombu.connection")
"""They call it an error when the broker is away, which ends by itself."""
BROKERS = ("celery.", "kombu.", "redis.")
"""Whose exceptions tell of it, beside those of the system."""


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


def install(component: str, style: Style | None = None, level: Level = "INFO") -> None:
    """Sends what the process logs to its standard error, unless somebody else has seen to it.

    `component` says which part of an installation it is. A terminal is written to as people read.
    """
    for name, least in LEVELS.items():
        logging.getLogger(name).setLevel(least)
    for name in MILD:
        logging.getLogger(name).addFilter(_soften)
    root = logging.getLogger()
    outlet = next((one for one in root.handlers if isinstance(one, Outlet)), None)
    if outlet is None:
        if root.handlers:
            return
        outlet = Outlet(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        root.addHandler(outlet)
    outlet.setFormatter(_formatter(component, style))
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = _crashed
    threading.excepthook = _thread_crashed


def flush() -> None:
    """Waits, not for long, until what was logged is written: where a process ends without ceremony."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _formatter(component: str, style: Style | None) -> logging.Formatter:
    is_terminal = sys.stderr.isatty()
    if style == "console" or (style is None and is_terminal):
        return Console(component, colors=is_terminal and "NO_COLOR" not in os.environ)
    return Json(component)


def _to_record(_logger: WrappedLogger, _method: str, event: EventDict) -> tuple[tuple[str], Mapping[str, Any]]:
    """What the standard library's logger is called with; its record is what other handlers see too."""
    name, exc_info = event.pop("event"), event.pop("exc_info", None)
    return (name,), {"exc_info": exc_info, "extra": {FIELDS: event}}


def _soften(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    is_away = error is None or isinstance(error, OSError) or type(error).__module__.startswith(BROKERS)
    if record.levelno == logging.ERROR and is_away:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("process_crashed", exc_info=error)


def _thread_crashed(crash: threading.ExceptHookArgs) -> None:
    logger.critical("thread_crashed", thread=crash.thread and crash.thread.name, exc_info=crash.exc_value)


logger = get_logger(__name__)
