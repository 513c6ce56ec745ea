"""A good release gets to everybody by steps, and nobody who calls meanwhile notices it."""

import time

from tests.cluster.rehearsals.released import Released
from tests.cluster.rehearsals.seen import Eyes
from tests.cluster.releases import API, Installation, Watch
from tests.cluster.traffic import Grounds, Scene, assert_unharmed

RATE = 20.0
STEPS = [0, 10, 50]
# So long the version before is looked at, so that there is something to compare the new one with.
BEFORE_SECONDS = 20.0


def test_a_good_release_is_promoted_by_steps(grounds: Grounds, installation: Installation, released: Released) -> None:
    release = released("good")
    scene = Scene(grounds, "1 a good release", tenants=4)
    with Eyes(installation.kube) as eyes, scene.load(rate=RATE) as load, Watch(installation.kube, API) as watch:
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        installation.release(release)
        versions = eyes.versions()
        installation.wait_healthy(600)
        took = time.monotonic() - began
        installation.smoke(release)
        book = load.stop()
        scene.settle(120)
        trace = eyes.crossing()
    scene.conclude(book, took, note=f"weights {watch.steps}")
    assert_unharmed(book)
    assert watch.steps[: len(STEPS)] == STEPS
    installation.wait_images(released.image("good").reference)
    assert eyes.woke() == [], "an alert fires for a release that harmed nobody"
    assert trace, "no trace crosses from a pod of the API to one of a worker"
    compared = eyes.compared(versions)
    seen = [title for title, shown in compared.items() if shown == {"stable", "canary"}]
    print(f"\na trace of {len(trace)} spans from the API to a worker; stable beside canary: {', '.join(seen)}")  # noqa: T201
    assert {"Requests by version", "Slowest answers", "Until durable"} <= set(seen), compared
