"""The first process of a container: signals come through, orphans are buried, and a worker ends in time."""

import ctypes
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from celery import Celery

from app.cli.dev.roles import DatabaseUrls
from app.cli.launch import firm_after
from app.kit.queue import MAINTENANCE_QUEUE, SIGNING_KEYS_TASK
from tests.e2e.broker import running_broker
from tests.receiver import Answer, Receiver
from tests.servers import ROOT
from tests.worker.house import House

PATIENCE_SECONDS = 40.0
LAUNCH = [sys.executable, "-m", "app.cli.launch"]
ALONE = ["unshare", "--pid", "--fork", "--kill-child"]
PR_SET_CHILD_SUBREAPER = 36
CONTROL_C = b"\x03"
TRAPPING = """
import signal, sys, time
for name in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2"):
    signal.signal(getattr(signal, "SIG" + name), lambda number, _: print(signal.Signals(number).name, flush=True))
print("ready", flush=True)
end = time.monotonic() + 30
while time.monotonic() < end:
    time.sleep(0.05)
"""
ORPHANING = """
import os, time
if os.fork() == 0:
    orphan = os.fork()
    if orphan:
        print("ready", orphan, sep=chr(10), flush=True)
        os._exit(0)
time.sleep(30)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


@contextmanager
def launched(
    code: str, *before: str, firm: float | None = None, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """The launcher, behind these words, with a program of the test's that says when it is ready."""
    launcher = (
        f"import sys; from app.cli.launch import launch; sys.exit(launch([sys.executable, '-c', {code!r}], {firm}))"
    )
    with subprocess.Popen(
        [*before, sys.executable, "-c", launcher],
        cwd=ROOT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=adopt_orphans,  # noqa: PLW1509 one system call, of a library that is loaded
    ) as process:
        try:
            assert line_of(process) == "ready"
            yield process
        finally:
            process.kill()


LIBC = ctypes.CDLL(None)


