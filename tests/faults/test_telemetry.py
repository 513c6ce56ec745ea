"""F15: who takes logs and traces is gone, slow, raving or full, and nobody but an operator notices."""

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.kit.telemetry.outlet import ROOM
from tests.faults.calm import play
from tests.faults.lab import API_PROCESSES, Lab, Scene, api_children, worker_children
from tests.faults.processes import kill, wait_for
from tests.faults.takers import Taker
from tests.system import System

pytestmark = pytest.mark.timeout(900)
DISK_BYTES = 2 * 1024 * 1024
# Every request and every attempt is a line, and every message a trace.
TALKATIVE = {"POSTRIDER_TELEMETRY__ACCESS_LINES": "1000000", "POSTRIDER_TELEMETRY__SAMPLE": "1"}
# Lines of all processes of the API together, beside those that wait in the pipe.
MORE_THAN_WAITS = API_PROCESSES * (ROOM + 1000)
INTO_SAID = ("sh", "-c", 'exec "$@" >> "$SAID" 2>&1', "sh")


@pytest.fixture(scope="module")
def collector() -> Iterator[Taker]:
    with Taker() as taker:
        yield taker


@pytest.fixture(scope="module")
def traced(lab: Lab, collector: Taker) -> Iterator[System]:
    """An installation that sends the trace of every message to the collector."""
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
    with lab.installed(**TALKATIVE, **soon, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as system:
        yield system


@pytest.mark.parametrize("fault", ["absent", "slow", "raving"])
def test_f15_collector(lab: Lab, traced: System, collector: Taker, fault: str) -> None:
    before, told = collector.taken, _lost(traced)
    scene, *_ = play(lab, traced, f"F15 collector {fault}", getattr(collector, fault), 5 if lab.bounded else 60)
    assert collector.taken > before, "no span came while the collector was well"
    wait_for(lambda: _post(scene) and _lost(traced) > told, 60, "a count of the spans that were lost")


def _post(scene: Scene) -> bool:
    """Whether messages are accepted, which brings spans that are exported."""
    with scene.load(count=8) as load:
        return bool(load.join().accepted)


def _lost(system: System) -> int:
    """How many spans the parts have said that they lost, which they say once spans are taken again."""
    lines = _lines("".join(map(system.log, ("api", "worker"))))
    return sum(line["lost"] for line in lines if line.get("event") == "traces_exported_again")


def test_f15_disk_full(lab: Lab) -> None:
    """Logs and temporary files are on a disk of 2 MB that is full: lines are dropped, counted, and that is said."""
    with _small_disk() as disk:
        log = disk / "said"
        with lab.installed(INTO_SAID, **TALKATIVE, SAID=str(log), TMPDIR=str(disk)) as system:
            play(lab, system, "F15 disk of logs and tmp full", lambda: _full(disk), 5 if lab.bounded else 60)
            with _full(disk):
                _replace_processes(lab, system)
            wait_for(lambda: _dropped(system, log.read_text(errors="replace")) > 0, 10, "the count of dropped lines")


def _replace_processes(lab: Lab, system: System) -> None:
    """Kills a process of each kind, and returns when others are in their places."""
    _replace_one(lambda: set(api_children(system)))
    _replace_one(lambda: set(worker_children(system)))
    lab.make_whole(system)


def _replace_one(children: Callable[[], set[int]]) -> None:
    before = children()
    victim = min(before)
    kill(victim)
    wait_for(lambda: len(children() - {victim}) >= len(before), 40, "a new process")


@contextmanager
def _small_disk() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounts a disk, which only root may")
    with tempfile.TemporaryDirectory(prefix="postrider-disk-") as name:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=1777", "tmpfs", name], check=True)
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Takes what room there is, again and again, for the length of the block."""
    ballast, over = disk / "ballast", threading.Event()

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file:
            while not over.wait(0.02):
                _append(file.fileno())

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        wait_for(lambda: os.statvfs(disk).f_bfree == 0, 10, "a full disk")
        yield
    finally:
        over.set()
        thread.join()
        ballast.unlink()


def _append(descriptor: int) -> None:
    try:
        while os.write(descriptor, b"\0" * 65536):
            pass
    except OSError:
        return  # It is full.


def test_f15_nobody_reads_what_is_said(lab: Lab) -> None:
    """Standard error is a pipe that is full: nobody waits for its reader, who learns how much there was."""
    with _pipe() as (pipe, reader), lab.installed(INTO_SAID, **TALKATIVE, SAID=str(pipe)) as system:
        scene, *_ = play(lab, system, "F15 stderr that nobody reads", reader.resting, 5 if lab.bounded else 60)
        with reader.resting(), scene.load(count=MORE_THAN_WAITS) as load:
            assert set(load.join().statuses) == {202}
        wait_for(lambda: _dropped(system, reader.text) > 0, 30, "the count of dropped lines")


class _Reader:
    """Reads a pipe to its end, unless it rests."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._may_read = threading.Event()
        self._may_read.set()
        self._ended = False
        self._read: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """What it has read."""
        return b"".join(self._read).decode(errors="replace")

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Reads nothing for the length of the block."""
        self._may_read.clear()
        try:
            yield
        finally:
            self._may_read.set()

    def end(self) -> None:
        """Reads no more."""
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        while not self._ended:
            self._may_read.wait()
            try:
                self._read.append(os.read(self._descriptor, 65536))
            except BlockingIOError:
                threading.Event().wait(0.01)


@contextmanager
def _pipe() -> Iterator[tuple[Path, _Reader]]:
    with tempfile.TemporaryDirectory(prefix="postrider-pipe-") as name:
        pipe = Path(name) / "said"
        os.mkfifo(pipe)
        # Open for both, it has a reader and a writer for as long as the test wants.
        descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        reader = _Reader(descriptor)
        try:
            yield pipe, reader
        finally:
            reader.end()
            os.close(descriptor)


def _dropped(system: System, text: str) -> int:
    """How many lines processes have said that they dropped; each look is a request, and so a line."""
    system.wait_healthy()
    return sum(line["lines"] for line in _lines(text) if line.get("event") == "log_lines_dropped")


def _lines(text: str) -> Iterator[dict[str, Any]]:
    """The lines that are whole."""
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # A full disk has taken its end, or another process wrote between.
        if isinstance(found, dict):
            yield found
