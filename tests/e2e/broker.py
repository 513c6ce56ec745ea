"""A Redis that a test may kill and bring back on the same port, empty."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.dev.account import server_account
from app.cli.dev.homes import make_home, remove_home
from app.cli.dev.ports import any_free
from app.cli.dev.process import Child
from app.cli.dev.redis import RedisHome, start_redis


class Broker:
    """The wheel's Redis, without persistence."""

    def __init__(self, folder: Path) -> None:
        account = server_account()
        self._folder = folder
        self._home = RedisHome(make_home(folder / "redis", account), account, "broker")
        self._port = any_free()
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """Where it answers, when it runs."""
        return self._home.url(self._port)

    def start(self) -> None:
        """Returns when it answers."""
        program = self._home.program(self._port, self._folder / "redis.log")
        self._child = start_redis(program, self.url, self._folder)

    def kill(self) -> None:
        """Ends it without a word."""
        assert self._child
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop()
        self._child = None

    def close(self) -> None:
        """Ends it and removes its files."""
        if self._child:
            self._child.stop()
        remove_home(self._folder / "redis")


@contextmanager
def running_broker() -> Iterator[Broker]:
    """A Redis of one's own for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="postrider-broker-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server's account passes through to a folder of its own
        broker = Broker(folder)
        try:
            broker.start()
            yield broker
        finally:
            broker.close()
