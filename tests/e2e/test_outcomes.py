"""What the answers of endpoints lead to, seen from outside."""

import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.e2e.customer import Customer, eventually
from tests.receiver import Answer, Receiver

SUCCESS, PENDING, FAIL, CANCELED = 0, 1, 2, 4
JITTER = 0.8  # a delay is at most a fifth shorter than the schedule says


def operational(customer: Customer, receiver: Receiver, *event_types: str) -> str:
    """The path at which the organisation hears of these events."""
    path = receiver.path()
    asked = {"url": f"{receiver.base}{path}", "eventTypes": list(event_types)}
    customer.api.post("/operational-webhook/endpoint", asked)
    return path


@pytest.mark.acceptance("W05")
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_failed_attempt_and_never_followed(customer: Customer, receiver: Receiver, status: int) -> None:
    target = receiver.path()
    path = receiver.path(Answer(status, {"location": f"{receiver.base}{target}"}))
    endpoint = customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0])
    message = customer.send()
    (attempt,) = customer.wait_for_attempts(message, 1)
    assert (attempt["status"], attempt["responseStatusCode"]) == (FAIL, status)
    assert customer.destination(message, endpoint)["status"] == FAIL
    assert len(receiver.at(path)) == 1
    assert receiver.at(target) == []


@pytest.mark.acceptance("W06")
def test_gone_disables_the_endpoint_cancels_what_is_owed_and_tells(customer: Customer, receiver: Receiver) -> None:
    told = operational(customer, receiver, "endpoint.disabled")
    path = receiver.path(Answer(500), Answer(410))
    endpoint = customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 600], uid="gone")
    waiting = customer.send()
    customer.wait_for_attempts(waiting, 1)
    last = customer.send()
    eventually(lambda: customer.state(endpoint)["disabled"])
    assert customer.attempts(last)[0]["responseStatusCode"] == 410
    assert [customer.destination(one, endpoint)["status"] for one in (waiting, last)] == [CANCELED, FAIL]
    (event,) = receiver.wait(told)
    data = json.loads(event.body)["data"]
    assert (data["endpointId"], data["endpointUid"], data["appUid"]) == (endpoint, "gone", customer.app)
    later = customer.send()
    assert customer.attempts(later) == []
    assert len(receiver.at(path)) == 2


def in_seconds(seconds: float) -> str:
    """The header's number."""
    return str(int(seconds))


def as_date(seconds: float) -> str:
    """The header's other form."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.acceptance("W06")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", [in_seconds, as_date])
def test_retry_after_postpones_the_next_try(
    customer: Customer,
    receiver: Receiver,
    status: int,
    form: Any,  # noqa: ANN401  # one of the two above
) -> None:
    path = receiver.path(Answer(status, {"retry-after": form(3)}), Answer(200))
    customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 1])
    message = customer.send()
    first, second = receiver.wait(path, 2)
    assert 1.9 < second.at - first.at < 8  # a date has whole seconds
    assert [one["status"] for one in customer.wait_for_attempts(message, 2)] == [FAIL, SUCCESS]


@pytest.mark.acceptance("W06")
@pytest.mark.parametrize("asked", ["99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_what_retry_after_may_ask_is_capped(customer: Customer, receiver: Receiver, asked: str) -> None:
    path = receiver.path(Answer(503, {"retry-after": asked}))
    endpoint = customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 1])
    message = customer.send()
    customer.wait_for_attempts(message, 1)
    found = customer.destination(message, endpoint)
    assert found["status"] == PENDING
    wait = datetime.fromisoformat(found["nextAttempt"]) - datetime.now(UTC)
    assert timedelta(hours=23) < wait <= timedelta(hours=24)


@pytest.mark.acceptance("W06")
@pytest.mark.parametrize("status", [502, 504])
def test_a_gateway_error_slows_the_endpoint_down(customer: Customer, receiver: Receiver, status: int) -> None:
    path = receiver.path(Answer(status), Answer(200))
    other = receiver.path()
    customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 60])
    customer.endpoint(f"{receiver.base}{other}")
    customer.wait_for_attempts(customer.send(), 2)
    customer.send()
    receiver.wait(other, 2)
    first, second = receiver.wait(path, 2)
    assert second.at - first.at > 5 * JITTER - 0.5
    assert receiver.at(other)[1].at - first.at < 2.5


@pytest.mark.acceptance("W11")
def test_a_response_is_kept_short_as_it_came_and_for_its_owner_only(
    customer: Customer, stranger: Customer, receiver: Receiver
) -> None:
    path = receiver.path(
        Answer(200, {"content-encoding": "gzip"}, gzip.compress(b"x" * 1_000_000)),
        Answer(200, {"content-type": "text/html"}, b"\x00\xff<script>" + b"y" * 100_000),
    )
    customer.endpoint(f"{receiver.base}{path}")
    bomb = customer.wait_for_attempts(customer.send(), 1)[0]
    assert len(bomb["response"]) < 2000
    assert "xxxx" not in bomb["response"]
    message = customer.send()
    long = customer.wait_for_attempts(message, 1)[0]
    assert long["response"].startswith("\x00\ufffd<script>y")
    assert len(long["response"].encode()) <= 16 * 1024 + 8
    for app in (customer.app, stranger.app):
        reply = stranger.api.call("GET", f"/app/{app}/msg/{message}/attempt/{long['id']}")
        assert reply.status == 404


def test_a_failing_and_recovering_delivery_is_told(customer: Customer, receiver: Receiver) -> None:
    kinds = ("message.attempt.failing", "message.attempt.recovered", "message.attempt.exhausted")
    told = operational(customer, receiver, *kinds)
    recovering = receiver.path(*[Answer(500)] * 4, Answer(200))
    exhausted = receiver.path(Answer(500))
    customer.endpoint(f"{receiver.base}{recovering}", retrySchedule=[0] * 5)
    customer.endpoint(f"{receiver.base}{exhausted}", retrySchedule=[0, 0])
    customer.send(eventId="told")
    events = [json.loads(one.body) for one in receiver.wait(told, 3)]
    assert sorted(one["type"] for one in events) == sorted(kinds)
    assert {one["data"]["msgEventId"] for one in events} == {"told"}


def test_a_message_without_an_endpoint_is_stored(customer: Customer) -> None:
    message = customer.send({"text": "for nobody"})
    assert customer.api.get(f"/app/{customer.app}/msg/{message}")["payload"] == {"text": "for nobody"}
    assert customer.attempts(message) == []


def test_a_delivery_waits_for_its_time(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    asked_at, due = time.monotonic(), datetime.now(UTC) + timedelta(seconds=4)
    message = customer.send(deliverAt=due.isoformat())
    (seen,) = receiver.wait(path)
    assert seen.id == message
    assert 3.9 < seen.at - asked_at < 8
