"""Ten times the load brings pods, by what they really use and by what is due, and less takes them away again."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest

from tests.cluster.install import chart
from tests.cluster.place import Place
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import API, NAMESPACE, ROLLOUTS, Installation
from tests.cluster.traffic import Grounds, Scene, assert_unharmed
from tests.deploy.manifests import Manifest
from tests.faults.processes import wait_for
from tests.faults.receiver import Behaviour

pytestmark = pytest.mark.unbounded

FIRST = "postrider-worker-first"
CALM, TENFOLD = 15.0, 150.0
CALM_SECONDS = 10.0
SLOW, ENDPOINTS = Behaviour(after=8.0), 200
"""One worker holds 512 attempts at most, which is 64 a second of these; all the endpoints together take 200."""
GROWN_SECONDS = 240.0
SHRUNK_SECONDS = 240.0
SETTLE_SECONDS = 420.0
# Staging takes pods away after five minutes, one tenth a minute; that is not waited for here.
ALL_AT_ONCE = {"type": "Percent", "value": 100, "periodSeconds": 15}
SOON = {"scaleDown": {"stabilizationWindowSeconds": 5, "policies": [ALL_AT_ONCE]}}
AUTOSCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


@pytest.fixture
def autoscaled(place: Place, installation: Installation, released: Released) -> Iterator[Installation]:
    """The installation, whose autoscalers take pods away soon."""
    for name in ("metrics-server", "keda-operator", "keda-adapter"):
        assert (place.folder / "programs" / f"{name}.json").exists(), f"{name} is not up: make cluster-up, not --small"
    soon = {part: {"autoscaling": {"behavior": SOON}} for part in ("api", "workerDefaults")}
    quick, usual = chart(released.image(), soon), chart(released.image())
    _apply_autoscalers(installation, quick)
    yield installation
    _apply_autoscalers(installation, usual)


def test_pods_come_with_the_load_and_go_with_it_without_redis_as_well(
    grounds: Grounds, autoscaled: Installation
) -> None:
    scene = Scene(grounds, "6 ten times the load", tenants=ENDPOINTS, behaviour=SLOW)
    least = wait_for_sizes(autoscaled, lambda now: now[API] == 2 and now[FIRST] == 1, SHRUNK_SECONDS)
    with scene.load(rate=CALM) as load:
        time.sleep(CALM_SECONDS)
        calm = load.stop()
    with scene.load(rate=TENFOLD, connections=64) as load:
        began = time.monotonic()
        _set_redis(autoscaled, 0)
        try:
            grown = wait_for_sizes(autoscaled, lambda now: _are_more(now, least), GROWN_SECONDS)
            took = time.monotonic() - began
            assert _pods_of_redis(autoscaled) == 0
        finally:
            _set_redis(autoscaled, 1)
        book = load.stop()
    owed = scene.owed()
    caught_up = scene.settle(SETTLE_SECONDS)
    began = time.monotonic()
    wait_for_sizes(autoscaled, lambda now: now == least, SHRUNK_SECONDS)
    gone = time.monotonic() - began
    scene.bound += int(TENFOLD)
    note = f"{_told(least)} to {_told(grown)}; {owed} owed were sent in {caught_up:.0f} s; back after {gone:.0f} s"
    scene.conclude(calm | book, took, note)
    assert_unharmed(calm | book)


def wait_for_sizes(
    installation: Installation, are_wanted: Callable[[Mapping[str, int]], bool], seconds: float
) -> Mapping[str, int]:
    """How many pods the API and the workers of first tries have, once that is what is wanted."""
    found: dict[str, int] = {}

    def is_so() -> bool:
        found.update(_sizes(installation))
        return are_wanted(found)

    wait_for(is_so, seconds, "the pods that are wanted", every=1.0)
    return found


def _are_more(now: Mapping[str, int], least: Mapping[str, int]) -> bool:
    return all(now[part] > count for part, count in least.items())


def _sizes(installation: Installation) -> dict[str, int]:
    return {
        name: int(installation.kube.get(ROLLOUTS, "Rollout", name, NAMESPACE)["status"].get("readyReplicas", 0))
        for name in (API, FIRST)
    }


def _told(sizes: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {name.removeprefix('postrider-')}" for name, count in sizes.items())


def _apply_autoscalers(installation: Installation, manifests: Sequence[Manifest]) -> None:
    for one in manifests:
        if one["kind"] in AUTOSCALERS:
            installation.kube.apply(one)


def _set_redis(installation: Installation, replicas: int) -> None:
    installation.kube.patch("apps/v1", "StatefulSet", "redis", {"spec": {"replicas": replicas}}, NAMESPACE)


def _pods_of_redis(installation: Installation) -> int:
    return len(installation.kube.list("v1", "Pod", NAMESPACE, selector="app.kubernetes.io/name=redis"))
