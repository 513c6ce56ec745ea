"""Pods go, one after the other or all of a sudden, and callers and receivers get what they were promised."""

import threading
import time
from typing import Self

import pytest

from tests.cluster import pods
from tests.cluster.identity import NODE_NAME
from tests.cluster.releases import API, Installation
from tests.cluster.traffic import Grounds, Scene, assert_unharmed
from tests.deploy.manifests import Manifest
from tests.faults.processes import wait_for
from tests.faults.receiver import Behaviour

RATE = 10.0
SLOW = Behaviour(after=0.3)
"""Receivers that take so long have something in flight at any moment."""
BEFORE_SECONDS, BETWEEN_SECONDS = 5.0, 3.0
POOLS = ("worker-first", "worker-retry", "worker-bulk", "worker-maintenance")
REPLACED_SECONDS = 240.0


class Endings:
    """Lets, while the block runs, as many messages come twice as are in flight whenever a pod begins to end.

    `least` is the smallest number of pods of the API that were ready at once.
    """

    def __init__(self, scene: Scene, installation: Installation) -> None:
        self._scene, self._installation = scene, installation
        self._ends = threading.Event()
        self._seen: set[str] = set()
        self._thread = threading.Thread(target=self._look, name="endings", daemon=True)
        self.least = 1000

    def __enter__(self) -> Self:
        self._look_once()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(30)

    def _look(self) -> None:
        while not self._ends.wait(0.2):
            self._look_once()

    def _look_once(self) -> None:
        now = self._installation.pods()
        names = {pods.name_of(one) for one in now}
        if self._seen - names:
            self._scene.note_in_flight()
        self._seen = names
        ready = [one for one in now if pods.name_of(one).startswith(API) and pods.is_ready(one)]
        self.least = min(self.least, len(ready))


def test_a_rolling_restart_fails_no_request(grounds: Grounds, installation: Installation, bounded: bool) -> None:  # noqa: FBT001 a fixture
    names = [API, "postrider-worker-first"] if bounded else [API, *(f"postrider-{pool}" for pool in POOLS)]
    before = {pods.name_of(one) for one in _serving(installation, names)}
    scene = Scene(grounds, "3 rolling restart", behaviour=SLOW)
    with scene.load(rate=RATE) as load, Endings(scene, installation):
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        for name in names:
            installation.restart(name)
        wait_for(lambda: _are_replaced(installation, names, before), REPLACED_SECONDS, "the new pods", every=0.5)
        # They count a while after they are ready.
        installation.wait_healthy(REPLACED_SECONDS)
        took = time.monotonic() - began
        time.sleep(BEFORE_SECONDS)
        book = load.stop()
    scene.settle(60)
    scene.conclude(book, took, f"{len(before)} pods replaced")
    assert_unharmed(book)


@pytest.mark.unbounded
def test_who_empties_the_node_waits_for_the_budgets(grounds: Grounds, installation: Installation) -> None:
    leaving = _serving(installation, [API, *(f"postrider-{pool}" for pool in POOLS)])
    scene = Scene(grounds, "3 the node is emptied", behaviour=SLOW)
    refused = 0
    with scene.load(rate=RATE) as load, Endings(scene, installation) as endings:
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        _cordon(installation, is_closed=True)
        try:
            left = [one for one in leaving if not pods.evict(installation.kube, one)]
            refused = len(left)
            # Nothing new can start, so whatever is left has to stay.
            time.sleep(BEFORE_SECONDS)
            assert all(not pods.evict(installation.kube, one) for one in left if _is_of_the_api(one))
            kept = {pods.name_of(one) for one in installation.pods("api")}
        finally:
            _cordon(installation, is_closed=False)
        until = time.monotonic() + REPLACED_SECONDS
        while left := [one for one in left if not pods.evict(installation.kube, one)]:
            refused += len(left)
            assert time.monotonic() < until, [pods.name_of(one) for one in left]
            time.sleep(1)
        installation.wait_healthy(REPLACED_SECONDS)
        took = time.monotonic() - began
        book = load.stop()
    scene.settle(60)
    scene.conclude(book, took, f"{len(leaving)} pods left, {refused} times refused")
    assert kept, "the last pod of the API was let go"
    assert endings.least >= 1
    assert_unharmed(book)


def test_pods_that_are_killed_lose_nothing(grounds: Grounds, installation: Installation, bounded: bool) -> None:  # noqa: FBT001 a fixture
    # Who calls the API at that moment may be failed, so it comes last.
    components = (POOLS[0], "api") if bounded else (*POOLS, "beat", "api")
    scene = Scene(grounds, "3 SIGKILL of each kind", behaviour=SLOW)
    took: dict[str, float] = {}
    with scene.load(rate=RATE) as load:
        for component in components:
            time.sleep(BETWEEN_SECONDS)
            began = time.monotonic()
            _kill_one(scene, installation, component)
            took[component] = time.monotonic() - began
        time.sleep(BEFORE_SECONDS)
        book = load.stop()
    scene.settle(120)
    back = ", ".join(f"{component} {seconds:.0f} s" for component, seconds in took.items())
    scene.conclude(book, sum(took.values()), f"back after: {back}")
    assert not book.harmed(until=began)
    assert not book.harmed(since=began + took["api"])


def _kill_one(scene: Scene, installation: Installation, component: str) -> None:
    """Kills every process of one pod of a component, and returns when that is ready again."""
    # One of an older release may be about to go.
    victim = max(installation.pods(component), key=lambda one: str(one["metadata"]["creationTimestamp"]))
    restarts = _restarts(victim)
    killed = pods.kill(victim)
    scene.note_in_flight()
    assert killed, f"nothing ran in {pods.name_of(victim)}"
    wait_for(lambda: _is_back(installation, victim, restarts), 120, f"{component} again", every=0.5)


def _serving(installation: Installation, names: list[str]) -> list[Manifest]:
    return [one for one in installation.pods() if pods.name_of(one).startswith(tuple(f"{name}-" for name in names))]


def _are_replaced(installation: Installation, names: list[str], before: set[str]) -> bool:
    now = _serving(installation, names)
    wanted = sum(one["spec"]["replicas"] for one in installation.rollouts() if one["metadata"]["name"] in names)
    return all(pods.is_ready(one) and pods.name_of(one) not in before for one in now) and len(now) >= wanted


def _is_of_the_api(pod: Manifest) -> bool:
    return pods.name_of(pod).startswith(API)


def _cordon(installation: Installation, *, is_closed: bool) -> None:
    installation.kube.patch("v1", "Node", NODE_NAME, {"spec": {"unschedulable": is_closed}}, "")


def _restarts(pod: Manifest) -> int:
    return sum(one["restartCount"] for one in pod["status"]["containerStatuses"])


def _is_back(installation: Installation, victim: Manifest, restarts: int) -> bool:
    found = next((one for one in installation.pods() if pods.name_of(one) == pods.name_of(victim)), None)
    return found is not None and pods.is_ready(found) and _restarts(found) > restarts
