"""Redis 6.2 from the wheel, as a child of ours: on loopback, with a password."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.cli.dev.account import Account
from app.cli.dev.errors import DevError
from app.cli.dev.homes import redis_program
from app.cli.dev.ports import LOOPBACK
from app.cli.dev.process import Child, Program, wait_until

RANK = 80
_START_SECONDS = 20.0
_ONCE = Retry(NoBackoff(), 0)  # the client's own retries take seconds


@dataclass(frozen=True)
class RedisHome:
    """Where one Redis keeps its files, and who runs it."""

    home: Path
    account: Account | None
    password: str
    appendonly: bool = False

    def configure(self, port: int) -> Path:
        """Writes the configuration, which holds the password and so is nobody else's to read."""
        file = self.home / "redis.conf"
        file.touch(mode=0o600)
        file.write_text(self._text(port))
        if self.account:
            shutil.chown(file, self.account.uid, self.account.gid)
        return file

    def program(self, port: int, log: Path) -> Program:
        """The server."""
        return Program(
            name="redis",
            argv=[str(redis_program(self.account)), str(self.configure(port))],
            log=log,
            rank=RANK,
            cwd=self.home,
            account=self.account,
        )

    def url(self, port: int) -> str:
        """The URL with its password."""
        return f"redis://:{self.password}@{LOOPBACK}:{port}/0"

    def _text(self, port: int) -> str:
        settings = {
            "bind": LOOPBACK,
            "port": port,
            "dir": ".",
            "save": '""',
            "appendonly": "yes" if self.appendonly else "no",
            "maxmemory-policy": "noeviction",
            "requirepass": self.password,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def start_redis(program: Program, url: str, pids: Path) -> Child:
    """A server that answers; DevError with its last words otherwise."""
    child = Child(program, pids)
    wait_until(lambda: child.ended() is not None or redis_answers(url), _START_SECONDS)
    if child.ended() is not None or not redis_answers(url):
        child.stop()
        msg = f"Redis does not start: {child.last_words()} ({program.log})"
        raise DevError(msg)
    return child


def redis_answers(url: str) -> bool:
    """Whether a Redis (or Valkey) answers PING there with this password."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=_ONCE) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
