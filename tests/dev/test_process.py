"""Children end with their parent, in order, and nothing else ever ends with them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.dev.errors import DevError
from app.cli.dev.identity import MARK, identify, is_alive
from app.cli.dev.process import Child, Program, end_leftovers, last_words, wait_until

SLEEP = ["sleep", "60"]
STUBBORN = ["sh", "-c", "trap '' TERM; sleep 61 & echo deaf; while :; do sleep 1; done"]
PARENT = """
import sys
from pathlib import Path
from app.cli.dev.process import Child, Program
folder = Path(sys.argv[1])
print(Child(Program("kept", ["sleep", "60"], folder / "kept.log"), folder).pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


def start(folder: Path, argv: list[str], **settings: object) -> Child:
    program = Program("kept", argv, folder / "kept.log", **settings)  # type: ignore[arg-type]  # any of its fields
    return Child(program, folder)


@pytest.mark.skipif(sys.platform != "linux", reason="this machine cannot: only Linux tells a child of its parent's end")
def test_a_child_ends_with_its_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert identify(child)
        parent.kill()
    assert wait_until(lambda: identify(child) is None, 5)


def test_stop_ends_a_child_that_does_not_listen_and_its_whole_group(tmp_path: Path) -> None:
    child = start(tmp_path, STUBBORN, stop_seconds=0.3)
    assert wait_until(lambda: last_words(tmp_path / "kept.log") == "deaf", 5)
    child.stop()
    assert child.ended() == -signal.SIGKILL
    assert _group(child.pid) == []
    assert not (tmp_path / "kept.pid").exists()


def test_a_child_is_asked_by_its_own_signal_even_where_we_ignore_it(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = start(tmp_path, SLEEP, stop_signal=signal.SIGINT)
    signal.signal(signal.SIGINT, before)
    child.stop()
    assert child.ended() == -signal.SIGINT


def test_a_program_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DevError, match=r"kept does not start: .*No such file"):
        start(tmp_path, ["/nowhere/postgres"])


def test_leftovers_are_ended_by_their_pid_file(tmp_path: Path) -> None:
    child = start(tmp_path, SLEEP)
    assert end_leftovers(tmp_path, "no such mark") == ["kept"]
    assert child.ended() == -signal.SIGTERM
    assert list(tmp_path.glob("*.pid")) == []


def test_leftovers_are_ended_by_their_mark(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEP, env={**os.environ, MARK: str(tmp_path)}) as stray:
        assert wait_until(lambda: identify(stray.pid) is not None, 5)
        time.sleep(0.2)  # until it has become `sleep`
        assert end_leftovers(tmp_path, str(tmp_path)) == [f"pid {stray.pid}"]
        assert stray.wait(5) == -signal.SIGTERM


def test_another_process_with_the_same_pid_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    identity = {"pid": stranger.pid, "started": "another boot:1"}
    record = {"name": "kept", "rank": 0, "stop_signal": 15, "stop_seconds": 1.0, "identity": identity}
    (tmp_path / "kept.pid").write_text(json.dumps(record))
    assert end_leftovers(tmp_path, str(tmp_path)) == []
    assert stranger.poll() is None
    assert list(tmp_path.glob("*.pid")) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "kept"}'])
def test_a_damaged_pid_file_ends_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "kept.pid").write_text(content)
    assert end_leftovers(tmp_path, str(tmp_path)) == []
    assert list(tmp_path.glob("*.pid")) == []


def test_an_identity_does_not_outlive_its_process() -> None:
    with subprocess.Popen(SLEEP) as process:
        identity = identify(process.pid)
        assert identity is not None
        assert is_alive(identity)
        process.kill()
    assert not is_alive(identity)


def _group(number: int) -> list[str]:
    shown = subprocess.run(["ps", "-o", "stat=", "-g", str(number)], capture_output=True, text=True, check=False)
    return [state for state in shown.stdout.split() if not state.startswith("Z")]
