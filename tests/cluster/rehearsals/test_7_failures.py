"""What an installation stands on goes away for a while: nothing that was taken is lost, and it is well again after."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import pods
from tests.cluster.place import CGROUPS, Place
from tests.cluster.postgres import Postgres
from tests.cluster.releases import NAMESPACE, Installation
from tests.cluster.stand_ins import disk_of
from tests.cluster.traffic import FLAKY, Grounds, Scene
from tests.deploy.manifests import Manifest
from tests.faults.client import Book
from tests.faults.processes import wait_for
from tests.faults.receiver import Behaviour

pytestmark = pytest.mark.unbounded

RATE = 20.0
BEFORE_SECONDS = 5.0
AFTER_SECONDS = 8.0
WELL_SECONDS = 6.0
SETTLE_SECONDS = 240.0
BACK_SECONDS = 180.0
FROZEN_SECONDS = 30.0
FULL_SECONDS = 20.0
MINUTE = 60.0
LOOKED_SECONDS = 15.0
# Whom pods and their kubelet ask.
SILENT = ("coredns", "kube-apiserver")
LEFT_BYTES = 64 * 1024
STEP_BYTES = 1024 * 1024
LARGE_BYTES = 200_000
HOLDING = Behaviour(after=2.0)
"""Receivers that have a worker hold forty large payloads at once."""
FIRST = "worker-first"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a fault is done to."""

    place: Place
    installation: Installation
    postgres: Postgres

    def pod(self, name: str) -> Manifest:
        """A pod of the namespace."""
        return self.place.kube().get("v1", "Pod", name, NAMESPACE)

    def wait_ready(self, name: str, but: str = "") -> None:
        """Waits for a pod of this name that is ready, and is not the one with this uid."""
        wait_for(lambda: self._is_there(name, but), BACK_SECONDS, f"{name} again", every=0.5)

    def ready(self) -> set[str]:
        """The names of all pods that are ready."""
        return {pods.name_of(one) for one in self.place.kube().list("v1", "Pod", NAMESPACE) if pods.is_ready(one)}

    def _is_there(self, name: str, but: str) -> bool:
        found = [one for one in self.place.kube().list("v1", "Pod", NAMESPACE) if pods.name_of(one) == name]
        return any(pods.is_ready(one) and one["metadata"]["uid"] != but for one in found)


def _redis_deleted(ground: Ground) -> str:
    before = ground.pod("redis-0")["metadata"]["uid"]
    ground.place.kube().delete("v1", "Pod", "redis-0", NAMESPACE, grace=0)
    ground.wait_ready("redis-0", but=before)
    return "the pod was replaced, and was empty"


def _postgres_restarted(ground: Ground) -> str:
    name = ground.postgres.primary()
    before = _restarts(ground.pod(name))
    pods.kill(ground.pod(name))
    wait_for(lambda: _restarts(ground.pod(name)) > before, BACK_SECONDS, "a restart", every=0.5)
    ground.wait_ready(name)
    ground.postgres.wait_whole()
    return f"{name}, which leads, began again"


def _postgres_frozen(ground: Ground) -> str:
    name = ground.postgres.primary()
    with _stopped(pods.processes(ground.pod(name))):
        time.sleep(FROZEN_SECONDS)
    ground.wait_ready(name)
    ground.postgres.wait_whole()
    return f"{name}, which leads, stood still for {FROZEN_SECONDS:.0f} s"


def _disk_full(ground: Ground) -> str:
    name = ground.postgres.primary()
    disk = disk_of(ground.place, name)
    free = int(ground.place.inside(["stat", "--file-system", "--format=%a", disk]))
    size = int(ground.place.inside(["stat", "--file-system", "--format=%S", disk]))
    ballast = disk / "ballast"
    ground.place.inside(["fallocate", "--length", str(free * size - LEFT_BYTES), ballast])
    time.sleep(FULL_SECONDS)
    ground.place.inside(["rm", ballast])
    ground.wait_ready(name)
    ground.postgres.wait_whole()
    return f"the disk of {name}, which leads, was full for {FULL_SECONDS:.0f} s"


def _names_and_api_server_gone(ground: Ground) -> str:
    before = ground.ready()
    for name in SILENT:
        ground.place.hold(name)
    time.sleep(MINUTE)
    for name in SILENT:
        ground.place.let_go(name)
    wait_for(lambda: ground.place.serves("/readyz"), BACK_SECONDS, "the API server again", every=0.5)
    # Whoever was cut off from it looks at everything again, and may find that nothing has spoken for too long.
    time.sleep(LOOKED_SECONDS)
    assert ground.ready() == before, "pods went although nothing was wrong with them"
    return f"neither names nor Kubernetes' API answered for {MINUTE:.0f} s"


