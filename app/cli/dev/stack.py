"""What runs on a development machine: two servers, the API, a worker and beat, and the settings they share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.cli.dev.account import server_account
from app.cli.dev.errors import DevError
from app.cli.dev.folder import Folder, State, write_private
from app.cli.dev.homes import make_home
from app.cli.dev.identity import MARK
from app.cli.dev.ports import LOOPBACK, free_range, keep_or_pick, loopback_hosts
from app.cli.dev.postgres import PostgresHome, wait_for_postgres
from app.cli.dev.process import Child, Program, last_words, wait_until
from app.cli.dev.redis import RedisHome, redis_answers
from app.cli.dev.roles import DatabaseUrls, create_roles, named_in, shown_url
from app.cli.dev.supervisor import Supervisor

LOOPBACK_NETWORKS = "127.0.0.0/8,::1/128"
_BEAT, _WORKER, _API = 10, 20, 30
_START_SECONDS = 60.0
_WORKER_READY = b" ready."
_SPARE_PORTS = 3  # for a part's first process, and those that start while others end


@dataclass(frozen=True)
class Sizes:
    """How many processes; small enough for two cores."""

    api: int = 2
    worker: int = 2


class Stack:
    """Starts the parts one after another; each method returns when its part answers."""

    def __init__(self, folder: Folder, state: State, supervisor: Supervisor, say: Callable[[str, str], None]) -> None:
        self._folder, self._state, self._supervisor, self._say = folder, state, supervisor, say
        self._targets: list[dict[str, object]] = []
        self._environment = os.environ | {MARK: str(folder.path), "PYTHONUNBUFFERED": "1"}

    def databases(self) -> DatabaseUrls:
        """The three roles' URLs on the server that is named, else on our own."""
        named = os.environ.get("POSTRIDER_DATABASE__URL")
        if not named:
            return create_roles(self._own_postgres())
        urls = named_in(os.environ) or create_roles(named, seed=self._state.roles_seed)
        self._say("postgres", f"yours, at {shown_url(urls.api)}")
        return urls

    def redis(self) -> str:
        """The URL of the Redis that is named, else of our own."""
        named = os.environ.get("POSTRIDER_REDIS__URL")
        if not named:
            return self._own_redis()
        if not redis_answers(named):
            raise DevError(f"Redis at {shown_url(named)} does not answer")
        self._say("redis", f"yours, at {shown_url(named)}")
        return named

    def configure(self, urls: DatabaseUrls, redis_url: str, port: int) -> None:
        """Sets what the processes read. What the caller's environment says about the rest stays."""
        allowed = os.environ.get("POSTRIDER_EGRESS__ALLOW")
        defaults = {
            "POSTRIDER_ENVIRONMENT": "development",
            "POSTRIDER_PUBLIC_URL": f"http://localhost:{port}",
            "POSTRIDER_DELIVERY__DRAIN_SECONDS": "5",
            "POSTRIDER_SECRETS__KEYS": f'{{"dev": "{self._state.encryption_key}"}}',
            "POSTRIDER_SECRETS__ACTIVE": "dev",
            **self._mail(),
        }
        self._environment = {
            **defaults,
            **self._environment,
            **urls.as_environment(),
            "POSTRIDER_REDIS__URL": redis_url,
            "POSTRIDER_EGRESS__ALLOW": f"{allowed},{LOOPBACK_NETWORKS}" if allowed else LOOPBACK_NETWORKS,
        }

    def _mail(self) -> dict[str, str]:
        """Mail goes into a folder, unless the caller's environment names a server."""
        if "POSTRIDER_MAIL__URL" in os.environ:
            return {}
        return {"POSTRIDER_MAIL__FOLDER": str(self._folder.path / "mail")}

    def migrate(self) -> None:
        """Brings the tables up to date, as the migrator."""
        log = self._log("migrate")
        with log.open("wb") as output:
            done = subprocess.run(
                _command("migrate"), env=self._environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise DevError(f"the migration failed: {last_words(log)} ({log})")

    def api(self, port: int, processes: int, healthy: Callable[[], bool]) -> None:
        """Starts the API and waits until it is healthy."""
        hosts = [f"--host={host}" for host in loopback_hosts()]
        words = ["api", f"--port={port}", f"--workers={processes}", "--drain-seconds=10", *hosts]
        child = self._start("api", words, _API, processes)
        self._await(child, healthy)

    def worker(self, processes: int) -> None:
        """Starts the workers and waits until they say that they are ready."""
        child = self._start("worker", ["worker", f"--processes={processes}"], _WORKER, processes, stop_seconds=20)
        self._await(child, lambda: _WORKER_READY in child.program.log.read_bytes())

    def beat(self) -> None:
        """Starts beat."""
        self._start("beat", ["beat", f"--schedule={self._folder.path / 'beat-schedule'}"], _BEAT, 1)

    def _own_postgres(self) -> str:
        account, state = server_account(), self._state
        server = PostgresHome(make_home(self._folder.path / "postgres", account), account, state.postgres_password)
        server.initialise()
        state.postgres_port = keep_or_pick(state.postgres_port)
        self._folder.save(state)
        url = server.url(state.postgres_port)
        child = self._supervisor.start(server.program(state.postgres_port, self._log("postgres")))
        if not wait_for_postgres(url, lambda: child.ended() is not None):
            raise DevError(f"PostgreSQL does not start: {child.last_words()} ({child.program.log})")
        self._say("postgres", f"18, on port {state.postgres_port}")
        return url

    def _own_redis(self) -> str:
        account, state = server_account(), self._state
        home = make_home(self._folder.path / "redis", account)
        server = RedisHome(home, account, state.redis_password, appendonly=True)
        state.redis_port = keep_or_pick(state.redis_port)
        self._folder.save(state)
        url = server.url(state.redis_port)
        child = self._supervisor.start(server.program(state.redis_port, self._log("redis")))
        self._await(child, lambda: redis_answers(url))
        self._say("redis", f"6.2, on port {state.redis_port}")
        return url

    def _start(self, name: str, words: list[str], rank: int, processes: int, *, stop_seconds: float = 15) -> Child:
        environment = {**self._environment, **self._told(name, processes + _SPARE_PORTS)}
        program = Program(name, _command(*words), self._log(name), rank, env=environment, stop_seconds=stop_seconds)
        return self._supervisor.start(program)

    def _told(self, name: str, count: int) -> dict[str, str]:
        """Where a part's processes tell of themselves, written down for Prometheus."""
        first = free_range(count)
        addresses = [f"{LOOPBACK}:{port}" for port in range(first, first + count)]
        labels = {"job": f"postrider-{name}", "version": "stable"}
        self._targets.append({"targets": addresses, "labels": labels})
        write_private(self._folder.targets, json.dumps(self._targets, indent=1))
        return {"POSTRIDER_TELEMETRY__PORT": str(first), "POSTRIDER_TELEMETRY__PORTS": str(count)}

    def _await(self, child: Child, ready: Callable[[], bool]) -> None:
        wait_until(lambda: child.ended() is not None or ready(), _START_SECONDS)
        if child.ended() is not None or not ready():
            program = child.program
            raise DevError(f"{program.name} does not start: {child.last_words()} ({program.log})")

    def _log(self, name: str) -> Path:
        """A log of this run; that of the one before stays beside it."""
        log = self._folder.logs / f"{name}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))
        log.touch(mode=0o600)
        return log


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "app.cli.main", *words]
