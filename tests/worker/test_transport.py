"""Which way a delivery leaves: past the proxy go the probe's events to its receiver, and nothing else."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID

import pytest

from app.domain.addresses import parse_allow_list
from app.domain.probe import PROBE
from app.kit.clock import new_id
from app.kit.egress import Options, Policy
from app.models import Lane
from tests.receiver import Answer, Receiver
from worker.delivery.job import Destination, DueKey, Job, Sent
from worker.delivery.lines import AttemptLines
from worker.delivery.transport import Policies, Transport

ELSEWHERE = "http://8.8.8.8:8080/hooks/x"


@pytest.fixture
def proxy() -> Iterator[Receiver]:
    with Receiver() as started:
        started.tell(ELSEWHERE, Answer(202))
        yield started


@pytest.fixture
def arrived() -> threading.Event:
    return threading.Event()


@pytest.fixture
def transport(receiver: Receiver, proxy: Receiver, arrived: threading.Event) -> Iterator[Transport]:
    """One that may call public addresses through the proxy, and that knows the probe's receiver."""
    (probe,) = parse_allow_list([receiver.base.removeprefix("http://")])
    started = Transport(
        Policies(Policy(), probe),
        Options(proxy=proxy.base),
        instance="test",
        notify=arrived.set,
        lines=AttemptLines(0),
    )
    started.start()
    yield started
    started.stop()


def job(url: str, organisation_id: UUID) -> Job:
    return Job(
        key=DueKey(new_id(), new_id(), new_id(), 0),
        application_id=new_id(),
        lane=Lane.first,
        attempt=1,
        failures=0,
        event_type="probe.sent",
        destination=Destination(1, url, (), (), "webhook", None, None, organisation_id=organisation_id),
        content_type="application/json",
        body=b"{}",
        traceparent=None,
        request_id=None,
        is_unwell=False,
        was_held=False,
        is_operational=False,
        late=0.0,
        claimed_at=datetime.now(UTC),
        taken=monotonic(),
        began=monotonic(),
    )


def sent(transport: Transport, arrived: threading.Event, url: str, organisation_id: UUID) -> Sent:
    transport.send([job(url, organisation_id)])
    assert arrived.wait(15)
    return transport.results.popleft()


def test_the_probe_reaches_its_receiver_past_the_proxy(
    transport: Transport, arrived: threading.Event, receiver: Receiver, proxy: Receiver
) -> None:
    path = receiver.path()
    assert sent(transport, arrived, receiver.base + path, PROBE).status == 204
    assert len(receiver.at(path)) == 1
    assert proxy.connections == []


@pytest.mark.parametrize("organisation_id", [PROBE, new_id()], ids=["probe", "customer"])
def test_everything_else_goes_through_the_proxy(
    transport: Transport, arrived: threading.Event, proxy: Receiver, organisation_id: UUID
) -> None:
    assert sent(transport, arrived, ELSEWHERE, organisation_id).status == 202
    assert len(proxy.at(ELSEWHERE)) == 1


def test_a_customer_reaches_the_probes_receiver_neither_way(
    transport: Transport, arrived: threading.Event, receiver: Receiver, proxy: Receiver
) -> None:
    path = receiver.path()
    assert sent(transport, arrived, receiver.base + path, new_id()).status is None
    assert receiver.at(path) == []
    assert proxy.connections == []
