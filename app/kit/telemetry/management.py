"""What a process tells of itself, on a port and a thread of its own."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from weakref import WeakSet

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import TELEMETRY_DROPPED
from app.kit.telemetry.sampling import Sampler

_RETRY_SECONDS = 10.0
_STOP_SECONDS = 5.0
_REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
# Whoever asks fast, slowly, or from many connections, takes little of a process that has other things to do.
CONNECTIONS = 256
SERVE_SECONDS = 10.0
GAP_SECONDS = 0.005
METRICS_SHARE = 0.05
FAILED = "management_request_failed"
_TEXT = "text/plain; charset=utf-8"
logger = get_logger(__name__)
_dropped = TELEMETRY_DROPPED.labels("metrics")
_failures = Sampler(FAILED, 1)
KEEP_SECONDS = 1.0
Probe = Callable[[], str | None]
"""What is wrong, in words; None when nothing is."""


def kept(probe: Probe, seconds: float = KEEP_SECONDS) -> Probe:
    """The probe, asked once in so many seconds at most, by one at a time: the others get what it said last."""
    lock = threading.Lock()
    asked, said = float("-inf"), None

    def ask() -> str | None:
        nonlocal asked, said
        with lock:
            if time.monotonic() - asked >= seconds:
                said = probe()
                asked = time.monotonic()
            return said

    return ask


class Management:
    """Serves /metrics, and a path for each probe, on the first free one of `ports` ports from `port` on.

    A probe answers 503 with what is wrong. Metrics have exemplars, for whoever accepts OpenMetrics. Where no port is
    free it says so and tries again; nobody waits for it. A process that is forked from this one has none of it.

    Connections end after ten seconds, and the oldest where there are more than 256: those that were cut are counted.
    Metrics take a twentieth of a processor at most, however often they are asked for; who asks more often waits.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ports: int,
        probes: Mapping[str, Probe] | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._host, self._range, self._probes = host, range(port, port + ports), dict(probes or {})
        self._registry = registry
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
            return _Server((self._host, port), self._probes, self._registry)
        except OSError:
            return None

    def _forget(self) -> None:
        """In a child: what was inherited would keep the port, and connections, beyond their owner's end."""
        if self._server is not None:
            self._server.forget()


@contextmanager
def managed(host: str, port: int | None, ports: int, probes: Mapping[str, Probe] | None = None) -> Iterator[None]:
    """Serves for as long as the block runs; nothing where no port is given."""
    if port is None:
        yield
        return
    management = Management(host, port, ports, probes)
    management.start()
    try:
        yield
    finally:
        management.stop()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], probes: Mapping[str, Probe], registry: CollectorRegistry) -> None:
        self.probes = probes
        self._registry, self._turn = registry, _Turn(METRICS_SHARE)
        self._open: dict[Any, float] = {}
        self._connections: WeakSet[socket.socket] = WeakSet()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As all do, but without asking a name server what this host is called."""
        self.socket.setsockopt(*_REUSE)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 as its base has it
        """Has a thread answer, for which an older connection makes room if need be."""
        self._open[request] = time.monotonic()
        self._connections.add(request)
        for older in list(self._open)[:-CONNECTIONS]:
            self._cut(older)
        super().process_request(request, client_address)
        time.sleep(GAP_SECONDS)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 as its base has it
        """The connection ends."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Ends connections whose time is over."""
        now = time.monotonic()
        for request, since in list(self._open.items()):
            if now - since > SERVE_SECONDS:
                self._cut(request)

    def metrics(self, asker: socket.socket, accept: str) -> tuple[str, bytes] | None:
        """Their type and text; None for one who was cut while it waited for its turn."""
        with self._turn:
            if asker not in self._open:
                return None
            encode, content_type = choose_encoder(accept)
            return content_type, encode(self._registry)

    def forget(self) -> None:
        """Closes all sockets that are open, of which another process goes on; also those that were cut just now."""
        for one in (self.socket, *self._connections):
            # Files on a connection would keep it open.
            if (number := one.detach()) >= 0:
                os.close(number)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 as its base has it
        """Whoever hangs up is no error of ours."""
        if self._open.pop(request, None) is None:
            return  # It was cut.
        _dropped.inc()
        if _failures.takes():
            logger.warning(FAILED, client=str(client_address), error=repr(sys.exception()))

    def _cut(self, connection: socket.socket) -> None:
        """Ends it for both sides; its thread notices, and closes it."""
        if self._open.pop(connection, None) is not None:
            _dropped.inc()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Turn:
    """One at a time, who take `share` of a processor together; whoever comes earlier waits."""

    def __init__(self, share: float) -> None:
        self._rest = 1 / share - 1
        self._lock = threading.Lock()
        self._next = self._began = 0.0

    def __enter__(self) -> None:
        self._lock.acquire()
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._next = time.monotonic() + self._rest * (time.thread_time() - self._began)
        self._lock.release()


class _Handler(BaseHTTPRequestHandler):
    timeout = SERVE_SECONDS

    def do_GET(self) -> None:
        """Answers with metrics, or with what a probe says."""
        path = self.path.partition("?")[0]
        server = cast("_Server", self.server)
        if path == "/metrics":
            if told := server.metrics(self.request, self.headers.get("accept", "")):
                self._answer(200, *told)
        elif probe := server.probes.get(path):
            fault = probe()
            self._answer(503 if fault else 200, _TEXT, f"{fault or 'ok'}\n".encode())
        else:
            self._answer(404, _TEXT, b"not found\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 as its base has it
        """Scrapes are not worth a line."""

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
