"""Reports of one process: how many it sends, what they never hold, and that a bad Sentry costs nobody anything."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import sentry_sdk
from prometheus_client import REGISTRY
from sentry_sdk.integrations.logging import EventHandler

from app.cli.dev.process import wait_until
from app.kit.telemetry import about, reports
from app.kit.telemetry.about import About
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.reports import ALL_A_MINUTE, EACH_A_MINUTE, Bound
from tests.receiver import Answer
from tests.sentry import OK, Sentry, running_sentry

logger = get_logger("tests.reports")
Start = Callable[..., None]


@pytest.fixture(autouse=True)
def _own_process() -> Iterator[None]:
    """What a test begins to report is over with it."""
    yield
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, EventHandler)]:
        root.removeHandler(handler)
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with running_sentry() as started:
        yield started


def start(dsn: str | None, sample: float = 1.0) -> None:
    reports.start(dsn, "api", environment="test", revision="r1", sample=sample)


def dropped() -> float:
    return REGISTRY.get_sample_value("postrider_telemetry_dropped_total", {"signal": "errors"}) or 0.0


def fail(error: Exception, event: str = "it_failed", **fields: object) -> None:
    try:
        raise error
    except type(error):
        logger.exception(event, **fields)


def test_an_error_is_reported_with_its_stack_its_fields_and_its_ids(sentry: Sentry) -> None:
    start(sentry.dsn)
    with about.during(About(request_id="one", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")):
        fail(ValueError("no such thing"), items=3)
    reports.flush()

    (report,) = sentry.reports()
    assert (report["release"], report["environment"], report["level"]) == ("r1", "test", "error")
    assert report["logentry"]["message"] == "it_failed"
    assert report["extra"] == {"items": 3}
    assert report["tags"] == {
        "component": "api",
        "request_id": "one",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    assert report["contexts"]["trace"]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert report["exception"]["values"][0]["stacktrace"]["frames"][-1]["function"] == "fail"


def test_an_error_that_two_loggers_tell_is_reported_once(sentry: Sentry) -> None:
    start(sentry.dsn)
    error = ValueError("once")
    fail(error)
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
    reports.flush()
    assert len(sentry.reports()) == 1


def test_warnings_are_not_reported(sentry: Sentry) -> None:
    start(sentry.dsn)
    logger.warning("redis_unavailable", use="cache")
    reports.flush()
    assert sentry.reports() == []


@pytest.mark.parametrize(
    "said",
    [
        "https://hooks.example.test/services/T0/canary",
        "postgresql://postrider:canary@db/postrider",
        "Key (email)=(x)\nDETAIL:  Failing row contains (canary).",
        "[parameters: ('canary',)]",
        "invalid input for query argument $1: 'canary (of a row)' (expected str, got int)",
        'invalid input syntax for type uuid: "canary"\nLINE 1: SELECT',
        "Authorization: Bearer canary-canary-canary",
        "canary@example.test",
        "whsec_canary",
    ],
)
def test_a_report_hides_what_nobody_may_read(sentry: Sentry, said: str) -> None:
    start(sentry.dsn)
    canary_in_a_local_variable = said
    fail(RuntimeError(canary_in_a_local_variable), detail=said)
    logging.getLogger("tests.other").error("seen %s", said)
    reports.flush()
    assert len(sentry.reports()) == 2
    told = [
        (one["logentry"], one["extra"], [value["value"] for value in one.get("exception", {}).get("values", ())])
        for one in sentry.reports()
    ]
    assert "canary" not in repr(told)
    assert '"vars"' not in sentry.raw


def test_one_error_in_a_loop_leaves_room_for_others_and_is_counted(sentry: Sentry) -> None:
    start(sentry.dsn)
    before = dropped()
    for number in range(100):
        fail(ValueError(str(number)))
    fail(KeyError("another"))
    reports.flush()
    kinds = [one["exception"]["values"][0]["type"] for one in sentry.reports()]
    assert kinds == ["ValueError"] * EACH_A_MINUTE + ["KeyError"]
    assert dropped() - before == 100 - EACH_A_MINUTE


def test_the_next_minute_has_room_again() -> None:
    now = 0.0
    bound = Bound(1.0, lambda: now)
    kinds = [logging.LogRecord(f"some.{number}", logging.ERROR, "", 1, "x", (), None) for number in range(100)]
    assert sum(map(bound.takes, kinds)) == ALL_A_MINUTE
    now = 61.0
    assert sum(map(bound.takes, kinds)) == ALL_A_MINUTE


def test_what_the_sample_leaves_out_is_not_sent(sentry: Sentry) -> None:
    start(sentry.dsn, sample=0.0)
    before = dropped()
    fail(ValueError("left out"))
    reports.flush()
    assert (sentry.reports(), dropped()) == ([], before)


@pytest.mark.parametrize("dsn", [None, "no DSN at all"])
def test_without_a_dsn_nothing_is_reported_and_nothing_fails(dsn: str | None) -> None:
    handlers = list(logging.getLogger().handlers)
    start(dsn)
    fail(ValueError("unheard"))
    assert logging.getLogger().handlers == handlers


def takes_no_time() -> None:
    """Far more errors than are let through, each of a kind of its own."""
    began = time.monotonic()
    for number in range(ALL_A_MINUTE):
        fail(ValueError("x"), f"failed_{number % 10}")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("answer", [Answer(500), Answer(404, body=b"<html>"), Answer(429)])
def test_a_sentry_that_refuses_is_counted(answer: Answer) -> None:
    with running_sentry(answer) as sentry:
        start(sentry.dsn)
        before = dropped()
        takes_no_time()
        reports.flush()
        assert wait_until(lambda: dropped() - before == ALL_A_MINUTE, 10)


def test_a_sentry_that_is_not_there_is_counted() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    start(f"http://public@127.0.0.1:{port}/7")
    before = dropped()
    takes_no_time()
    assert wait_until(lambda: dropped() - before == ALL_A_MINUTE, 10)


def test_a_sentry_that_never_answers_holds_up_nobody() -> None:
    with running_sentry(Answer(200, after=60)) as sentry:
        start(sentry.dsn)
        takes_no_time()
        began = time.monotonic()
        reports.flush()
        assert time.monotonic() - began < reports.FLUSH_SECONDS + 1


def test_reports_are_sent_again_once_sentry_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_sentry(Answer(500), Answer(500), OK) as sentry, caplog.at_level(logging.INFO):
        start(sentry.dsn)
        for name in ("a", "b", "c"):
            fail(ValueError("x"), name)
            reports.flush()
    said = [one.message for one in caplog.records if one.name == reports.__name__]
    assert said == ["errors_not_reported", "errors_reported_again"]
