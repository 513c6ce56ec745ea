"""What pods stand on goes away for a while under load: nothing that was taken is lost, and all of it comes back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from tests.cluster import pods
from tests.cluster.kube import NotFoundError
from tests.cluster.place import Place
from tests.cluster.postgres import Postgres
from tests.cluster.releases import NAMESPACE, Installation
from tests.cluster.traffic import Grounds, Scene
from tests.faults.client import Book
from tests.faults.processes import wait_for

pytestmark = pytest.mark.unbounded
RATE = 20.0
BEFORE_SECONDS = 5.0
AFTER_SECONDS = 15.0
AWAY_SECONDS = 60.0
BACK_SECONDS = 180.0
# What was claimed in the second before is sent again, where its end could not be noted.
UNNOTED = int(RATE)


def test_redis_is_deleted(grounds: Grounds, installation: Installation) -> None:
    scene = Scene(grounds, "7 Redis deleted")
    with _under_load(scene) as ended:
        took = _replaced(installation, "redis-0")
        book = ended()
    scene.conclude(book, took, "its pod was replaced")
    assert not book.harmed(), book.statuses


def test_postgresql_is_restarted(grounds: Grounds, installation: Installation, place: Place) -> None:
    postgres = Postgres(place)
    postgres.wait_whole()
    leader = postgres.primary()
    scene = Scene(grounds, "7 PostgreSQL restarted")
    with _under_load(scene) as ended:
        took = _replaced(installation, leader) + postgres.wait_whole()
        book = ended()
    scene.conclude(book, took, f"{postgres.primary()} leads, {_longest_gap(book):.1f} s without an event taken")
    assert postgres.primary() == leader
    assert _is_well_in_the_end(book)


def test_names_are_not_answered_for_a_minute(grounds: Grounds, installation: Installation, place: Place) -> None:
    scene = Scene(grounds, "7 no names for a minute")
    with _under_load(scene) as ended:
        with _without(place, "coredns"):
            time.sleep(AWAY_SECONDS)
        book = ended()
    scene.conclude(book, AWAY_SECONDS, f"{_longest_gap(book):.1f} s without an event taken")
    assert _is_well_in_the_end(book)


def test_the_api_server_is_gone_while_pods_run(grounds: Grounds, installation: Installation, place: Place) -> None:
    scene = Scene(grounds, "7 API server gone for a minute")
    before = _names(installation)
    with _under_load(scene) as ended:
        with _without(place, "kube-apiserver"):
            time.sleep(AWAY_SECONDS)
        back = wait_for(lambda: place.serves("/readyz"), BACK_SECONDS, "the API server", every=0.5)
        # Whoever was cut off from it looks at everything again, and may find that nothing has spoken for too long.
        time.sleep(AWAY_SECONDS)
        book = ended()
    installation.wait_healthy(BACK_SECONDS)
    scene.conclude(book, AWAY_SECONDS + back, f"{_longest_gap(book):.1f} s without an event taken")
    assert _names(installation) == before, "pods were replaced although nothing was wrong with them"
    assert _is_well_in_the_end(book)


@contextmanager
def _under_load(scene: Scene) -> Iterator[Callable[[], Book]]:
    """Load from a while before the block; what is yielded goes on for a while, ends it, and waits for deliveries."""
    with scene.load(rate=RATE) as load:
        time.sleep(BEFORE_SECONDS)
        scene.bound += UNNOTED

        def ended() -> Book:
            time.sleep(AFTER_SECONDS)
            book = load.stop()
            scene.settle(BACK_SECONDS)
            return book

        yield ended


@contextmanager
def _without(place: Place, program: str) -> Iterator[None]:
    """A program of the node is away meanwhile."""
    place.hold(program)
    try:
        yield
    finally:
        place.let_go(program)


def _replaced(installation: Installation, name: str) -> float:
    """Deletes a pod of a StatefulSet; the seconds until another one of the name is ready."""
    kube = installation.kube
    before = kube.get("v1", "Pod", name, NAMESPACE)["metadata"]["uid"]
    kube.delete("v1", "Pod", name, NAMESPACE)

    def is_another() -> bool:
        try:
            now = kube.get("v1", "Pod", name, NAMESPACE)
        except NotFoundError:
            return False
        return bool(now["metadata"]["uid"] != before) and pods.is_ready(now)

    return wait_for(is_another, BACK_SECONDS, f"another {name}", every=0.5)


def _names(installation: Installation) -> set[str]:
    return {pods.name_of(one) for one in installation.pods() if pods.is_ready(one)}


def _longest_gap(book: Book) -> float:
    taken = sorted(one.at for one in book.accepted.values())
    return max(later - sooner for sooner, later in pairwise(taken))


def _is_well_in_the_end(book: Book) -> bool:
    last_harm = max((one.began for one in book.harmed()), default=0.0)
    return max(one.at for one in book.accepted.values()) > last_harm
