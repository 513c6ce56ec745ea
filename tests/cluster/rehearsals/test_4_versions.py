"""The release before and this one side by side: each does what the other has begun, and going back loses nothing."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import previous
from tests.cluster.control_plane import take_image
from tests.cluster.images import Image, Images
from tests.cluster.place import Place
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import API, Installation, Release, newest_revision
from tests.cluster.traffic import Grounds, Scene
from tests.deploy.tools import cache
from tests.servers import ROOT

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
# Those of its tests that say what is stored and what becomes of it; how long a query takes is no matter here.
SUITES = ("accept", "claim", "committer", "engine", "record", "retention", "audit")


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


@dataclass(frozen=True, slots=True)
class Suites:
    """Tests that run, and where what they say is kept."""

    process: subprocess.Popen[bytes]
    said: Path


@pytest.fixture(scope="module")
def suites_of_before(tree: Path, before: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suites]:
    """Those of the release before, on this schema; they have what others leave of the machine meanwhile."""
    assert before.reference
    changed, said = tree.with_name("previous-on-this-schema"), tmp_path_factory.mktemp("suites") / "said"
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(tree, changed, ignore=shutil.ignore_patterns("migrations"))
    shutil.copytree(ROOT / "migrations", changed / "migrations")
    options = ["-q", "-p", "no:cacheprovider", "--numprocesses=2", "--dist=loadfile"]
    command = ["nice", "-n", "19", sys.executable, "-m", "pytest", *options]
    environment = os.environ | {"PYTHONPATH": str(changed)}
    with said.open("wb") as file:
        modules = [f"tests/worker/test_{one}.py" for one in SUITES]
        process = subprocess.Popen([*command, *modules], cwd=changed, env=environment, stdout=file, stderr=file)
    yield Suites(process, said)
    process.terminate()
    process.wait()


@pytest.fixture
def here(installation: Installation, released: Released) -> Iterator[Release]:
    """This release in short steps; how it was released before is what is there again in the end."""
    usual = released()
    yield released("", QUICK)
    installation.restore(usual, RELEASED_SECONDS)


def test_each_version_goes_on_with_what_the_other_began(
    grounds: Grounds,
    installation: Installation,
    here: Release,
    before: Image,
    tree: Path,
    suites_of_before: Suites,
) -> None:
    assert suites_of_before.process.poll() is None
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