def _worker_out_of_memory(ground: Ground) -> str:
    (victim, *_) = ground.installation.pods(FIRST)
    name = pods.name_of(victim)
    before = _restarts(ground.pod(name))
    running = set(pods.processes(ground.pod(name)))
    limits: list[int] = []

    def is_killed() -> bool:
        if not running <= set(pods.processes(ground.pod(name))):
            return True
        # What was read from files can be given back again and again, so that once is not enough.
        limits.append(_squeeze(victim))
        return False

    wait_for(is_killed, BACK_SECONDS, "a kill for want of memory", every=0.5)
    # The limit of a container that begins again is the one that it asked for.
    pods.kill(ground.pod(name))
    wait_for(lambda: _restarts(ground.pod(name)) > before, BACK_SECONDS, "a restart", every=0.5)
    ground.wait_ready(name)
    return f"a worker was killed at {min(limits) / 1e6:.0f} MB"


@dataclass(frozen=True)
class Case:
    """A fault, whether callers notice it, how many bytes are in a payload, and what those do who receive it.

    Where nobody is to notice it, at most the share `unlucky` of the requests may fail.
    """

    name: str
    fault: Callable[[Ground], str]
    is_noticed: bool = False
    unlucky: float = 0.0
    pad: int = 200
    behaviour: Behaviour = FLAKY


CASES = [
    Case("Redis deleted", _redis_deleted),
    Case("PostgreSQL restarted", _postgres_restarted, is_noticed=True),
    Case("F11 PostgreSQL frozen", _postgres_frozen, is_noticed=True),
    Case("F14 disk full", _disk_full, is_noticed=True),
]
OUT_OF_MEMORY = Case("F25 worker out of memory", _worker_out_of_memory, pad=LARGE_BYTES, behaviour=HOLDING)
# Whoever is the first to need one more connection to the database asks for its name, and some wait with it.
NO_NAMES = Case("no names, no API server", _names_and_api_server_gone, unlucky=0.01)


@dataclass(frozen=True)
class Aftermath:
    """What callers saw of a fault, which `began` and `ended` by the clock, and what there is to say of it."""

    scene: Scene
    book: Book
    began: float
    ended: float
    note: str


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_is_lost(grounds: Grounds, place: Place, installation: Installation, case: Case) -> None:
    _assert_nothing_lost(case, _gone_through(grounds, place, installation, case))


def test_nothing_is_lost_of_what_a_killed_worker_held_nor_without_names_and_api_server(
    grounds: Grounds, place: Place, installation: Installation
) -> None:
    # What was held is under a lease for longer than a minute: names and the API server go away meanwhile.
    killed = _gone_through(grounds, place, installation, OUT_OF_MEMORY)
    silent = _gone_through(grounds, place, installation, NO_NAMES)
    _assert_nothing_lost(OUT_OF_MEMORY, killed)
    _assert_nothing_lost(NO_NAMES, silent)


def _gone_through(grounds: Grounds, place: Place, installation: Installation, case: Case) -> Aftermath:
    """Has callers before, while and after a fault."""
    ground = Ground(place, installation, Postgres(place))
    ground.postgres.wait_whole()
    scene = Scene(grounds, f"7 {case.name}", behaviour=case.behaviour)
    with scene.load(rate=RATE, pad=case.pad) as load:
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        scene.note_in_flight()
        note = case.fault(ground)
        # Whatever was sent while its result could not be written down is sent again.
        scene.bound += int(RATE)
        ended = time.monotonic()
        time.sleep(AFTER_SECONDS)
        return Aftermath(scene, load.stop(), began, ended, note)


def _assert_nothing_lost(case: Case, after: Aftermath) -> None:
    """Once nothing is owed any more."""
    book, scene = after.book, after.scene
    scene.settle(SETTLE_SECONDS)
    took = max(0.0, scene.receipts()[-1].at - after.ended)
    harmed = book.harmed()
    scene.conclude(book, after.ended - after.began, f"{after.note}; all sent {took:.0f} s later")
    assert (len(harmed) > case.unlucky * len(book.exchanges)) is case.is_noticed, book.statuses
    assert all(one.status in {0, 502, 503, 504} for one in harmed), book.statuses
    assert not book.harmed(since=after.ended + WELL_SECONDS), "it is not well after"


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    assert pids, "nothing runs there"
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGCONT)


def _restarts(pod: Manifest) -> int:
    return sum(one["restartCount"] for one in pod["status"]["containerStatuses"])


def _squeeze(pod: Manifest) -> int:
    """Takes from a pod's container whatever memory it can give back; returns what it may have now, in bytes."""
    (identity,) = [one["containerID"].rpartition("/")[2] for one in pod["status"]["containerStatuses"]]
    root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "memory"
    (group,) = [one for one in root.rglob(identity) if one.is_dir()]
    now, most = (
        ("memory.current", "memory.max") if root == CGROUPS else ("memory.usage_in_bytes", "memory.limit_in_bytes")
    )
    # Less than what is in use is refused, once nothing of that can be given back any more.
    limit = int((group / now).read_text()) + 2 * STEP_BYTES
    with suppress(OSError):
        while limit > STEP_BYTES:
            (group / most).write_text(str(limit - STEP_BYTES))
            limit -= STEP_BYTES
    return limit
