"""One trace from the POST of a message to its receiver, exported by the processes that had a part in it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from app.cli.dev.roles import DatabaseUrls
from tests.e2e.customer import Customer, eventually
from tests.exported import exemplars
from tests.otlp import Collector, Span, children, running_collector
from tests.receiver import Answer, Receiver
from tests.servers import Servers, process_environment
from tests.system import System, running_system

CALLER = "00-11111111111111111111111111111111-2222222222222222-01"
MESSAGE = "POST /api/v1/app/{app_id}/msg"
HISTOGRAMS = {
    "api": {"postrider_http_request_seconds", "postrider_accept_seconds"},
    "worker": {"postrider_attempt_seconds", "postrider_delivery_seconds"},
}
WHOLE = {"BATCH INSERT messages", "send wake", "run/delivery.wake", "POST", "BATCH INSERT attempts"}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as started:
        yield started


@pytest.fixture(scope="module")
def system(servers: Servers, database: DatabaseUrls, collector: Collector) -> Iterator[System]:
    """An installation that records every trace and tells endpoints of theirs."""
    environment = process_environment(database, servers.own_redis_url()) | collector.environment
    environment |= {"POSTRIDER_TELEMETRY__SAMPLE": "1", "POSTRIDER_TELEMETRY__SEND_TRACEPARENT": "true"}
    with running_system(environment, api=1, workers=1) as started:
        yield started


def names(spans: list[Span]) -> set[str]:
    return {span.name for span in spans}


def only(spans: list[Span], name: str) -> Span:
    (found,) = [span for span in spans if span.name == name]
    return found


def test_one_trace_follows_a_message_from_its_post_to_its_receiver(
    customer: Customer, collector: Collector, receiver: Receiver
) -> None:
    path = f"{receiver.path()}?token=s3cret"
    endpoint = customer.endpoint(f"{receiver.base}{path}")
    message = customer.send()
    (arrived,) = receiver.wait(path, 1)
    _, trace_id, span_id, flags = arrived.headers["traceparent"].split("-")
    spans = collector.trace(trace_id, lambda some: names(some) >= WHOLE)

    post = only(spans, MESSAGE)
    assert (post.kind, post.parent_id, post.service) == ("SERVER", "", "postrider-api")
    assert post.attributes["http.response.status_code"] == 202
    assert children(spans, post)[-2:] == ["BATCH INSERT messages", "claim due_deliveries"]
    commit = only(spans, "BATCH INSERT messages")
    assert children(spans, commit) == ["send wake"]
    assert "run/delivery.wake" in children(spans, only(spans, "send wake"))
    claim = only(spans, "claim due_deliveries")
    assert (claim.kind, claim.service) == ("CONSUMER", "postrider-worker")
    attempt = only(spans, "POST")
    assert (attempt.kind, attempt.parent_id) == ("CLIENT", claim.id)
    assert (attempt.id, flags) == (span_id, "01")
    assert children(spans, attempt) == ["BATCH INSERT attempts"]
    assert attempt.attributes["http.response.status_code"] == 204
    assert attempt.attributes["postrider.message_id"] == message
    assert attempt.attributes["postrider.endpoint_id"] == endpoint
    assert not any(span.is_error for span in spans)


def test_whoever_shares_a_wake_up_is_found_from_the_task_that_it_caused(
    customer: Customer, collector: Collector
) -> None:
    with ThreadPoolExecutor(8) as many:
        list(many.map(lambda _: customer.send(), range(24)))

    def is_whole(spans: list[Span]) -> bool:
        """Whether a task that several asked for is there, and where each of them asked."""
        asked = {one.trace_id for one in spans if one.name == "send wake"}
        shared = [one for one in spans if one.name == "run/delivery.wake" and one.links]
        return bool(shared) and all({task.trace_id, *task.links} <= asked for task in shared)

    spans = collector.wait(is_whole)
    (shared, *_) = [one for one in spans if one.name == "run/delivery.wake" and one.links]
    assert len({shared.trace_id, *shared.links}) == 1 + len(shared.links)


def test_an_exemplar_leads_to_a_recorded_trace(
    system: System, customer: Customer, collector: Collector, receiver: Receiver
) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    customer.send()
    trace_id = receiver.wait(path, 1)[0].headers["traceparent"].split("-")[1]

    for part, histograms in HISTOGRAMS.items():
        eventually(partial(names_trace, system, part, histograms, trace_id))
        named = set().union(*exemplars(system, part).values())
        spans = collector.wait(partial(tells_of, named))
        assert {span.trace_id for span in spans} >= named


def names_trace(system: System, part: str, histograms: set[str], trace_id: str) -> bool:
    """Whether each of these histograms has a point that leads to the trace."""
    found = exemplars(system, part)
    return all(trace_id in found[one] for one in histograms)


def tells_of(traces: set[str], spans: list[Span]) -> bool:
    """Whether there is a span of each of these."""
    return traces <= {span.trace_id for span in spans}


def test_retries_are_traces_of_their_own_linked_to_the_first(
    customer: Customer, collector: Collector, receiver: Receiver
) -> None:
    path = receiver.path(Answer(500), Answer(204))
    customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 1])
    customer.send()
    first, second = (one.headers["traceparent"].split("-")[1] for one in receiver.wait(path, 2))

    assert first != second
    failed = only(collector.trace(first, lambda some: "POST" in names(some)), "POST")
    assert (failed.is_error, failed.attributes["error.type"]) == (True, "500")
    spans = collector.trace(second, lambda some: "POST" in names(some))
    claim = only(spans, "claim due_deliveries")
    assert (claim.parent_id, claim.links) == ("", (first,))
    assert children(spans, claim) == ["POST"]
    assert claim.attributes["postrider.attempt"] == 2


def test_a_callers_trace_goes_on(customer: Customer, collector: Collector, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    body = {"eventType": "e2e.test", "payload": {}}
    customer.api.call("POST", f"/app/{customer.app}/msg", body, headers={"traceparent": CALLER})

    assert receiver.wait(path, 1)[0].headers["traceparent"].split("-")[1] == "1" * 32
    spans = collector.trace("1" * 32, lambda some: names(some) >= WHOLE)
    assert only(spans, MESSAGE).parent_id == "2" * 16


def test_an_error_outside_of_the_sample_is_found_in_the_logs_by_its_trace(
    system: System, customer: Customer, collector: Collector, receiver: Receiver
) -> None:
    path = receiver.path(Answer(500))
    customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0])
    body = {"eventType": "e2e.test", "payload": {}}
    silent = "00-33333333333333333333333333333333-2222222222222222-00"
    customer.api.call("POST", f"/app/{customer.app}/msg", body, headers={"traceparent": silent})
    customer.api.call("GET", "/app/nowhere", headers={"traceparent": silent})

    (arrived,) = receiver.wait(path, 1)
    assert arrived.headers["traceparent"].split("-")[1::2] == ["3" * 32, "00"]
    failed = eventually(lambda: logged(system, "worker", "attempt_made"))
    assert [(one["success"], one["status"]) for one in failed] == [(False, 500)]
    served = eventually(lambda: len(found := logged(system, "api", "request_served")) == 2 and found)
    assert [one["status"] for one in served] == [202, 404]
    customer.send()
    spans = collector.wait(lambda some: any(span.name == MESSAGE for span in some))
    assert "3" * 32 not in {span.trace_id for span in spans}


def logged(system: System, part: str, event: str) -> list[dict[str, Any]]:
    """What a part has written of an event in the trace that is not recorded."""
    lines = map(json.loads, system.log(part).splitlines())
    return [one for one in lines if one["event"] == event and one.get("trace_id") == "3" * 32]


def test_other_routes_are_traced_with_their_statements(customer: Customer, collector: Collector) -> None:
    spans = collector.wait(lambda some: any(span.name == "POST /api/v1/app" for span in some))

    made = next(span for span in spans if span.name == "POST /api/v1/app")
    assert made.attributes["http.route"] == "/api/v1/app"
    assert made.attributes["postrider.request_id"]
    statements = [span for span in spans if span.parent_id == made.id and span.name.startswith("INSERT")]
    assert {span.attributes["db.system.name"] for span in statements} == {"postgresql"}
    assert any(span.name == "EVALSHA" and span.parent_id == made.id for span in spans)


def test_spans_tell_no_address_of_people_no_query_and_no_url_of_an_endpoint(
    customer: Customer, collector: Collector
) -> None:
    customer.api.call("GET", "/app?iterator=planted-canary", headers={"user-agent": "planted-canary"})
    spans = collector.wait(lambda some: any(span.name == "GET /api/v1/app" for span in some))

    told = repr([(span.attributes, span.events) for span in spans])
    assert "planted-canary" not in told
    assert "s3cret" not in told
    assert not any(
        name.startswith(("client.", "user_agent.", "url.query")) for span in spans for name in span.attributes
    )
