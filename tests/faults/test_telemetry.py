"""F15: who takes what processes tell of themselves is gone, slow, raving or full; nobody but an operator notices.

What was lost is counted by the processes themselves, and the counts are read from them.
"""

import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.dev.demo import Api
from app.cli.dev.ports import LOOPBACK
from app.kit.telemetry.management import CONNECTIONS
from app.kit.telemetry.outlet import ROOM
from app.kit.telemetry.reports import SEND_SECONDS
from tests.breakage import without
from tests.exported import exported, total
from tests.faults.calm import play
from tests.faults.lab import API_PROCESSES, Lab, api_children, start_api_again, worker_children
from tests.faults.processes import kill, wait_for
from tests.faults.scraper import scraping
from tests.faults.takers import Taker
from tests.system import System

pytestmark = pytest.mark.timeout(900)
PARTS = ("api", "worker", "beat")
FAILURES = 3
# Connections that the load brings, and what a process opens for a moment.
OTHER_FILES = 64
DISK_BYTES = 2 * 1024 * 1024
# Every request and every attempt is a line, and every message a trace.
TALKATIVE = {"POSTRIDER_TELEMETRY__ACCESS_LINES": "1000000", "POSTRIDER_TELEMETRY__SAMPLE": "1"}
# Lines of all processes of the API together, beside those that wait in the pipe.
MORE_THAN_WAITS = API_PROCESSES * (ROOM + 1000)
# The short form has one fault of each taker.
LONGER = pytest.mark.unbounded
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


@pytest.mark.parametrize("fault", [pytest.param("absent", marks=LONGER), pytest.param("slow", marks=LONGER), "raving"])
def test_f15_collector(lab: Lab, traced: System, collector: Taker, fault: str) -> None:
    before, dropped = collector.taken, _dropped(traced, "traces")
    play(lab, traced, f"F15 collector {fault}", getattr(collector, fault), _length(lab))
    assert collector.taken > before, "no span came while the collector was well"
    wait_for(lambda: _dropped(traced, "traces") > dropped, 60, "a count of the spans that were lost")


@pytest.fixture(scope="module")
def sentry() -> Iterator[Taker]:
    with Taker() as taker:
        yield taker


@pytest.fixture(scope="module")
def reporting(lab: Lab, sentry: Taker) -> Iterator[System]:
    """An installation that reports its errors to Sentry."""
    with lab.installed(POSTRIDER_TELEMETRY__SENTRY_DSN=f"http://public@{LOOPBACK}:{sentry.port}/7") as system:
        yield system


@pytest.mark.parametrize("fault", [pytest.param("absent", marks=LONGER), "slow", pytest.param("raving", marks=LONGER)])
def test_f15_sentry(lab: Lab, reporting: System, sentry: Taker, fault: str) -> None:
    """Requests fail meanwhile, at once; each report of them is taken or counted."""
    # A process reports only so many of a kind in a minute: these have reported none.
    start_api_again(reporting)
    lab.make_whole(reporting)
    before = sentry.taken
    _fail(reporting)
    wait_for(lambda: sentry.taken == before + 1, 10, "a report to a Sentry that is well")

    @contextmanager
    def broken() -> Iterator[None]:
        with getattr(sentry, fault)():
            for _ in range(FAILURES):
                _fail(reporting)
            wait_for(lambda: _dropped(reporting, "errors") > 0, 10, "a count of the reports that were lost")
            yield

    play(lab, reporting, f"F15 Sentry {fault}", broken, _length(lab))

    def told() -> float:
        return sentry.taken - before - 1 + _dropped(reporting, "errors")

    wait_for(lambda: told() == FAILURES, 20, "the fate of each report")
    _fail(reporting)
    wait_for(lambda: told() == FAILURES + 1, 10, "a report to a Sentry that is well again")


def _fail(system: System) -> None:
    """Has a request fail by an error of the API, which does not wait until it is reported."""
    key = system.new_tenant().key
    with without(system.environment["POSTRIDER_DATABASE__MIGRATOR_URL"], "oauth_clients"):
        began = time.monotonic()
        status, _ = Api(urlsplit(system.url).port or 0, key).request("GET", "/organisation/oauth-client")
    assert (status, time.monotonic() - began < SEND_SECONDS) == (500, True)


@pytest.mark.unbounded
def test_f15_scraper_absent(lab: Lab, installation: System) -> None:
    """Nobody reads metrics: who comes afterwards reads of all that was."""
    before = _accepted(installation)
    _, book, *_ = play(lab, installation, "F15 Prometheus absent", nullcontext, _length(lab))
    assert _accepted(installation) - before == len(book.accepted)


@pytest.mark.parametrize("fault", ["slow", pytest.param("raving", marks=LONGER)])
def test_f15_scraper(lab: Lab, installation: System, tmp_path: Path, fault: str) -> None:
    """It holds no more connections than it may, and keeps no probe from its answer."""
    ports = [port for part in PARTS for port in installation.management_ports(part) if _is_alive(port)]
    files, dropped = _most_files(installation), _dropped(installation, "metrics")

    @contextmanager
    def scraped() -> Iterator[None]:
        with scraping(fault, ports, tmp_path):
            yield
            assert all(map(_is_alive, ports))
            assert _most_files(installation) <= files + CONNECTIONS + OTHER_FILES

    play(lab, installation, f"F15 Prometheus {fault}", scraped, _length(lab))
    wait_for(lambda: _most_files(installation) <= files + OTHER_FILES, 15, "the end of the connections")
    assert _dropped(installation, "metrics") > dropped


def _accepted(system: System) -> float:
    return total(exported(system, "api"), "postrider_messages_total", outcome="accepted")


def _is_alive(port: int) -> bool:
    """Whether somebody there says so to one of three asks, after which a cluster would start it again."""
    return any(_says_ok(port) for _ in range(3))


def _says_ok(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/livez", timeout=3) as answer:
            return bool(answer.read() == b"ok\n")
    except OSError:
        return False


def _most_files(system: System) -> int:
    """How many files that process has open, of those that serve and those that deliver, which has most."""
    pids = (*api_children(system), *worker_children(system))
    return max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def test_f15_disk_full(lab: Lab) -> None:
    """Logs and temporary files are on a disk of 2 MB that is full: lines are dropped and counted."""
    with _small_disk() as disk:
        log = disk / "said"
        with lab.installed(INTO_SAID, **TALKATIVE, SAID=str(log), TMPDIR=str(disk)) as system:
            play(lab, system, "F15 disk of logs and tmp full", lambda: _full(disk), _length(lab))
            with _full(disk):
                _replace_processes(lab, system)
            assert _dropped(system, "logs") > 0


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
        scene, *_ = play(lab, system, "F15 stderr that nobody reads", reader.resting, _length(lab))
        with reader.resting(), scene.load(count=MORE_THAN_WAITS) as load:
            assert set(load.join().statuses) == {202}
        assert _dropped(system, "logs") > 0


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


def _dropped(system: System, signal: str) -> float:
    """How much of a signal the processes that run now count as lost."""
    return total(exported(system, *PARTS), "postrider_telemetry_dropped_total", signal=signal)


def _length(lab: Lab) -> int:
    """Seconds of a fault."""
    return 3 if lab.bounded else 60
