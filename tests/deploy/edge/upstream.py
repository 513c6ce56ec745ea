"""An upstream of the tests' own behind the route: it upgrades connections, streams, and fails when it is asked to."""

import io
import queue
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self

PIECES = (b"first", b"second", b"third")


class Upstream:
    """Serves on a port of loopback.

    What is streamed goes on only when `go_on` says so, piece by piece. `heads` holds the heads of POSTs as they came.
    """

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.heads: queue.Queue[bytes] = queue.Queue()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.upstream = self

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    upstream: Upstream

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Says nothing of a proxy that hung up."""
        if not isinstance(sys.exception(), ConnectionResetError):
            super().handle_error(request, client_address)


class _Recorded(io.BufferedReader):
    """Keeps each line that is read."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.seen = bytearray()

    def readline(self, size: int | None = -1) -> bytes:
        """The next line."""
        line = super().readline(size)
        self.seen += line
        return line


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    rfile: _Recorded

    def setup(self) -> None:
        """Reads by what records."""
        super().setup()
        self.rfile = _Recorded(self.connection.makefile("rb", 0))

    def do_GET(self) -> None:
        if self.headers.get("upgrade") == "echo":
            self._echo()
        elif self.path == "/stream":
            self._stream()
        else:
            self._fail(int(self.path.strip("/")))

    def do_POST(self) -> None:
        self.server.upstream.heads.put(bytes(self.rfile.seen))
        if "content-length" in self.headers:
            self.rfile.read(int(self.headers["content-length"]))
        else:
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + len(b"\r\n"))
            self.rfile.readline()
        self._fail(int(self.path.strip("/")))

    def log_message(self, *_args: object) -> None:
        """Nothing."""

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "echo")
        self.end_headers()
        while line := self.rfile.readline():
            self.wfile.write(line.upper())
        self.close_connection = True

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in PIECES:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if not self.server.upstream.go_on.acquire(timeout=20):
                return
        self.wfile.write(b"0\r\n\r\n")

    def _fail(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Strict-Transport-Security", "max-age=1")
        self.send_header("Content-Length", "0")
        self.end_headers()
