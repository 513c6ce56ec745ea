"""What takes the probe's events: it keeps the last of them, for whoever sent one to look at."""

import json
import threading
from base64 import b64decode, b64encode
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Self

HOOKS, RECEIVED = "/hooks/", "/received/"
_MOST = 1000
_MOST_BYTES = 64 * 1024
_READ_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that came: its headers in lower case, and its body."""

    headers: dict[str, str]
    body: bytes

    def to_json(self) -> bytes:
        """It as another process reads it."""
        return json.dumps({"headers": self.headers, "body": b64encode(self.body).decode()}).encode()

    @classmethod
    def of_json(cls, text: bytes) -> Self:
        """What `to_json` wrote."""
        read = json.loads(text)
        return cls(read["headers"], b64decode(read["body"]))


class Received:
    """The last deliveries, by the word at the end of the path that they came to."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Delivery] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, word: str, delivery: Delivery) -> None:
        """Keeps one, and forgets the oldest where there are too many."""
        with self._lock:
            self._kept[word] = delivery
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)

    def find(self, word: str) -> Delivery | None:
        """What came under a word."""
        with self._lock:
            return self._kept.get(word)


def make_receiver(host: str, port: int) -> ThreadingHTTPServer:
    """A server that listens: `POST /hooks/WORD` keeps what comes, `GET /received/WORD` shows it."""
    return ThreadingHTTPServer((host, port), type("Handler", (_Handler,), {"received": Received()}))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _READ_SECONDS
    received: ClassVar[Received]

    def do_POST(self) -> None:  # the name is the base class's
        """Keeps a delivery."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, close=True)
            return
        body = self.rfile.read(int(length))
        if not self.path.startswith(HOOKS):
            self._answer(HTTPStatus.NOT_FOUND)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.received.keep(self.path.removeprefix(HOOKS), Delivery(headers, body))
        self._answer(HTTPStatus.NO_CONTENT)

    def do_GET(self) -> None:  # the name is the base class's
        """Shows a delivery, or that it lives."""
        if self.path == "/":
            self._answer(HTTPStatus.OK, b"{}")
            return
        found = self.received.find(self.path.removeprefix(RECEIVED)) if self.path.startswith(RECEIVED) else None
        if found is None:
            self._answer(HTTPStatus.NOT_FOUND)
        else:
            self._answer(HTTPStatus.OK, found.to_json())

    def _answer(self, status: HTTPStatus, body: bytes = b"", *, close: bool = False) -> None:
        self.close_connection = self.close_connection or close
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("content-length", str(len(body)))
            self.send_header("content-type", "application/json")
        if close:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's own
        """Says nothing: what is asked of a probe's receiver is asked every second."""
