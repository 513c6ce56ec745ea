"""The release before and this one side by side: each does what the other has begun, and going back loses nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import previous
from tests.cluster.control_plane import take_image
from tests.cluster.images import Image, Images
from tests.cluster.place import Place
from tests.cluster.previous import Suites
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import API, Installation, Release, newest_revision
from tests.cluster.traffic import Grounds, Scene
from tests.deploy.tools import cache

pytestmark = pytest.mark.unbounded

RATE = 10.0
WORKERS = tuple(f"postrider-worker-{pool}" for pool in ("first", "retry", "bulk", "maintenance"))
RELEASED_SECONDS = 300.0
STAY_SECONDS = 6.0
SUITES_SECONDS = 600.0
# Both versions are there for as long as the load runs: how a release is judged while they are is rehearsed elsewhere.
_SOON = {"steps": [{"weight": 50, "pause": "1s"}]}
QUICK = {
    "rollouts": {"readySeconds": 0, "analysis": {"enabled": False}, "api": _SOON, "workers": _SOON},
    # The API of before lets nobody into the cluster, the probe neither.
    "probe": {"enabled": False},
}


@pytest.fixture(scope="module")
def tree() -> Path:
    """Where the files of the release before lie."""
    return cache() / "previous"


@pytest.fixture(scope="module")
def before(place: Place, released: Released, tree: Path) -> Image:
    """The image of the release before, on the node."""
    found = previous.image(Images(cache() / "images"), released.image(), tree)
    take_image(place, found)
    return found


@pytest.fixture
def here(installation: Installation, released: Released) -> Iterator[Release]:
    """This release in short steps; how it was released before is what is there again in the end."""
    usual = released()
    yield released("", QUICK)
    installation.restore(usual, RELEASED_SECONDS)


def test_each_version_goes_on_with_what_the_other_began(
    grounds: Grounds, installation: Installation, here: Release, before: Image, tree: Path
) -> None:
    mixed = {
        "this API, workers of before": WORKERS,
        "all of before again": (API, *WORKERS),
        "API of before, these workers": (API,),
    }
    for what, parts in mixed.items():
        scene = Scene(grounds, f"4 {what}", tenants=3)
        with scene.load(rate=RATE) as load:
            began = time.monotonic()
            installation.release(previous.with_parts_of(before, tree, here, parts))
            installation.wait_healthy(RELEASED_SECONDS)
            took = time.monotonic() - began
            # What both have stored until now, and what comes from now on.
            time.sleep(STAY_SECONDS)
            book = load.stop()
        scene.settle(120)
        scene.conclude(book, took, f"schema {newest_revision()}, before {newest_revision(tree)}")
        assert not book.harmed(), book.statuses
        installation.wait_images(before.reference, *parts)


def test_the_tests_of_before_pass_on_the_new_schema(suites_of_before: Suites) -> None:
    code = suites_of_before.process.wait(SUITES_SECONDS)
    said = suites_of_before.said.read_text()
    print(f"\n{said.splitlines()[-1]}")  # noqa: T201 the figure is asked for
    assert code == 0, said[-6000:]
