"""Clocks that are hours off, and jump: the database's alone decides."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.client import ACCEPTED
from tests.faults.lab import Lab, Scene, changed
from tests.faults.receiver import Behaviour
from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.timeout(300)
RETRY_SECONDS, SLACK_SECONDS = 2.0, 5.0
AHEAD, BEHIND = "7200", "-7200"


def test_f16_clocks_two_hours_off(lab: Lab, installation: System) -> None:
    """The API's clock and the workers' are two hours off, each the other way, and swap: nothing is late or early.

    Messages are stamped with the database's time, and the second try comes when the schedule says.
    """
    scene = Scene(lab, installation, "F16 clocks two hours off")
    failing = scene.targets[0]
    count = 200 if lab.bounded else 10_000
    with _clocks() as (api, worker), changed(lab, installation, _reading(worker), _reading(api)):
        scene.add_endpoint(failing, "failing", retrySchedule=[0, int(RETRY_SECONDS)])
        lab.receiver.tell(scene.path(failing, "failing"), Behaviour(status=500, times=1))
        with scene.load(rate=150 if lab.bounded else 300, count=2 * count) as load:
            load.wait_accepted(count, 60)
            api.write_text(BEHIND)
            worker.write_text(AHEAD)
            book = load.join()
        recovery = scene.settle(30)
    scene.conclude(book, recovery=recovery)
    assert set(book.statuses) == {ACCEPTED}
    assert all(abs(one.age) < 60 for one in scene.receipts())
    first = next(one for one in scene.receipts() if one.status == 500)
    tries = [one for one in scene.receipts() if (one.path, one.message_id) == (first.path, first.message_id)]
    assert [one.status for one in tries] == [500, 204]
    second = tries[1]
    assert 0.8 * RETRY_SECONDS <= second.at - first.at <= 1.2 * RETRY_SECONDS + SLACK_SECONDS


@contextmanager
def _clocks() -> Iterator[tuple[Path, Path]]:
    """Files that say how many seconds the API's and the workers' clocks are off."""
    with tempfile.TemporaryDirectory(prefix="postrider-clocks-") as name:
        api, worker = Path(name) / "api", Path(name) / "worker"
        api.write_text(AHEAD)
        worker.write_text(BEHIND)
        yield api, worker


def _reading(clock: Path) -> dict[str, str]:
    """The environment of processes that go by this file."""
    return {"PYTHONPATH": f"{ROOT / 'tests/faults/clock'}:{ROOT}", "FAULTS_CLOCK": str(clock)}
