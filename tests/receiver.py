"""An HTTP server on a thread that records what it gets and answers as it is told, path by path."""

import socket
import socketserver
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Self


@dataclass(frozen=True)
class Received:
    """One request as it arrived: names of headers in lower case, `at` of time.monotonic, `caller` an address."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    caller: str = ""

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Answer:
    """What is sent back, after a while."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: float = 0.0


OK = Answer()


class Receiver(AbstractContextManager["Receiver"]):
    """Paths answer from their lists, the last entry for ever; 204 where nothing is said."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._server = _Server((host, port), self._handler(), tls)
        self._scheme = "http" if tls is None else "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._arrived = threading.Condition()
        self._requests: dict[str, list[Received]] = defaultdict(list)
        self._answers: dict[str, list[Answer]] = {}
        self._numbers = count(1)

    @property
    def base(self) -> str:
        """Its URL without a path."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://[{host!s}]:{port}" if ":" in str(host) else f"{self._scheme}://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def path(self, *answers: Answer) -> str:
        """A path of its own that answers so."""
        path = f"/{next(self._numbers)}"
        self.tell(path, *answers)
        return path

    def tell(self, path: str, *answers: Answer) -> None:
        """Changes what a path answers from now on."""
        with self._arrived:
            self._answers[path] = list(answers or (OK,))

    def at(self, path: str) -> Sequence[Received]:
        """What has come to a path."""
        with self._arrived:
            return list(self._requests[path])

    @property
    def connections(self) -> list[tuple[str, int]]:
        """The addresses and ports of its own at which it was called, an entry a connection; clear it at will."""
        return self._server.connections

    def wait(self, path: str, number: int = 1, seconds: float = 15.0) -> Sequence[Received]:
        """What has come to a path, once it is this much; AssertionError when it does not come in time."""
        return self.wait_until(path, lambda seen: len(seen) >= number, seconds)

    def wait_until(
        self, path: str, enough: Callable[[Sequence[Received]], bool], seconds: float = 15.0
    ) -> Sequence[Received]:
        """What has come to a path, once that is enough; AssertionError when it does not come in time."""
        with self._arrived:
            came = self._arrived.wait_for(lambda: enough(self._requests[path]), seconds)
            seen = list(self._requests[path])
        assert came, f"{len(seen)} requests came to {path} within {seconds:g} s"
        return seen

    def take(self, received: Received) -> Answer:
        """Notes a request; what to answer."""
        with self._arrived:
            self._requests[received.path].append(received)
            answers = self._answers.get(received.path, [OK])
            self._arrived.notify_all()
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self._take()

            def do_GET(self) -> None:  # a redirect that was followed would come so
                self._take()

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = receiver.take(Received(self.path, headers, body, time.monotonic(), self.client_address[0]))
                time.sleep(answer.after)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                """The tests look at what was received."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None
    ) -> None:
        self.connections: list[tuple[str, int]] = []
        self._tls = tls
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        socketserver.TCPServer.server_bind(self)  # the base class would ask name servers for its name
        self.server_name, self.server_port = "", self.socket.getsockname()[1]

    def get_request(self) -> tuple[socket.socket, object]:
        connection, peer = super().get_request()
        self.connections.append(connection.getsockname()[:2])
        if self._tls is not None:
            # Its handshake is made by the thread that reads, so that a stalled one holds up nobody else.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, request: object, client_address: object) -> None:
        """A sender that was killed says nothing about the receiver."""
