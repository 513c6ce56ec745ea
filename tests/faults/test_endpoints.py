"""Endpoints, certificates and names that fail in every way: attempts end in time with a reason, nobody else waits."""

import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from _pytest.mark import ParameterSet

from app.domain.outcome import Failure
from tests.egress import test_tls as tls
from tests.egress.peers import NXDOMAIN, SERVFAIL, Behaviour, closed_port, receiver, serve
from tests.egress.test_hostile import CASES, Case
from tests.faults import receiver as faults_receiver
from tests.faults.client import quantile
from tests.faults.hosts import running_hosts
from tests.faults.lab import TIMEOUT_SECONDS, Lab, Scene, worker_children
from tests.faults.processes import resident_mib, wait_for
from tests.system import System

pytestmark = pytest.mark.timeout(900)
SLACK_SECONDS = 1.5
# Below this, twice very little is noise on a machine that others use; who waits for a hostile endpoint waits longer.
FLOOR_SECONDS = 0.75 * TIMEOUT_SECONDS
MEMORY_MIB = 64
ZONE = "postrider-lab.com"


def test_f18_hostile_endpoints(lab: Lab, installation: System) -> None:
    """Refused, swallowed, cut off, dripped, flooded: a classified failure within the time limit, in little memory."""
    scene = Scene(lab, installation, "F18 hostile endpoints")
    hostile: dict[str, tuple[str, frozenset[str | None]]] = {}
    with running_hosts() as hosts, _black_hole() as hole:
        for case in _cases():
            peer = hosts.enter(serve(case.behaviour))
            hostile[repr(case.behaviour)] = peer.url, frozenset(case.failures)
        hostile["refused"] = f"http://127.0.0.1:{closed_port()}/", frozenset({Failure.REFUSED})
        hostile["black hole"] = f"http://127.0.0.1:{hole}/", frozenset({Failure.TIMEOUT})
        before = resident_mib(worker_children(installation))
        _suffer(lab, scene, hostile)
        assert resident_mib(worker_children(installation)) - before < MEMORY_MIB


def test_f19_every_kind_of_answer(lab: Lab, installation: System) -> None:
    """500 and a redirect are tried again by the schedule, 429 when it says, 410 never, slow ones if too slow."""
    scene = Scene(lab, installation, "F19 answers of every kind", tenants=1)
    (target,) = scene.targets
    answers = {
        "500": faults_receiver.Behaviour(status=500),
        "302": faults_receiver.Behaviour(status=302),
        "429": faults_receiver.Behaviour(status=429, retry_after=3, times=1),
        "410": faults_receiver.Behaviour(status=410),
        "204": faults_receiver.Behaviour(),
        "slow": faults_receiver.Behaviour(status=200, after=TIMEOUT_SECONDS / 2),
        "too-slow": faults_receiver.Behaviour(status=200, after=TIMEOUT_SECONDS * 2),
    }
    for name, behaviour in answers.items():
        scene.add_endpoint(target, name, retrySchedule=[0, 1])
        lab.receiver.tell(scene.path(target, name), behaviour)
    with scene.load(count=1) as load:
        book = load.join()
    recovery = scene.settle(30)
    came = {name: [one.at for one in scene.receipts() if one.path == scene.path(target, name)] for name in answers}
    tries = {name: len(times) for name, times in came.items()}
    scene.conclude(book, recovery=recovery, note=" ".join(f"{name}:{count}" for name, count in tries.items()))
    assert tries == {"500": 2, "302": 2, "429": 2, "410": 1, "204": 1, "slow": 1, "too-slow": 2}
    assert came["500"][1] - came["500"][0] >= 0.8
    assert came["429"][1] - came["429"][0] >= 3
    assert scene.is_disabled(target, "410")


