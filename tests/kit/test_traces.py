"""Traces of one process: which are recorded, what leaves it, and what a bad collector costs it."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, get_current_span
from prometheus_client import REGISTRY

from app.cli.dev.process import wait_until
from app.kit.telemetry import about, traces
from app.kit.telemetry.about import About
from app.kit.telemetry.trace_context import Carried, from_header, is_sampled, of_span, trace_id
from app.kit.telemetry.trace_export import QUEUE
from app.kit.telemetry.trace_sampling import given_trace_id
from tests.otlp import PATH, Collector, Span, running_collector
from tests.receiver import Answer

CALLER = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SILENT = CALLER[:-1] + b"0"
MORE_THAN_THERE_IS_ROOM = QUEUE + 500
ROUTE = "/api/v1/app/{app_id}/msg"
Start = Callable[..., TracerProvider]


@pytest.fixture(autouse=True)
def _own_request() -> Iterator[None]:
    """Nothing is at hand when a test begins, and nothing is recorded when it ends."""
    given = given_trace_id.set(None)
    with about.during(About()):
        yield
    given_trace_id.reset(given)
    traces.stop()
    # A thread that goes on with its tries would roll the dice of the tests that follow.
    assert wait_until(lambda: not any("Otel" in one.name for one in threading.enumerate()), 15)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as started:
        yield started


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    def begin(environment: dict[str, str], sample: float = 1.0, callers: int = 10) -> TracerProvider:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        provider = traces.start(sample, "api", environment="test", revision="r1", callers=callers)
        assert provider is not None
        return provider

    return begin


def request(traceparent: bytes | None = None, status: int = 202) -> Carried:
    """Serves a request by the lane's hook; what would be stored with its message."""
    given_trace_id.set(None)
    with about.during(About(request_id="req")), traces.Request(traceparent, ROUTE, "http") as served:
        served.answer(status)
        carried = traces.carried()
    assert carried is not None
    return carried


