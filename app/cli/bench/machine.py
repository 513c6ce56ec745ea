"""The machine under test: real servers, the product's own processes, and what each costs."""

import base64
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, LiteralString
from urllib.error import URLError

import psycopg
import redis
from psycopg import sql

from app.cli.bench.usage import Usage, parent_of
from app.cli.dev.errors import DevError
from app.cli.dev.ports import LOOPBACK, any_free
from app.cli.dev.process import Child, Program, last_words, wait_until
from app.cli.dev.roles import DatabaseUrls, create_roles, with_database
from app.cli.embedded import embedded_postgres, embedded_redis
from app.cli.processes import api_module, worker_module
from app.kit.encryption import KeyRing

_START_SECONDS = 60.0
_DRAIN_SECONDS = 30
_MODULE = [sys.executable, "-m"]
_STATEMENT = re.compile(rb"LOG:  (?:statement|execute [^:]*): ")


@dataclass(frozen=True, slots=True)
class Reading:
    """What was spent up to a moment: CPU seconds by name, bytes of WAL, commands of Redis."""

    cpu: dict[str, float]
    wal: int
    commands: int

    def since(self, before: "Reading") -> "Reading":
        """What was spent from then to now."""
        cpu = {name: seconds - before.cpu[name] for name, seconds in self.cpu.items()}
        return Reading(cpu, self.wal - before.wal, self.commands - before.commands)


