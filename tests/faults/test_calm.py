"""No fault at all: the baseline, and the proof that the ledger would see what the rows look for."""

import pytest

from tests.faults.lab import Lab, Scene
from tests.system import System

pytestmark = pytest.mark.timeout(300)


def test_without_a_fault_everything_comes_once(lab: Lab, installation: System) -> None:
    scene = Scene(lab, installation, "none")
    with scene.load(count=500 if lab.bounded else 5000) as load:
        book = load.join()
    took = scene.settle(60)
    verdict = scene.conclude(book, recovery=took)
    assert verdict.delivered == verdict.accepted == (500 if lab.bounded else 5000)