def test_f20_broken_tls(lab: Lab, installation: System) -> None:
    """No request leaves over a connection that is not what it should be; the attempt says what was wrong."""
    scene = Scene(lab, installation, "F20 broken TLS")
    wrong_name = tls._context(tls.CA.issue_cert("other.example"))
    contexts = {
        "expired": tls._expired(),
        "wrong name": wrong_name,
        "TLS 1.1": tls._old_protocol(),
        "cipher": tls._odd_cipher(),
    }
    broken: dict[str, Behaviour] = {"stall": tls._stall, "close": tls._close, "plain": tls._plain}
    with running_hosts() as hosts:
        peers = {name: hosts.enter(receiver(tls=context)) for name, context in contexts.items()}
        peers |= {name: hosts.enter(serve(behaviour)) for name, behaviour in broken.items()}
        good = hosts.enter(receiver(tls=tls._good()))
        expected = {
            name: (f"https://127.0.0.1:{peer.port}/", frozenset({Failure.TIMEOUT if name == "stall" else Failure.TLS}))
            for name, peer in peers.items()
        }
        _suffer(lab, scene, {**expected, "good": (f"https://127.0.0.1:{good.port}/", frozenset({None}))}, tls.TRUSTED)
        assert not any(peer.requests for peer in peers.values())
        assert good.requests


def test_f21_broken_names(lab: Lab, installation: System) -> None:
    """Names that do not resolve, or to what must not be called, cost no one else anything."""
    scene = Scene(lab, installation, "F21 broken names")
    answers: dict[str, Sequence[str] | int | None] = {
        "nxdomain": NXDOMAIN,
        "servfail": SERVFAIL,
        "silent": None,
        "empty": [],
        "thousand": [f"10.{number // 250}.{number % 250}.1" for number in range(1000)],
        "loop": [f"->loop.{ZONE}"],
        "chain": [f"->inward.{ZONE}"],
        "inward": ["127.0.0.1", "10.9.9.9"],
    }
    reasons = dict.fromkeys(answers, frozenset[str | None]({Failure.DNS, Failure.TIMEOUT}))
    reasons |= dict.fromkeys(("thousand", "chain", "inward"), frozenset[str | None]({Failure.BLOCKED_ADDRESS}))
    lab.names.answers = lambda name: answers.get(name.partition(".")[0], NXDOMAIN)
    _suffer(lab, scene, {name: (f"http://{name}.{ZONE}:8080/", reason) for name, reason in reasons.items()})


def _suffer(
    lab: Lab, scene: Scene, cases: Mapping[str, tuple[str, frozenset[str | None]]], ca: bytes | None = None
) -> None:
    """Sends to endpoints (URL, and the failures that are right) while another tenant is delivered to as ever."""
    victim, healthy = scene.targets
    count, rate, messages = (100, 50, 3) if lab.bounded else (10_000, 300, 4)
    fields: dict[str, object] = {"retrySchedule": [0]} | ({"caPem": ca.decode()} if ca else {})
    endpoints = {scene.add_endpoint(victim, name, url, **fields): name for name, (url, _) in cases.items()}
    with scene.load(targets=[healthy], rate=rate) as load:
        load.wait_accepted(count, 120)
        began = time.monotonic()
        with scene.load(targets=[victim], count=messages) as attack:
            attacked = attack.join()
        took = wait_for(lambda: len(scene.fates(endpoints)) == messages * len(endpoints), 60, "an end to all attempts")
        ended = time.monotonic()
        load.wait_accepted(2 * count, 120)
        book = load.stop()
    scene.settle(30)
    before, during = (quantile(scene.latencies(book, *span), 0.99) for span in ((0.0, began), (began, ended)))
    note = f"{len(cases)} endpoints; p99 of others: {before * 1000:.0f} -> {during * 1000:.0f} ms"
    scene.conclude(attacked | book, recovery=took, note=note)
    for fate in scene.fates(endpoints):
        name = endpoints[fate.endpoint]
        assert fate.failure in cases[name][1], (name, fate)
        assert fate.seconds <= TIMEOUT_SECONDS + SLACK_SECONDS, (name, fate)
    assert during <= max(1.5 * before, FLOOR_SECONDS)


def _cases() -> Iterator[Case]:
    """Those that the client is tested with."""
    for parameters in CASES:
        assert isinstance(parameters, ParameterSet)
        (case,) = parameters.values
        assert isinstance(case, Case)
        yield case


@contextmanager
def _black_hole() -> Iterator[int]:
    """A port of which the server takes no more connections: what is sent there is dropped without a word."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
