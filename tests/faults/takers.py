"""Whoever takes what processes tell of themselves, at a port that stays."""

import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, cast

from app.cli.dev.ports import LOOPBACK, any_free
from tests.exported import exported, total
from tests.system import System

PARTS = ("api", "worker", "beat")
TALKATIVE = {"POSTRIDER_TELEMETRY__ACCESS_LINES": "1000000", "POSTRIDER_TELEMETRY__SAMPLE": "1"}
"""The environment of processes to whom every request and every attempt is a line, and every message a trace."""

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LENGTH = b"content-length:"
_POLL_SECONDS = 0.05


class Taker:
    """Takes every request, unless a block lets it be absent, slow or raving; `taken` is how many it took."""

    def __init__(self) -> None:
        self.port = any_free()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.taken = 0
        self._server: _Server | None = None
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._begin(self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @contextmanager
    def absent(self) -> Iterator[None]:
        """Nobody listens."""
        self._end()
        try:
            yield
        finally:
            self._begin(self._take)

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Takes connections, reads nothing and says nothing."""
        with self._behaving(lambda _connection: self._over.wait()):
            yield

    @contextmanager
    def raving(self) -> Iterator[None]:
        """Answers with what is no HTTP, for as long as anybody listens."""
        with self._behaving(self._rave):
            yield

    @contextmanager
    def _behaving(self, behaviour: "Behaviour") -> Iterator[None]:
        self._end()
        self._begin(behaviour)
        try:
            yield
        finally:
            self._end()
            self._begin(self._take)

    def _begin(self, behaviour: "Behaviour") -> None:
        self._over = threading.Event()
        self._server = _Server(self.port, behaviour)
        threading.Thread(target=self._server.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()

    def _end(self) -> None:
        self._over.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _take(self, connection: "_Connection") -> None:
        length = 0
        while (line := connection.rfile.readline()) not in {b"\r\n", b""}:
            if line.lower().startswith(_LENGTH):
                length = int(line.split(b":")[1])
        connection.rfile.read(length)
        connection.request.sendall(_ANSWER)
        self.taken += 1

    def _rave(self, connection: "_Connection") -> None:
        over = self._over
        with suppress(OSError):
            while not over.wait(_POLL_SECONDS):
                connection.request.sendall(os.urandom(4096))


class _Connection(socketserver.StreamRequestHandler):
    timeout = 30.0

    def handle(self) -> None:
        """Behaves as its server was told."""
        cast("_Server", self.server).behaviour(self)


Behaviour = Callable[[_Connection], object]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        super().__init__((LOOPBACK, port), _Connection)


def count_dropped(system: System, signal: str) -> float:
    """How much of a signal the processes that run now count as lost."""
    return total(exported(system, *PARTS), "postrider_telemetry_dropped_total", signal=signal)
