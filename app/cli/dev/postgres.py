"""PostgreSQL 18 from the wheel, as a child of ours: durable, on loopback, with a password."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.cli.dev.account import Account, as_popen
from app.cli.dev.errors import DevError
from app.cli.dev.homes import postgres_programs
from app.cli.dev.ports import LOOPBACK
from app.cli.dev.process import Child, Program, wait_until

SUPERUSER = "postgres"
RANK = 90
_START_SECONDS = 60.0
_INITDB = [
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
]
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    # A young server has no old segments of its log to write over: once a second, under load, a commit would wait for
    # 16 MB of zeros.
    "wal_init_zero": "off",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "10s",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class PostgresHome:
    """Where one PostgreSQL keeps its data, and who runs it."""

    home: Path
    account: Account | None
    password: str

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    def initialise(self) -> None:
        """Makes the data directory when it is missing; an interrupted attempt is begun anew."""
        if not (self.data / "PG_VERSION").is_file():
            building = self.home / "data.new"
            shutil.rmtree(building, ignore_errors=True)
            self._initdb(building)
            building.rename(self.data)

    def program(self, port: int, log: Path) -> Program:
        """The server; it is asked to end by SIGINT, which is PostgreSQL's fast shutdown."""
        settings = [f"--{name}={value}" for name, value in (_SETTINGS | {"port": str(port)}).items()]
        return Program(
            name="postgres",
            argv=[str(postgres_programs(self.account) / "postgres"), "-D", str(self.data), *settings],
            log=log,
            rank=RANK,
            cwd=self.home,
            account=self.account,
            stop_signal=signal.SIGINT,
            stop_seconds=30.0,
        )

    def url(self, port: int) -> str:
        """The superuser's URL."""
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{port}/postgres"

    def _initdb(self, target: Path) -> None:
        password_file = self.home / "password"
        password_file.touch(mode=0o600)
        try:
            password_file.write_text(self.password)
            if self.account:
                shutil.chown(password_file, self.account.uid, self.account.gid)
            self._run_initdb(target, password_file)
        finally:
            password_file.unlink()

    def _run_initdb(self, target: Path, password_file: Path) -> None:
        done = subprocess.run(
            [postgres_programs(self.account) / "initdb", "-D", target, f"--pwfile={password_file}", *_INITDB],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            **as_popen(self.account),
        )
        if done.returncode:
            msg = f"initdb failed: {done.stderr.strip().splitlines()[-1:]}"
            raise DevError(msg)


def wait_for_postgres(url: str, ended: Callable[[], bool]) -> bool:
    """Whether the server answers queries before it ends or a minute is over."""
    return wait_until(lambda: ended() or _answers(url), _START_SECONDS) and not ended()


def start_postgres(program: Program, url: str, pids: Path) -> Child:
    """A server that answers; DevError with its last words otherwise."""
    child = Child(program, pids)
    if not wait_for_postgres(url, lambda: child.ended() is not None):
        child.stop()
        msg = f"PostgreSQL does not start: {child.last_words()} ({program.log})"
        raise DevError(msg)
    return child


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False