def adopt_orphans() -> None:
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def children(pid: int) -> list[tuple[int, str]]:
    """The children of a process, and the state of each."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(parent) == pid:
            found.append((int(path.parent.name), state))
    return found


class TestSignals:
    @pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"])
    def test_each_is_handed_on(self, name: str) -> None:
        with launched(TRAPPING) as process:
            process.send_signal(getattr(signal, f"SIG{name}"))

            assert line_of(process) == f"SIG{name}"

    def test_they_reach_it_as_the_first_process_of_a_container(self) -> None:
        if subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode:
            pytest.skip("this account may not make a namespace for processes")
        with launched(TRAPPING, *ALONE) as process:
            ((first, _),) = children(process.pid)
            os.kill(first, signal.SIGTERM)

            assert line_of(process) == "SIGTERM"

    def test_what_a_terminal_tells_all_reaches_it_once_and_what_somebody_sends_as_well(self) -> None:
        keyboard, terminal = pty.openpty()
        with launched(TRAPPING, "setsid", "--ctty", stdin=terminal) as process:
            os.write(keyboard, CONTROL_C)
            assert line_of(process) == "SIGINT"
            for name in ("SIGQUIT", "SIGINT"):
                process.send_signal(signal.Signals[name])
                assert line_of(process) == name
        os.close(keyboard)
        os.close(terminal)

    def test_they_reach_it_without_standard_input(self) -> None:
        with launched(TRAPPING, "sh", "-c", 'exec "$@" <&-', "sh") as process:
            process.send_signal(signal.SIGTERM)

            assert line_of(process) == "SIGTERM"

    def test_the_program_ignores_none_because_of_us(self) -> None:
        with launched("import time; print('ready', flush=True); time.sleep(30)") as process:
            process.send_signal(signal.SIGTERM)

            assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM

    def test_a_firm_word_follows_shortly_before_the_grace_period_ends(self) -> None:
        with launched(TRAPPING, firm=1.0) as process:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)

            assert [line_of(process), line_of(process)] == ["SIGTERM", "SIGQUIT"]
            assert 1.0 <= time.monotonic() - began < 5.0

    def test_a_second_word_does_not_put_it_off(self) -> None:
        with launched(TRAPPING, firm=5.0) as process:
            process.send_signal(signal.SIGTERM)
            assert line_of(process) == "SIGTERM"
            time.sleep(2.5)
            again = time.monotonic()
            process.send_signal(signal.SIGTERM)

            assert [line_of(process), line_of(process)] == ["SIGTERM", "SIGQUIT"]
            assert time.monotonic() - again < 5.0


class TestEnds:
    @pytest.mark.parametrize("code", [0, 1, 42])
    def test_it_ends_as_the_program_did(self, code: int) -> None:
        with launched(f"import sys; print('ready', flush=True); sys.exit({code})") as process:
            assert process.wait(PATIENCE_SECONDS) == code

    def test_it_says_which_signal_ended_the_program(self) -> None:
        with launched(TRAPPING) as process:
            ((child, _),) = children(process.pid)
            os.kill(child, signal.SIGKILL)

            assert process.wait(PATIENCE_SECONDS) == 128 + signal.SIGKILL

    def test_orphans_are_buried(self) -> None:
        with launched(ORPHANING) as process:
            orphan = int(line_of(process))
            wait_for(lambda: orphan in dict(children(process.pid)))
            os.kill(orphan, signal.SIGKILL)

            wait_for(lambda: not Path(f"/proc/{orphan}").exists())
            assert process.poll() is None

    def test_a_command_that_fails_fails(self, environment: dict[str, str]) -> None:
        bare = {name: value for name, value in environment.items() if not name.startswith("POSTRIDER_")}
        done = subprocess.run([*LAUNCH, "migrate"], env=bare, cwd=ROOT, capture_output=True, text=True, check=False)

        assert done.returncode == 2
        assert "POSTRIDER_DATABASE: field required" in " ".join(done.stderr.split())


class TestGrace:
    def test_of_a_long_one_ten_seconds_are_left_and_of_a_short_one_half(self) -> None:
        assert firm_after("worker", {"POSTRIDER_GRACE_SECONDS": "60"}) == 50
        assert firm_after("worker", {"POSTRIDER_GRACE_SECONDS": "8"}) == 4

    def test_other_commands_end_by_themselves(self) -> None:
        assert firm_after("api", {"POSTRIDER_GRACE_SECONDS": "60"}) is None
        assert firm_after("worker", {}) is None

    @pytest.mark.parametrize("given", ["a minute", "-1", "0", "1.5"])
    def test_what_is_no_number_is_refused(self, given: str) -> None:
        with pytest.raises(ValueError, match="POSTRIDER_GRACE_SECONDS is a whole number of seconds"):
            firm_after("worker", {"POSTRIDER_GRACE_SECONDS": given})


class TestWorker:
    """`postrider worker` below the launcher, with a broker of its own."""

    @pytest.fixture
    def broker_url(self) -> Iterator[str]:
        with running_broker() as broker:
            yield broker.url

    @contextmanager
    def worker(self, environment: dict[str, str], broker_url: str, **more: str) -> Iterator[subprocess.Popen[str]]:
        own = environment | {"POSTRIDER_REDIS__URL": broker_url} | more
        with subprocess.Popen([*LAUNCH, "worker", "--processes=1"], env=own, cwd=ROOT, text=True) as process:
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(PATIENCE_SECONDS)

    def test_what_is_in_flight_lands_before_it_ends(
        self, environment: dict[str, str], broker_url: str, house: House, receiver: Receiver
    ) -> None:
        app, path = house.app(), receiver.path()
        house.endpoint(app, url=receiver.base + path)
        receiver.tell(path, Answer(200, after=2.0))
        with self.worker(environment, broker_url, POSTRIDER_GRACE_SECONDS="30") as process:
            house.send(app, 3)
            receiver.wait(path, 3, seconds=PATIENCE_SECONDS)
            process.send_signal(signal.SIGTERM)

            assert process.wait(PATIENCE_SECONDS) == 0
        assert len(house.attempts(app)) == 3
        assert house.due() == []

    def test_a_task_that_does_not_end_goes_back_to_its_queue(
        self, environment: dict[str, str], broker_url: str, database: DatabaseUrls
    ) -> None:
        with (
            psycopg.connect(database.migrator) as blocking,
            redis.Redis.from_url(broker_url) as broker,
            self.worker(environment, broker_url, POSTRIDER_GRACE_SECONDS="8") as process,
        ):
            blocking.execute("LOCK TABLE signing_keys")
            Celery(broker=broker_url, set_as_current=False).send_task(SIGNING_KEYS_TASK, queue=MAINTENANCE_QUEUE)
            wait_for(lambda: is_blocked(database))
            assert (broker.llen(MAINTENANCE_QUEUE), broker.hlen("unacked")) == (0, 1)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)

            # What holds the task up is still there.
            process.wait(PATIENCE_SECONDS)
            assert time.monotonic() - began >= 4
            assert (broker.llen(MAINTENANCE_QUEUE), broker.hlen("unacked")) == (1, 0)


def is_blocked(database: DatabaseUrls) -> bool:
    """Whether a worker waits for a lock."""
    with psycopg.connect(database.migrator) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'signing_keys'::regclass"
        ).fetchone()
    assert row is not None
    return bool(row[0])
