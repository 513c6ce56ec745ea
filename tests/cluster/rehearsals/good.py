"""A release that is good, however it is brought: what those who call and those who watch may say of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster.rehearsals.seen import Eyes
from tests.cluster.releases import API, Installation, Watch
from tests.cluster.traffic import Grounds, Scene, assert_unharmed

RATE = 20.0
STEPS = [0, 10, 50]
# So long the version before is looked at, so that there is something to compare the new one with.
BEFORE_SECONDS = 20.0
COMPARED = {"Requests by version", "Slowest answers", "Until durable"}


@contextmanager
def good_release(grounds: Grounds, installation: Installation, name: str) -> Iterator[None]:
    """Callers and watchers before and while the block brings a release, which gets to everybody by steps.

    AssertionError where somebody was harmed or woken, or where what was promised to be seen was not.
    """
    scene = Scene(grounds, name, tenants=4)
    with Eyes(installation.kube) as eyes, scene.load(rate=RATE) as load, Watch(installation.kube, API) as watch:
        time.sleep(BEFORE_SECONDS)
        versions = {"stable": installation.version(API)}
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        book = load.stop()
        scene.settle(120)
        trace = eyes.crossing()
    versions["canary"] = installation.version(API)
    scene.conclude(book, took, note=f"weights {watch.steps}")
    assert_unharmed(book)
    assert watch.steps[: len(STEPS)] == STEPS
    assert eyes.woke() == [], "an alert fires for a release that harmed nobody"
    assert trace, "no trace crosses from a pod of the API to one of a worker"
    compared = eyes.compared(versions)
    seen = [title for title, shown in compared.items() if shown == set(versions)]
    print(f"\na trace of {len(trace)} spans from the API to a worker; stable beside canary: {', '.join(seen)}")  # noqa: T201 the figure is asked for
    assert set(seen) >= COMPARED, compared
