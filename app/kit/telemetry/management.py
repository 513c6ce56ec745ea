"""What a process serves to those who run it: its metrics and its probes, from a thread and on a port of its own."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

from app.kit.telemetry.logs import get_logger

RETRY_SECONDS = 5.0
CLIENT_SECONDS = 5.0
KEEP_SECONDS = 1.0
Probe = Callable[[], str | None]
"""What is wrong, in a sentence; None when nothing is."""
logger = get_logger(__name__)


def kept(probe: Probe, seconds: float = KEEP_SECONDS) -> Probe:
    """The probe, asked once in so many seconds at most, by one at a time: the others get what it said last."""
    lock = threading.Lock()
    said: tuple[float, str | None] = (float("-inf"), "not asked yet")

    def ask() -> str | None:
        nonlocal said
        with lock:
            if time.monotonic() - said[0] >= seconds:
                said = (time.monotonic(), probe())
            return said[1]

    return ask


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Binds without asking for the name of the address, which may take as long as a name server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 socketserver's own
        """Notes what a client did, such as to go away."""
        logger.info("management_request_failed", error=repr(sys.exc_info()[1]))


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
        """Says nothing: it is asked all the time."""


class Management:
    """Serves `/metrics` and the given probes on the first free port of a range, as soon as there is one.

    A probe answers 200, or 503 with what is wrong.
    """

    def __init__(
        self, host: str, ports: Iterable[int], probes: Mapping[str, Probe], registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._host = host
        self._ports = list(ports)
        self._probes = probes
        # It answers as text or as OpenMetrics, which has exemplars, by what is accepted.
        self._metrics = make_wsgi_app(registry)
        self._server: _Server | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="management", daemon=True)

    def start(self) -> None:
        """Starts the thread; returns at once."""
        if self._ports:
            self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        self._ended.set()
        if self._server is not None:
            self._server.shutdown()
        if self._thread.is_alive():
            self._thread.join(timeout=CLIENT_SECONDS)

    def _run(self) -> None:
        self._server = self._bound()
        while self._server is None and not self._ended.wait(RETRY_SECONDS):
            self._server = self._bound()
        if self._server is None:
            return
        with self._server:
            if not self._ended.is_set():
                self._server.serve_forever()

    def _bound(self) -> _Server | None:
        for port in self._ports:
            try:
                server = _Server((self._host, port), _Handler)
            except OSError as error:
                fault = error.strerror
                continue
            server.set_app(self._answer)
            return server
        logger.warning("management_port_missing", host=self._host, first=self._ports[0], error=fault)
        return None

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        probe = self._probes.get(path)
        if probe is None:
            return _say(start_response, "404 Not Found", "here are /metrics, " + ", ".join(self._probes))
        fault = probe()
        return _say(start_response, "503 Service Unavailable" if fault else "200 OK", fault or "ok")


def _say(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
