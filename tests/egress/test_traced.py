"""What a trace tells of requests that go out: where to, how it went, and nothing of the URL that may be a secret."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from app.domain.addresses import parse_allow_list
from app.domain.outcome import Failure
from app.kit.egress import Options, Outgoing, Policy
from app.kit.egress.traced import TracedEgress, described
from app.kit.telemetry import about, traces
from app.kit.telemetry.about import About
from app.kit.telemetry.trace_sampling import given_trace_id
from tests.egress.peers import receiver
from tests.otlp import Collector, Span, running_collector

FAILS = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """What this process exports all of its traces to."""
    given_trace_id.set(None)
    with running_collector() as started, about.during(About()):
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        traces.start(1.0, "api", environment="test", revision="r1")
        yield started
        traces.stop()


@pytest.fixture
async def egress() -> AsyncIterator[TracedEgress]:
    ports = range(1, 65536)
    async with TracedEgress(Policy(allow=parse_allow_list(["127.0.0.0/8"]), ports=ports), Options()) as made:
        yield made


async def asked(egress: TracedEgress, collector: Collector, *urls: str) -> list[Span]:
    """The spans of GETs that one request has made."""
    with traces.Request(None, "/authorize", "https"):
        for url in urls:
            await egress.send(Outgoing(url, b"", {}, "own", method="GET"))
    traces.stop()
    spans = collector.spans()
    (request,) = [span for span in spans if span.kind == "SERVER"]
    return [span for span in spans if span.parent_id == request.id]


async def test_a_request_is_told_by_host_and_port_within_the_request_that_made_it(
    egress: TracedEgress, collector: Collector
) -> None:
    async with receiver() as peer:
        (span,) = await asked(egress, collector, f"{peer.url}?code=canary")
    parts = urlsplit(peer.url)
    assert (span.name, span.kind, span.is_error) == ("GET", "CLIENT", False)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": parts.hostname,
        "server.port": parts.port,
        "url.full": f"http://{parts.hostname}:{parts.port}/REDACTED",
    }


async def test_a_failure_is_told_by_its_kind(egress: TracedEgress, collector: Collector) -> None:
    async with receiver(FAILS) as peer:
        answered, blocked, unreadable = await asked(egress, collector, peer.url, "http://10.0.0.1/", "http://[/")
    assert (answered.is_error, answered.attributes["error.type"]) == (True, "500")
    assert blocked.attributes["error.type"] == Failure.BLOCKED_ADDRESS
    assert unreadable.is_error
    assert unreadable.attributes.keys() == {"http.request.method", "error.type"}


async def test_outside_of_a_request_nothing_is_recorded(egress: TracedEgress, collector: Collector) -> None:
    async with receiver() as peer:
        assert (await egress.send(Outgoing(peer.url, b"", {}, "own", method="GET"))).status == 200
    traces.stop()
    assert collector.spans() == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://user:secret@hooks.example.com/services/T0/B0/secret", "https://hooks.example.com:443/REDACTED"),
        ("http://example.com:8080", "http://example.com:8080/REDACTED"),
    ],
)
def test_no_credential_in_a_url_is_told(url: str, told: str) -> None:
    assert described("POST", url)["url.full"] == told
    assert "secret" not in repr(described("POST", url))
