"""PostgreSQL and Redis of our own that can be killed, and what a fault leaves to be started again."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import redis

from app.cli.dev.account import Account, server_account
from app.cli.dev.errors import DevError
from app.cli.dev.homes import make_home, remove_home
from app.cli.dev.ports import any_free
from app.cli.dev.postgres import PostgresHome, start_postgres
from app.cli.dev.process import Child, Program
from app.cli.dev.redis import RedisHome, start_redis
from tests.faults.processes import frozen, kill, tree, wait_for

_RESTART_SECONDS = 40.0
_KEYS = 20_000


class Postgres:
    """The real server; start it from the main thread."""

    def __init__(self, folder: Path, account: Account | None) -> None:
        self._folder = folder
        self._home = PostgresHome(make_home(folder / "postgres", account), account, secrets.token_urlsafe(24))
        self.port = any_free()
        self.url = self._home.url(self.port)
        self._home.initialise()
        self._child: Child
        self.start()

    @property
    def pid(self) -> int:
        """The postmaster's."""
        return self._child.pid

    @property
    def pids(self) -> list[int]:
        """The postmaster and all its processes."""
        return tree(self.pid)

    def start(self, **settings: str) -> None:
        """Starts it, again if need be: after a SIGKILL its old processes hold the data for a moment."""
        program = self._home.program(self.port, self._folder / "postgres.log")
        program = replace(program, argv=[*program.argv, *(f"--{name}={value}" for name, value in settings.items())])
        until = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                self._child = start_postgres(program, self.url, self._folder)
            except DevError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT is the fast way, SIGQUIT the immediate one, SIGKILL the crash of the postmaster."""
        os.kill(self.pid, number)
        wait_for(lambda: self._child.ended() is not None, 30, "the end of PostgreSQL")
        self._child.stop()

    def backends(self, role: str) -> list[int]:
        """The processes that serve connections of a role."""
        rows = self.query("SELECT pid FROM pg_stat_activity WHERE usename = %s", role)
        return [row[0] for row in rows]

    def query(self, statement: str, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement brings, as the superuser, in a transaction of its own; nothing when it brings no rows."""
        with psycopg.connect(self.url, dbname=database, connect_timeout=5) as connection:
            found = connection.execute(statement.encode(), values or None)
            return found.fetchall() if found.description else []

    def remove(self) -> None:
        """Ends it and removes its data."""
        with suppress(ProcessLookupError):
            self._child.stop()
        remove_home(self._folder / "postgres")


class Redis:
    """The real server, without persistence: what is killed is empty afterwards."""

    def __init__(self, folder: Path, account: Account | None) -> None:
        self._folder = folder
        self._home = RedisHome(make_home(folder / "redis", account), account, secrets.token_urlsafe(24))
        self.port = any_free()
        self.url = self._home.url(self.port)
        self._child: Child
        self.start()

    @property
    def pid(self) -> int:
        """The server's."""
        return self._child.pid

    def start(self) -> None:
        """Starts it."""
        self._child = start_redis(self._program(), self.url, self._folder)

    def kill(self) -> None:
        """SIGKILL."""
        kill(self.pid)
        self._child.stop()

    @contextmanager
    def absent(self) -> Iterator[None]:
        """Kills it for the length of the block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Holds it by SIGSTOP."""
        with frozen([self.pid]):
            yield

    @contextmanager
    def loading(self, seconds: float) -> Iterator[None]:
        """Restarts it so that it reads its data for so long, and refuses everything meanwhile."""
        # It looks up from reading every 2 MiB only, so there must be many.
        self.command("CONFIG", "SET", "rdbcompression", "no")
        self.command("DEBUG", "POPULATE", str(_KEYS), "key", "4096")
        self.command("SAVE")
        self.kill()
        self._child = Child(self._program("--key-load-delay", str(int(seconds * 1e6 / _KEYS))), self._folder)
        try:
            yield
        finally:
            self.kill()
            (self._home.home / "dump.rdb").unlink()
            self.start()

    def _program(self, *options: str) -> Program:
        program = self._home.program(self.port, self._folder / "redis.log")
        return replace(program, argv=[*program.argv, *options])

    def command(self, *words: str) -> object:
        """What redis-cli would say."""
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            answer: object = client.execute_command(*words)
            return answer

    def remove(self) -> None:
        """Ends it and removes its files."""
        self._child.stop()
        remove_home(self._folder / "redis")


@contextmanager
def own_servers(folder: Path) -> Iterator[tuple[Postgres, Redis]]:
    """Both, for the length of the block."""
    account = server_account()
    postgres = Postgres(folder, account)
    try:
        broker = Redis(folder, account)
        try:
            yield postgres, broker
        finally:
            broker.remove()
    finally:
        postgres.remove()
