"""Workers that are killed or frozen: what they had claimed comes later, and comes twice at most."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from app.cli.dev.process import wait_until
from tests.faults.failpoints import Failpoint
from tests.faults.lab import (
    LEASE_SECONDS,
    WORKER_PROCESSES,
    Lab,
    Lease,
    Scene,
    deliverers,
    start_worker_again,
    worker_children,
)
from tests.faults.processes import frozen, is_running, kill, tree, wait_for
from tests.faults.receiver import Behaviour
from tests.system import System

pytestmark = pytest.mark.timeout(900)
SLACK_SECONDS = 2.0


def test_f01_killed_workers(lab: Lab, installation: System) -> None:
    scene = Scene(lab, installation, "F01 workers killed", tenants=8)
    scene.behave(Behaviour(after=0.2))
    dice = random.Random(1)
    seconds, rate = (14.0, 60.0) if lab.bounded else (300.0, 100.0)
    with scene.load(rate=rate) as load:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(dice.uniform(2, 5))
            held = _kill_some(installation, scene, dice)
        book = load.stop()
    # What the last victim held comes when its lease is over; how fast the rest goes is the machine's.
    recovery = scene.settle_these(held, 60)
    scene.settle(60)
    scene.conclude(book, recovery=recovery, note=f"{rate:g}/s for {seconds:g} s")
    assert recovery <= LEASE_SECONDS + SLACK_SECONDS


def _kill_some(system: System, scene: Scene, dice: random.Random) -> frozenset[str]:
    """The messages that were being sent then, by the victims and by others."""
    kill_one: list[Callable[[System, Scene], None]] = [_kill_child, _kill_main, _kill_all]
    dice.choices(kill_one, weights=[2, 1, 1])[0](system, scene)
    held = scene.sending()
    wait_for(lambda: len(deliverers(system)) >= WORKER_PROCESSES, 30, "new workers")
    return held


def _kill_child(system: System, scene: Scene) -> None:
    kill(random.choice(worker_children(system)))
    scene.note_in_flight()


def _kill_main(system: System, scene: Scene) -> None:
    orphans = worker_children(system)
    kill(system.children["worker"].pid)
    scene.note_in_flight()
    wait_for(lambda: not any(map(is_running, orphans)), 10, "the end of a killed worker's children")
    start_worker_again(system)


def _kill_all(system: System, scene: Scene) -> None:
    kill(system.children["worker"].pid, *worker_children(system))
    scene.note_in_flight()
    start_worker_again(system)


def test_f03_killed_between_the_answer_and_the_commit(lab: Lab, installation: System) -> None:
    """An endpoint said yes and nobody wrote it down: it is sent exactly once more, under the same id."""
    scene = Scene(lab, installation, "F03 worker killed before its commit")
    unrecorded: set[str] = set()
    recoveries = []
    with (
        Failpoint(lab.postgres, scene.database, "attempts") as point,
        scene.load(rate=100 if lab.bounded else 150) as load,
    ):
        for number in range(1 if lab.bounded else 20):
            load.wait_accepted((number + 1) * (200 if lab.bounded else 1000), 60)
            with point.closed():
                wait_for(lambda: point.waiting() > 0 and scene.sending() <= scene.received(), 10, "unrecorded answers")
                kill(*tree(installation.children["worker"].pid))
                lost = scene.sending() & scene.received()
            unrecorded |= lost
            start_worker_again(installation)
            wait_for(lambda: len(deliverers(installation)) >= WORKER_PROCESSES, 30, "new workers")
            recoveries.append(scene.settle_these(lost, 30))
        book = load.stop()
    scene.settle(30)
    scene.bound = len(unrecorded)
    scene.conclude(book, recovery=max(recoveries), note="each once more")
    times = Counter(one.message_id for one in scene.receipts())
    assert unrecorded
    assert times == {name: 1 + (name in unrecorded) for name in book.accepted}
    assert max(recoveries) <= LEASE_SECONDS + SLACK_SECONDS


def test_f02_frozen_workers(lab: Lab, installation: System) -> None:
    scene = Scene(lab, installation, "F02 worker frozen beyond its lease", tenants=8)
    scene.behave(Behaviour(after=0.2))
    with scene.load(rate=100 if lab.bounded else 150) as load:
        for _ in range(1 if lab.bounded else 20):
            time.sleep(2)
            _freeze_a_holder(installation, scene)
            thawed = time.monotonic()
        time.sleep(1)
        book = load.stop()
    took = scene.settle(30)
    zombies = installation.log("worker").count("results_after_lease")
    scene.conclude(book, recovery=scene.recovery(book, thawed), note=f"settled in {took:.1f} s")
    assert zombies, "what the frozen worker held was written down twice"


def _freeze_a_holder(system: System, scene: Scene) -> None:
    """Freezes a process that has something in flight, until others have taken that over."""
    until = time.monotonic() + 60
    for pid in itertools.cycle(deliverers(system)):
        with frozen([pid]):
            if _is_robbed(scene):
                return
        assert time.monotonic() < until, "no worker had anything in flight"


def _is_robbed(scene: Scene) -> bool:
    """Whether a process that has just been frozen held anything, which others took over: so much may come twice."""
    held = _held(scene)
    scene.bound += len(held)
    if held:
        wait_for(lambda: scene.leases().isdisjoint(held), 10, "another worker's claims")
    return bool(held)


def _held(scene: Scene) -> frozenset[Lease]:
    """What a process holds that has just been frozen: what the others hold is written down before its lease ends.

    Nothing where it is frozen amid a transaction: what that claims would come to light only when it goes on.
    """
    begun = scene.transactions()
    if not wait_until(lambda: begun.isdisjoint(scene.transactions()), 0.5):
        return frozenset()
    held = scene.leases()
    wait_until(lambda: not scene.unrecorded(held), LEASE_SECONDS)
    return scene.unrecorded(held)
