"""What a process tells of itself, on a port and a thread of its own."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import REGISTRY
from prometheus_client.exposition import make_wsgi_app

from app.kit.telemetry.logs import get_logger

_RETRY_SECONDS = 10.0
_READ_SECONDS = 10.0
_STOP_SECONDS = 5.0
_REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
_TEXT = ("content-type", "text/plain; charset=utf-8")
logger = get_logger(__name__)
Check = Callable[[], bool]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Management:
    """Serves /metrics, and a path for each check, on the first free one of `ports` ports from `port` on.

    With exemplars, for whoever accepts OpenMetrics. Where no port is free it says so and tries again; nobody waits for
    it. A process that is forked from this one has none of it.
    """

    def __init__(self, host: str, port: int, ports: int, checks: Mapping[str, Check] | None = None) -> None:
        self._host, self._range, self._checks = host, range(port, port + ports), dict(checks or {})
        self._metrics = make_wsgi_app(REGISTRY)
        self._over = threading.Event()
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._serve, name="management", daemon=True)

    @property
    def port(self) -> int | None:
        """Where it serves; None as long as it found no port."""
        return None if self._server is None else self._server.server_port

    def start(self) -> None:
        """Takes a port if one is free, and serves from then on."""
        self._server = self._first_free()
        if self._server is None:
            logger.warning("management_ports_taken", first=self._range.start, count=len(self._range))
        os.register_at_fork(after_in_child=self._forget)
        self._thread.start()

    def stop(self) -> None:
        """Gives the port back."""
        self._over.set()
        if self._server is not None:
            self._server.shutdown()
        self._thread.join(_STOP_SECONDS)

    def _serve(self) -> None:
        while self._server is None and not self._over.wait(_RETRY_SECONDS):
            self._server = self._first_free()
        if self._server is not None and not self._over.is_set():
            with self._server:
                self._server.serve_forever(poll_interval=0.1)

    def _first_free(self) -> "_Server | None":
        return next(filter(None, map(self._bound, self._range)), None)

    def _bound(self, port: int) -> "_Server | None":
        try:
            server = _Server((self._host, port), _Handler)
        except OSError:
            return None
        server.set_app(self._answer)
        return server

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        check = self._checks.get(path)
        if check is None:
            start_response("404 Not Found", [_TEXT])
            return [b"not found\n"]
        well = check()
        start_response("200 OK" if well else "503 Service Unavailable", [_TEXT])
        return [b"ok\n" if well else b"failed\n"]

    def _forget(self) -> None:
        """In a child: what was inherited would keep the port beyond its owner's end."""
        if self._server is not None:
            self._server.socket.close()


@contextmanager
def managed(host: str, port: int | None, ports: int, checks: Mapping[str, Check] | None = None) -> Iterator[None]:
    """Serves for as long as the block runs; nothing where no port is given."""
    if port is None:
        yield
        return
    management = Management(host, port, ports, checks)
    management.start()
    try:
        yield
    finally:
        management.stop()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """As all do, but without asking a name server what this host is called."""
        self.socket.setsockopt(*_REUSE)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 as its base has it
        """A scraper that hangs up is no error of ours."""
        logger.warning("management_request_failed", client=str(client_address), error=repr(sys.exception()))


class _Handler(WSGIRequestHandler):
    timeout = _READ_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 as its base has it
        """Scrapes are not worth a line."""
