"""Reports of errors: what is logged at ERROR goes to Sentry too, with its stack and the ids of what it is about.

Nobody waits for a report, and none tells values: no local variables, arguments, payloads, addresses or credentials.
"""

import atexit
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import sentry_sdk
from sentry_sdk.envelope import Envelope, Item
from sentry_sdk.integrations.logging import EventHandler
from sentry_sdk.transport import HttpTransport
from sentry_sdk.types import Event, Hint
from sentry_sdk.utils import BadDsn

from app.kit.telemetry import about
from app.kit.telemetry.lines import FIELDS
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import TELEMETRY_DROPPED
from app.kit.telemetry.scrub import HIDDEN, scrubbed

EACH_A_MINUTE, ALL_A_MINUTE = 5, 30
"""Reports of one kind, and of all kinds, that a process sends at most; more are dropped."""
QUEUE = 100
SEND_SECONDS = 5
FLUSH_SECONDS = 2.0
_MINUTE = 60.0
_KEPT = frozenset(
    {
        "event_id",
        "timestamp",
        "platform",
        "level",
        "logger",
        "release",
        "environment",
        "server_name",
        "sdk",
        "exception",
    }
)
"""What a report keeps of that which the SDK has put together; the rest is written here."""
_URL = re.compile(r"\b([a-z][a-z0-9+.\-]*)://[^\s\"'<>)\]]+", re.IGNORECASE)
_REPORTED = "__postrider_reported__"
_DROPPED = TELEMETRY_DROPPED.labels("errors")
logger = get_logger(__name__)


def start(dsn: str | None, component: str, *, environment: str, revision: str, sample: float = 1.0) -> None:
    """Reports what this process logs at ERROR from now on, `sample` of it; nothing without a DSN.

    Call it after `logs.install`, and again after a fork.
    """
    if dsn is None:
        return
    try:
        sentry_sdk.init(
            dsn,
            release=revision,
            environment=environment,
            transport=_Transport,
            before_send=_Reports(component).written,
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            send_client_reports=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
            transport_queue_size=QUEUE,
            max_breadcrumbs=0,
            debug=False,
            spotlight=False,
        )
    except BadDsn:
        logger.warning("error_reports_off", remedy="POSTRIDER_TELEMETRY__SENTRY_DSN is no DSN")
        return
    # Each try to send would be a line; what was not sent is counted and said once, by ours.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    _report_what_is_logged(sample)
    atexit.unregister(flush)
    atexit.register(flush)


def flush() -> None:
    """Waits, not for long, until what was reported is sent: where a process ends."""
    sentry_sdk.flush(FLUSH_SECONDS)


def _report_what_is_logged(sample: float) -> None:
    root = logging.getLogger()
    for inherited in [one for one in root.handlers if isinstance(one, EventHandler)]:
        root.removeHandler(inherited)
    handler = EventHandler(logging.ERROR)
    handler.addFilter(_is_new)
    handler.addFilter(Bound(sample).takes)
    root.addHandler(handler)


def _is_new(record: logging.LogRecord) -> bool:
    """Whether its error has not been reported: what failed a request is logged here, and by the server once more."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return True
    is_new = not hasattr(error, _REPORTED)
    setattr(error, _REPORTED, True)
    return is_new


class Bound:
    """Lets `sample` of the reports through, and in a minute only so many of a kind and of all."""

    def __init__(self, sample: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._sample = sample
        self._clock = clock
        self._until = 0.0
        self._taken: Counter[object] = Counter()

    def takes(self, record: logging.LogRecord) -> bool:
        """Whether this is reported; what the sample leaves out is not counted, as it is what was asked for."""
        if random.random() >= self._sample:  # noqa: S311 nothing secret depends on it
            return False
        now = self._clock()
        if now >= self._until:
            self._until = now + _MINUTE
            self._taken.clear()
        kind = (record.name, record.msg, record.exc_info[0] if record.exc_info else None)
        if self._taken[kind] >= EACH_A_MINUTE or self._taken.total() >= ALL_A_MINUTE:
            _DROPPED.inc()
            return False
        self._taken[kind] += 1
        return True


class _Reports:
    """Writes the reports of one process."""

    def __init__(self, component: str) -> None:
        self._component = component

    def written(self, event: Event, hint: Hint) -> Event:
        """What is sent instead of what the SDK has put together."""
        record: logging.LogRecord = hint["log_record"]
        known = about.current().known()
        report: dict[str, Any] = {name: value for name, value in event.items() if name in _KEPT}
        ours: Mapping[str, Any] | None = getattr(record, FIELDS, None)
        report["logentry"] = {"message": clean(str(record.msg)), "formatted": clean(record.getMessage())}
        report["extra"] = {name: _plain(value) for name, value in (ours or {}).items()}
        report["tags"] = {"component": self._component, **known}
        if "trace_id" in known:
            report["contexts"] = {"trace": {"trace_id": known["trace_id"], "span_id": known["trace_id"][16:]}}
        for one in report.get("exception", {}).get("values", ()):
            one["value"] = clean(str(one.get("value") or ""))
        return report  # type: ignore[return-value] # its members are those of an event


def clean(text: str) -> str:
    """The text as a report may hold it: as a log line does, and without URLs."""
    return scrubbed(_URL.sub(rf"\1://{HIDDEN}", text))


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | None) else clean(str(value))


class _Transport(HttpTransport):
    """Counts the reports that could not be handed over, and says so when that begins and when it is over."""

    TIMEOUT = SEND_SECONDS
    _lost = 0

    def record_lost_event(
        self,
        reason: str,
        data_category: Any = None,  # noqa: ANN401, ARG002 as its base has it
        item: Item | None = None,  # noqa: ARG002 see above
        *,
        quantity: int = 1,
    ) -> None:
        """A report is lost."""
        _DROPPED.inc(quantity)
        if not self._lost:
            logger.warning("errors_not_reported", reason=reason)
        self._lost += quantity

    def _handle_response(self, response: Any, envelope: Envelope | None) -> None:  # noqa: ANN401 as its base has it
        super()._handle_response(response, envelope)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            self.record_lost_event("refused")
        elif response.status < HTTPStatus.MULTIPLE_CHOICES and self._lost:
            logger.info("errors_reported_again", lost=self._lost)
            self._lost = 0
