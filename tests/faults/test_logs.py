"""F15: where processes write their logs is full, or nobody reads them; nobody but an operator notices.

What was lost is counted by the processes themselves, and the counts are read from them.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.kit.telemetry.outlet import ROOM
from tests.faults.calm import play
from tests.faults.lab import API_PROCESSES, Lab, api_children, worker_children
from tests.faults.processes import kill, wait_for
from tests.faults.takers import TALKATIVE, count_dropped
from tests.system import System

pytestmark = pytest.mark.timeout(900)
DISK_BYTES = 2 * 1024 * 1024
# Lines of all processes of the API together, beside those that wait in the pipe.
MORE_THAN_WAITS = API_PROCESSES * (ROOM + 1000)
INTO_SAID = ("sh", "-c", 'exec "$@" >> "$SAID" 2>&1', "sh")


def test_f15_disk_full(lab: Lab) -> None:
    """Logs and temporary files are on a disk of 2 MB that is full: lines are dropped and counted."""
    with _small_disk() as disk:
        log = disk / "said"
        with lab.installed(INTO_SAID, **TALKATIVE, SAID=str(log), TMPDIR=str(disk)) as system:
            play(lab, system, "F15 disk of logs and tmp full", lambda: _full(disk))
            with _full(disk):
                _replace_processes(lab, system)
            assert count_dropped(system, "logs") > 0


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
    """Standard error is a pipe that is full: nobody waits for its reader, and what does not fit is counted."""
    with _pipe() as (pipe, reader), lab.installed(INTO_SAID, **TALKATIVE, SAID=str(pipe)) as system:
        scene, *_ = play(lab, system, "F15 stderr that nobody reads", reader.resting)
        with reader.resting(), scene.load(count=MORE_THAN_WAITS) as load:
            assert set(load.join().statuses) == {202}
        assert count_dropped(system, "logs") > 0


class _Reader:
    """Reads a pipe to its end, unless it rests."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._may_read = threading.Event()
        self._may_read.set()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

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
                os.read(self._descriptor, 65536)
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