class Machine:
    """Starts and stops processes. Use it from the main thread; every child ends with this process.

    `processes` is how many the API, the workers and each reference have.
    """

    def __init__(self, folder: Path, postgres_url: str, redis_url: str, processes: int) -> None:
        self.folder = folder
        self.processes = processes
        self.postgres_url = postgres_url
        self.redis_url = redis_url
        self._encryption_key = base64.b64encode(os.urandom(32)).decode()
        self.ring = KeyRing.parse({"bench": self._encryption_key}, "bench")
        self.usage = Usage()
        self.usage.add("postgres", _postmaster(postgres_url))
        with redis.Redis.from_url(redis_url) as client:
            self.usage.add("redis", int(client.info("server")["process_id"]))

    def database(self, name: str) -> DatabaseUrls:
        """A new database with the product's tables."""
        urls = create_roles(self.postgres_url, database=name)
        log = self.folder / "migrate.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [*_MODULE, "app.cli.main", "migrate"],
                env=self._environment(urls),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise DevError(f"the migration failed: {last_words(log)} ({log})")
        return urls

    def clone(self, original: str, name: str) -> DatabaseUrls:
        """A new database with all that another one holds, to which nobody may be connected."""
        copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(original))
        with psycopg.connect(self.postgres_url, autocommit=True) as connection:
            connection.execute(copied)
        return create_roles(self.postgres_url, database=name)

    def superuser(self, name: str) -> str:
        """The superuser's URL of a database."""
        return with_database(self.postgres_url, name)

    def execute(self, statement: LiteralString, database: str = "postgres") -> Any:  # noqa: ANN401 any column
        """Runs a statement as the superuser, outside of a transaction; the first value that comes back, if any."""
        with psycopg.connect(self.superuser(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row and row[0]

    def peaks(self, name: str) -> dict[str, int]:
        """The most bytes that each process of this name has held at once."""
        return {f"{name} {number}": peak for number, (_, peak) in enumerate(sorted(self.usage.peaks(name).items()))}

    def read_meters(self, *names: str) -> Reading:
        """What the processes of these names, the database and the broker have spent so far."""
        wal = self.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
        with redis.Redis.from_url(self.redis_url) as client:
            commands = sum(int(one["calls"]) for one in client.info("commandstats").values())
        return Reading({name: self.usage.cpu_seconds(name) for name in names}, int(wal), commands)

    @contextmanager
    def counting_statements(self) -> Iterator[list[int]]:
        """Adds to the list, at the end, how many statements were executed in the block; the server logs them."""
        counts: list[int] = []
        log = self.folder / "postgres.log"
        with log.open("rb") as file:
            self._log_statements("ALTER SYSTEM SET log_statement = 'all'")
            file.seek(0, os.SEEK_END)
            try:
                yield counts
            finally:
                self._log_statements("ALTER SYSTEM RESET log_statement")
            counts.append(len(_STATEMENT.findall(file.read())))

    def _log_statements(self, setting: LiteralString) -> None:
        self.execute(setting)
        self.execute("SELECT pg_reload_conf()")

    @contextmanager
    def running(self, name: str, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Child]:
        """Runs a module until the end of the block."""
        log = self.folder / f"{name}.log"
        program = Program(name, [*_MODULE, *words], log, env=env or dict(os.environ), stop_seconds=30)
        child = Child(program, self.folder)
        self.usage.add(name, child.pid)
        try:
            yield child
        finally:
            self.usage.remove(name)
            child.stop()

    @contextmanager
    def api(
        self, urls: DatabaseUrls, name: str = "api", more: Mapping[str, str] | None = None, *, silent: bool = False
    ) -> Iterator[str]:
        """Our API, with the product's default settings and `more`; yields its URL. A silent one counts nothing."""
        port = any_free()
        words = api_module([LOOPBACK], port, self.processes, _DRAIN_SECONDS)
        env = {**self._environment(urls), **(more or {})}
        with self.running(name, *_silenced(words, silent=silent), env=env) as child:
            await_http(child, f"http://127.0.0.1:{port}/api/v1/health")
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def plain(
        self, name: str, app: str, env: Mapping[str, str] | None = None, worker: str = "uvicorn_worker.UvicornWorker"
    ) -> Iterator[str]:
        """A reference's ASGI application, served as ours is; yields its URL."""
        port = any_free()
        server = ["gunicorn", f"--worker-class={worker}", "--no-control-socket"]
        sizes = [f"--workers={self.processes}", f"--bind=127.0.0.1:{port}"]
        with self.running(name, *server, *sizes, app, env={**os.environ, **(env or {})}) as child:
            await_http(child, f"http://127.0.0.1:{port}/openapi.json")
            yield f"http://127.0.0.1:{port}"

    @contextmanager
    def worker(
        self,
        urls: DatabaseUrls,
        name: str = "worker",
        redis_database: int = 0,
        more: Mapping[str, str] | None = None,
        *,
        silent: bool = False,
    ) -> Iterator[Child]:
        """Our workers, with the product's default settings and `more`. Silent ones count nothing."""
        words = _silenced(worker_module(self.processes), silent=silent)
        env = {**self._environment(urls, redis_database), **(more or {})}
        with self.running(name, *words, env=env) as child:
            yield child

    def _environment(self, urls: DatabaseUrls, redis_database: int = 0) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("POSTRIDER_", "OTEL_"))}
        return {
            **kept,
            **urls.as_environment(),
            "POSTRIDER_ENVIRONMENT": "test",
            "POSTRIDER_REDIS__URL": f"{self.redis_url.rpartition('/')[0]}/{redis_database}",
            "POSTRIDER_SECRETS__KEYS": f'{{"bench": "{self._encryption_key}"}}',
            "POSTRIDER_SECRETS__ACTIVE": "bench",
            "POSTRIDER_EGRESS__ALLOW": "127.0.0.0/8,::1/128",
        }


@contextmanager
def machine(folder: Path, processes: int = 1) -> Iterator[Machine]:
    """A machine with an empty PostgreSQL and an empty Redis, in `folder`; both are removed at the end."""
    with ExitStack() as stack:
        postgres_url = stack.enter_context(embedded_postgres(folder))
        redis_url = stack.enter_context(embedded_redis(folder, appendonly=True))
        yield Machine(folder, postgres_url, redis_url, processes)


def await_http(child: Child, url: str) -> None:
    """Returns when the child answers; DevError when it ends before or takes too long."""
    wait_until(lambda: child.ended() is not None or _answers(url), _START_SECONDS)
    if child.ended() is not None or not _answers(url):
        raise DevError(f"{child.program.name} does not start: {child.last_words()} ({child.program.log})")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # nosec B310  # a URL of our own
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def _silenced(words: Sequence[str], *, silent: bool) -> list[str]:
    return ["app.cli.bench.silent", *words] if silent else list(words)


def _postmaster(url: str) -> int:
    with psycopg.connect(url) as connection:
        return parent_of(connection.info.backend_pid)
