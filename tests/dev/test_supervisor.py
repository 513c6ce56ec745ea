"""The supervisor keeps what it started, and ends it in order."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.dev.errors import DevError
from app.cli.dev.folder import Folder, State, write_private
from app.cli.dev.interrupts import Interrupts, Stopped
from app.cli.dev.ports import any_free, first_free, is_free, keep_or_pick
from app.cli.dev.process import Program
from app.cli.dev.supervisor import Supervisor


@pytest.fixture
def interrupts() -> Interrupts:
    return Interrupts()


def program(folder: Path, name: str, script: str, rank: int = 0) -> Program:
    return Program(name, ["sh", "-c", script], folder / f"{name}.log", rank)


def keep_for(supervisor: Supervisor, seconds: float) -> None:
    """Keeps until a signal, which is how it ends in life."""
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped):
        supervisor.keep()


@pytest.fixture
def handlers(interrupts: Interrupts) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interrupts.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_what_ends_is_started_again_and_said(tmp_path: Path, interrupts: Interrupts) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path, interrupts, said.append)
    first = supervisor.start(program(tmp_path, "brief", "echo oops; exit 3"))
    second = supervisor.start(program(tmp_path, "killed", "exec sleep 60"))
    os.kill(second.pid, signal.SIGKILL)
    keep_for(supervisor, 2.0)
    supervisor.stop()
    ended = "brief ended with status 3 (oops), starting it again in {} s; its log is {}/brief.log"
    assert [line for line in said if line.startswith("brief")][:2] == [ended.format(p, tmp_path) for p in ("0.5", "1")]
    killed = f"killed was killed by signal 9, starting it again in 0.5 s; its log is {tmp_path}/killed.log"
    assert [line for line in said if line.startswith("killed")] == [killed]
    assert first.ended() is not None


@pytest.mark.usefixtures("handlers")
def test_the_lowest_rank_ends_first(tmp_path: Path, interrupts: Interrupts) -> None:
    supervisor = Supervisor(tmp_path, interrupts, print)
    script = "trap 'echo {0} >> {1}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    for name, rank in (("postgres", 90), ("beat", 10), ("api", 30)):
        supervisor.start(program(tmp_path, name, script.format(name, tmp_path / "ends"), rank))
    while any("ready" not in (tmp_path / f"{name}.log").read_text() for name in ("postgres", "beat", "api")):
        time.sleep(0.05)
    supervisor.stop()
    assert (tmp_path / "ends").read_text().split() == ["beat", "api", "postgres"]
    assert list(tmp_path.glob("*.pid")) == []


@pytest.mark.usefixtures("handlers")
def test_a_signal_while_a_child_starts_waits_until_the_child_is_known(interrupts: Interrupts) -> None:
    reached = False
    with pytest.raises(Stopped):  # noqa: PT012  # the point is where inside it is raised
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            reached = True
        pytest.fail("the signal was lost")
    assert reached


@pytest.mark.usefixtures("handlers")
def test_later_signals_do_not_disturb_the_end(interrupts: Interrupts) -> None:
    with pytest.raises(Stopped):
        _signal_self()
    interrupts.ignore()
    _signal_self()


def test_under_nohup_a_closed_terminal_ends_nothing(interrupts: Interrupts) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupts.install()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number, handler in {**before, signal.SIGHUP: hangup}.items():
        signal.signal(number, handler)


def test_one_supervisor_at_a_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    with folder.locked(), pytest.raises(DevError, match=rf"runs here already \(pid {os.getpid()}\)"), folder.locked():
        pytest.fail("two at once")
    assert not (tmp_path / "data" / "lock").exists()
    with folder.locked():
        pass


def test_the_state_is_the_same_the_next_time_and_nobody_elses(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    state = folder.load()
    state.postgres_port = 5555
    folder.save(state)
    assert Folder(tmp_path / "data").load() == state
    assert {path.stat().st_mode & 0o077 for path in folder.path.iterdir() if path.is_file()} == {0}
    assert len({State().postgres_password, State().postgres_password, state.redis_password}) == 3


@pytest.mark.parametrize("damage", ["", "[]", "{"])
def test_a_damaged_state_is_one_line(tmp_path: Path, damage: str) -> None:
    folder = Folder(tmp_path)
    write_private(tmp_path / "state.json", damage)
    with pytest.raises(DevError, match=r"state\.json is damaged"):
        folder.load()


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DevError, match=r"file.* cannot be used: Not a directory"):
        Folder(tmp_path / "file" / "data")


def test_ports_are_kept_while_they_are_free() -> None:
    port = any_free()
    assert keep_or_pick(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert keep_or_pick(port) != port
        following = first_free(port)
        assert following is not None
        assert following > port


def _signal_self() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)
