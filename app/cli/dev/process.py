"""Children that die with their parent, are stopped in order and are known again after a crash."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from app.cli.dev.account import Account, as_popen
from app.cli.dev.errors import DevError
from app.cli.dev.identity import Identity, identify, is_alive, marked

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_POLL_SECONDS = 0.05
_TAIL_BYTES = 20_000
_LEFTOVER_SECONDS = 5.0  # they were asked when their parent died, and what they used may be gone
_ERROR = re.compile(r"[\w.]+(Error|Exception)\b|.*\b(FATAL|CRITICAL)\b")


@dataclass(frozen=True)
class Program:
    """What to run, as whom, and how it is asked to end. `rank` orders the end: the lowest first."""

    name: str
    argv: Sequence[str]
    log: Path
    rank: int = 0
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path | None = None
    account: Account | None = None
    stop_signal: int = signal.SIGTERM
    stop_seconds: float = 15.0


@dataclass(frozen=True)
class Record:
    """What a pid file says about a child."""

    name: str
    rank: int
    stop_signal: int
    stop_seconds: float
    identity: Identity


class Child:
    """One running program. Start it from the main thread: its life hangs on the thread that forked it."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self._pid_file = folder / f"{program.name}.pid"
        self._process = _spawn(program)
        identity = identify(self._process.pid)
        if identity:
            self._pid_file.write_text(json.dumps(asdict(_record(program, identity))))

    @property
    def pid(self) -> int:
        """The child's pid, which is its process group too."""
        return self._process.pid

    def ended(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Asks it to end, waits for as long as the program may take, then ends its whole group."""
        if self.ended() is None:
            self._process.send_signal(self.program.stop_signal)
        try:
            self._process.wait(self.program.stop_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _kill_group(self.pid)
        self._pid_file.unlink(missing_ok=True)

    def last_words(self) -> str:
        """What its log says of why it ended."""
        return last_words(self.program.log)


def last_words(log: Path) -> str:
    """The last line of a log that names an error, else the last that is not empty, else a dash."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["-"])[-1]


def end_leftovers(folder: Path, mark: str) -> list[str]:
    """Ends what an earlier supervisor of this folder left behind, and only that; returns the names.

    A process is ours when its pid file names its very start, or when its environment carries the mark.
    """
    records = sorted(_records(folder), key=lambda record: record.rank)
    for record in records:
        _end(record.identity, record.stop_signal, min(record.stop_seconds, _LEFTOVER_SECONDS))
    strays = marked(mark)
    for stray in strays:
        _end(stray, signal.SIGTERM, _LEFTOVER_SECONDS)
    for file in folder.glob("*.pid"):
        file.unlink(missing_ok=True)
    return [record.name for record in records] + [f"pid {stray.pid}" for stray in strays]


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _record(program: Program, identity: Identity) -> Record:
    return Record(program.name, program.rank, program.stop_signal, program.stop_seconds, identity)


def _records(folder: Path) -> Iterable[Record]:
    for file in folder.glob("*.pid"):
        with suppress(ValueError, TypeError, KeyError):  # half-written when the machine went down
            values = json.loads(file.read_text())
            record = Record(**values | {"identity": Identity(**values["identity"])})
            if is_alive(record.identity):
                yield record


def _end(identity: Identity, stop_signal: int, seconds: float) -> None:
    for number, patience in ((stop_signal, seconds), (signal.SIGKILL, 5.0)):
        if is_alive(identity):
            with suppress(ProcessLookupError):
                os.kill(identity.pid, number)
            wait_until(lambda: not is_alive(identity), patience)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        os.killpg(pid, signal.SIGKILL)


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    try:
        with program.log.open("ab") as log:
            return subprocess.Popen(
                program.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=program.env,
                cwd=program.cwd,
                start_new_session=True,  # a Ctrl-C in the terminal is the supervisor's alone
                preexec_fn=_die_with(os.getpid(), program.stop_signal),
                **as_popen(program.account),
            )
    except OSError as error:
        msg = f"{program.name} does not start: {error}"
        raise DevError(msg) from error


def _die_with(parent: int, number: int) -> Callable[[], None]:
    """What the child does between fork and exec, after it has changed its user."""

    def prepare() -> None:
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(asked, signal.SIG_DFL)  # a shell that starts us in the background ignores SIGINT
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it died before we asked
                os._exit(1)

    return prepare
