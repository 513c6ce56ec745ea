"""A Redis that a test may stop and start again."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.dev.account import server_account
from app.cli.dev.homes import make_home
from app.cli.dev.ports import any_free
from app.cli.dev.process import Child
from app.cli.dev.redis import RedisHome, start_redis


class OwnRedis:
    """A server on a port of its own, which forgets everything when it stops."""

    def __init__(self, folder: Path) -> None:
        account = server_account()
        self._folder = folder
        self._home = RedisHome(make_home(folder / "redis", account), account, "password")
        self._port = any_free()
        self._child: Child | None = None
        self.url = self._home.url(self._port)

    def start(self) -> None:
        """Returns when it answers."""
        self._child = start_redis(self._home.program(self._port, self._folder / "redis.log"), self.url, self._folder)

    def stop(self) -> None:
        """Returns when it is gone."""
        if self._child is not None:
            self._child.stop()
            self._child = None


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """A server that runs, and is ended with the block."""
    with tempfile.TemporaryDirectory(prefix="postrider-redis-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the server's account passes through to a folder of its own
        server = OwnRedis(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
