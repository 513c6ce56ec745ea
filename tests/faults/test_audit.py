"""Workers that are killed while they seal the audit log: others go on, each event is sealed once, the chain holds."""

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.failpoints import Failpoint
from tests.faults.lab import (
    WORKER_PROCESSES,
    Lab,
    Row,
    Scene,
    changed,
    deliverers,
    start_worker_again,
)
from tests.faults.processes import kill, tree, wait_for
from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.timeout(900)
POINTS = {"chain": ("audit_chain", False), "seal": ("audit_seals", False), "commit": ("audit_seals", True)}


@pytest.fixture
def sealing(lab: Lab, installation: System, tmp_path: Path) -> Iterator[Path]:
    """The folder of the anchors, to which the installation's workers write for the length of a test."""
    anchors = {"POSTRIDER_AUDIT__ANCHORS": str(tmp_path)}
    with changed(lab, installation, anchors):
        installation.environment |= anchors
        try:
            yield tmp_path
        finally:
            del installation.environment["POSTRIDER_AUDIT__ANCHORS"]


def test_f30_killed_while_sealing(lab: Lab, installation: System, sealing: Path) -> None:
    scene = Scene(lab, installation, f"F30 killed at {', '.join(POINTS)}", tenants=1)
    rounds, recoveries = (1 if lab.bounded else 5), []
    for table, at_commit in POINTS.values():
        with Failpoint(lab.postgres, scene.database, table, at_commit=at_commit) as point:
            for _ in range(rounds):
                with point.closed():
                    _write(scene, 10)
                    wait_for(lambda: point.waiting() > 0, 20, "a seal that is being made")
                    kill(*tree(installation.children["worker"].pid))
                recoveries.append(_go_on(lab, installation, scene))
    _judge(lab, installation, scene, sealing, recoveries)


@pytest.mark.unbounded
def test_f30_killed_again_and_again(lab: Lab, installation: System, sealing: Path) -> None:
    scene = Scene(lab, installation, "F30 killed at any time of sealing", tenants=1)
    dice, recoveries = random.Random(30), []
    with _writing(scene):
        for _ in range(15):
            time.sleep(dice.uniform(0.5, 3.0))
            kill(*tree(installation.children["worker"].pid))
            start_worker_again(installation)
            wait_for(lambda: len(deliverers(installation)) >= WORKER_PROCESSES, 30, "new workers")
    recoveries.append(_go_on(lab, installation, scene))
    _judge(lab, installation, scene, sealing, recoveries)


@contextmanager
def _writing(scene: Scene) -> Iterator[None]:
    """Somebody goes on making events."""
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            _write(scene, 1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _write(scene: Scene, count: int) -> None:
    for _ in range(count):
        scene.api(scene.targets[0]).call("POST", "/app", {"name": "one more"})


def _go_on(lab: Lab, system: System, scene: Scene) -> float:
    """The seconds until new workers have sealed everything."""
    start_worker_again(system)
    return wait_for(lambda: _count(lab, scene, "SELECT count(*) FROM audit_unsealed") == 0, 60, "the end of sealing")


def _judge(lab: Lab, system: System, scene: Scene, anchors: Path, recoveries: list[float]) -> None:
    events = _count(lab, scene, "SELECT count(*) FROM audit_events")
    sealed = _count(lab, scene, "SELECT count(DISTINCT event_id) FROM audit_chain")
    links = _count(lab, scene, "SELECT count(*) FROM audit_chain")
    lab.rows.append(
        Row(scene.name, events, sealed, events - sealed, links - sealed, 0, max(recoveries), "audit events")
    )
    assert events == sealed == links
    wait_for(lambda: _anchored(anchors) == _count(lab, scene, "SELECT count(*) FROM audit_seals"), 20, "the anchors")
    assert _verify(system) == 0
    for file in anchors.iterdir():
        assert _verify(system, file.stem, "--anchors", str(file)) == 0


def _anchored(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in folder.iterdir())


def _verify(system: System, *options: str) -> int:
    command = [sys.executable, "-m", "app.cli.main", "audit", "verify", *options]
    return subprocess.run(command, env=system.environment, cwd=ROOT, check=False).returncode


def _count(lab: Lab, scene: Scene, statement: str) -> int:
    [(found,)] = lab.postgres.query(statement, database=scene.database)
    return int(found)