def recorded_by_caller() -> bytes:
    """The `traceparent` of a trace of its own."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01".encode()


def dropped() -> float:
    return REGISTRY.get_sample_value("postrider_telemetry_dropped_total", {"signal": "traces"}) or 0.0


def exported(collector: Collector) -> list[Span]:
    traces.stop()
    return collector.spans()


class TestSampling:
    def test_every_request_has_a_trace_even_where_none_is_recorded(self) -> None:
        carried = request()
        assert not is_sampled(carried)
        assert len(trace_id(carried).strip("0")) > 16
        assert trace_id(request()) != trace_id(carried)

    def test_a_share_of_what_begins_here_is_recorded(self, start: Start, collector: Collector) -> None:
        start(collector.environment, 0.25)
        carried = [request() for _ in range(800)]
        kept = {trace_id(one) for one in carried if is_sampled(one)}
        assert 120 < len(kept) < 290
        assert {span.trace_id for span in exported(collector)} == kept

    def test_whoever_calls_decides_for_its_own_trace(self, start: Start, collector: Collector) -> None:
        start(collector.environment, 0.0)
        assert is_sampled(request(CALLER))
        assert not is_sampled(request())
        (span,) = exported(collector)
        assert (span.trace_id, span.parent_id) == (CALLER[3:35].decode(), CALLER[36:52].decode())

    def test_so_many_callers_a_second_decide_and_beyond_them_the_share_does(
        self, start: Start, collector: Collector
    ) -> None:
        start(collector.environment, 0.0, callers=3)
        began = time.monotonic()
        carried = [request(recorded_by_caller()) for _ in range(50)]
        kept = [one for one in carried if is_sampled(one)]
        assert 3 <= len(kept) <= 3 + 3 * (time.monotonic() - began)
        assert {span.trace_id for span in exported(collector)} == {trace_id(one) for one in kept}

    def test_a_caller_beyond_that_may_still_be_of_the_share(self, start: Start, collector: Collector) -> None:
        start(collector.environment, 1.0, callers=0)
        assert is_sampled(request(recorded_by_caller()))

    def test_what_a_caller_began_is_recorded_to_its_end(self, start: Start, collector: Collector) -> None:
        start(collector.environment, 0.0, callers=1)
        carried = request(recorded_by_caller())
        for kind in (SpanKind.CLIENT, SpanKind.CONSUMER, SpanKind.PRODUCER):
            later = traces.begin("later", carried, kind, {})
            assert later is not None
            later.end()
        assert len(exported(collector)) == 4

    def test_a_caller_that_does_not_record_is_not_recorded_here(self, start: Start, collector: Collector) -> None:
        start(collector.environment)
        carried = request(SILENT)
        assert trace_id(carried) == SILENT[3:35].decode()
        assert not is_sampled(carried)
        assert exported(collector) == []

    def test_what_goes_on_with_a_recorded_trace_is_recorded(self, start: Start, collector: Collector) -> None:
        start(collector.environment, 0.0)
        first, silent = from_header(CALLER), from_header(SILENT)
        assert first is not None
        assert silent is not None
        later = traces.begin("claim", None, SpanKind.CONSUMER, {}, follows=[first])
        assert later is not None
        assert trace_id(of_span(later)) != trace_id(first)
        later.end()
        assert traces.begin("claim", None, SpanKind.CONSUMER, {}, follows=[silent]) is None
        (span,) = exported(collector)
        assert span.links == (trace_id(first),)

    @pytest.mark.parametrize("kind", [SpanKind.CLIENT, SpanKind.INTERNAL])
    def test_what_nobody_asked_for_begins_no_trace(self, start: Start, collector: Collector, kind: SpanKind) -> None:
        start(collector.environment)
        assert traces.begin("SELECT", None, kind, {}) is None
        assert exported(collector) == []

    def test_without_a_collector_nothing_is_recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
        assert traces.start(1.0, "api", environment="test", revision="r1") is None
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        assert traces.start(1.0, "api", environment="test", revision="r1") is None


class TestSpans:
    def test_a_request_is_told_by_its_route_and_ids(self, start: Start, collector: Collector) -> None:
        start(collector.environment)
        carried = request(status=503)
        (span,) = exported(collector)
        assert (span.name, span.kind, span.trace_id) == (f"POST {ROUTE}", "SERVER", trace_id(carried))
        assert span.attributes["http.route"] == ROUTE
        assert span.attributes["http.response.status_code"] == 503
        assert span.attributes["postrider.request_id"] == "req"
        assert span.is_error

    def test_a_process_says_what_it_is(
        self, start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=api-1,service.version=2")
        start(collector.environment)
        request()
        resource = exported(collector)[0].resource
        assert resource["service.name"] == "postrider-api"
        assert resource["deployment.environment.name"] == "test"
        assert (resource["k8s.pod.name"], resource["service.version"]) == ("api-1", "2")
        assert resource["process.pid"] == os.getpid()

    def test_others_spans_leave_without_what_may_be_personal(self, start: Start, collector: Collector) -> None:
        tracer = start(collector.environment).get_tracer("some library")
        told: dict[str, Any] = {"http.route": "/users", "client.address": "203.0.113.9", "url.query": "canary"}
        with (
            pytest.raises(ValueError, match="canary"),
            tracer.start_as_current_span("GET", None, SpanKind.SERVER, told),
        ):
            raise ValueError("canary@example.com is taken")
        (span,) = exported(collector)
        assert span.attributes == {"http.route": "/users"}
        assert span.events == ({"name": "exception", "exception.type": "ValueError"},)
        assert span.is_error

    def test_what_fails_within_a_span_marks_it_by_its_type(self, start: Start, collector: Collector) -> None:
        start(collector.environment)
        span = traces.begin("send", None, SpanKind.PRODUCER, {})
        with pytest.raises(OSError, match="canary"), traces.within(span):
            _break(get_current_span() is span)
        (told,) = exported(collector)
        assert (told.is_error, told.attributes) == (True, {"error.type": "OSError"})


class TestBadCollectors:
    def test_one_that_is_dead_holds_up_nobody(self, start: Start) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            start(_at(free.getsockname()[1]))
        before = dropped()
        _assert_nobody_waits()
        assert wait_until(lambda: dropped() - before == MORE_THAN_THERE_IS_ROOM, 10)

    def test_one_that_never_answers_holds_up_nobody(self, start: Start) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            start(_at(silent.getsockname()[1]))
            _assert_nobody_waits()

    @pytest.mark.parametrize("answer", [Answer(400, body=b"\x00garbage"), Answer(413), Answer(501)])
    def test_what_one_refuses_is_counted_and_said_once(
        self, start: Start, answer: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = dropped()
        with running_collector(answer) as collector:
            start(collector.environment)
            for number in range(1, 4):
                request()
                collector.receiver.wait(PATH, number)
            traces.stop()
        assert dropped() - before == 3
        assert [one.message for one in caplog.records] == ["traces_not_exported"]

    def test_garbage_that_says_200_is_taken_for_an_answer(self, start: Start) -> None:
        before = dropped()
        with running_collector(Answer(200, body=b"\xff" * 64)) as collector:
            start(collector.environment)
            request()
            assert len(exported(collector)) == 1
        assert dropped() == before

    def test_it_is_said_when_one_takes_them_again(self, start: Start, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        with running_collector(Answer(400), Answer(200)) as collector:
            start(collector.environment)
            for number in (1, 2):
                request()
                collector.receiver.wait(PATH, number)
            traces.stop()
        assert [one.message for one in caplog.records] == ["traces_not_exported", "traces_exported_again"]


def _break(is_at_hand: bool) -> None:  # noqa: FBT001 what the test has seen
    assert is_at_hand
    raise OSError("canary")


def _at(port: int) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}


def _assert_nobody_waits() -> None:
    before, began = dropped(), time.monotonic()
    for _ in range(MORE_THAN_THERE_IS_ROOM):
        request()
    assert time.monotonic() - began < 5
    assert 0 < dropped() - before <= 500
    began = time.monotonic()
    traces.stop()
    assert time.monotonic() - began < traces.STOP_SECONDS + 1
