"""The built-in receiver, and the first event that goes through the real API to it."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from app.cli.dev.errors import DevError
from app.cli.dev.ports import LOOPBACK
from app.domain.signing import Key, parse_secret, verify

APPLICATION, ENDPOINT = "demo", "demo-receiver"
_DELIVERY_SECONDS = 30.0
_POLL_SECONDS = 0.2
_JSON = "application/json"


@dataclass(frozen=True)
class Receipt:
    """One request that reached the receiver: `at` is of time.perf_counter."""

    message_id: str
    verified: bool
    at: float


class DemoReceiver:
    """An HTTP server on loopback that verifies what it gets, on a thread of its own."""

    def __init__(self, heard: Callable[[Receipt], None]) -> None:
        self._heard = heard
        self._receipts: dict[str, Receipt] = {}
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self.key: Key | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://localhost:{self._server.server_port}/webhooks"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, message_id: str, seconds: float) -> Receipt | None:
        """The receipt of a message; None when it does not come in time."""
        with self._arrived:
            self._arrived.wait_for(lambda: message_id in self._receipts, seconds)
        return self._receipts.get(message_id)

    def take(self, headers: dict[str, str], body: bytes) -> bool:
        """Notes a request; whether its signature is ours."""
        message_id = headers.get("webhook-id", "")
        receipt = Receipt(message_id, self._is_signed(message_id, headers, body), time.perf_counter())
        with self._arrived:
            self._receipts[message_id] = receipt
            self._arrived.notify_all()
        self._heard(receipt)
        return receipt.verified

    def _is_signed(self, message_id: str, headers: dict[str, str], body: bytes) -> bool:
        timestamp, signature = headers.get("webhook-timestamp", ""), headers.get("webhook-signature", "")
        keys = [self.key] if self.key else []
        return verify(message_id, timestamp, body, signature, keys, int(time.time()))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:  # the name is the base class's
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                verified = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(HTTPStatus.NO_CONTENT if verified else HTTPStatus.UNAUTHORIZED)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """The supervisor says what came in."""

        return Handler


class Api:
    """Calls the HTTP API as any client does."""

    def __init__(self, port: int, key: str = "") -> None:
        self._port, self._key = port, key

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # JSON
        """The answer's JSON. DevError for a status that is no success, or without an answer."""
        status, content = self.request(method, path, body)
        if status >= HTTPStatus.BAD_REQUEST:
            msg = f"{method} {path} answered {status}: {content.decode(errors='replace')[:300]}"
            raise DevError(msg)
        return json.loads(content) if content else None

    def request(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Status and content of the answer. DevError without one."""
        connection = HTTPConnection(LOOPBACK, self._port, timeout=20)
        headers = {"authorization": f"Bearer {self._key}", "content-type": _JSON, "accept": _JSON}
        try:
            connection.request(method, f"/api/v1{path}", json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException) as error:
            msg = f"{method} {path} got no answer: {error}"
            raise DevError(msg) from error
        finally:
            connection.close()

    def is_healthy(self) -> bool:
        """Whether the API answers and finds its servers."""
        try:
            return self.request("GET", "/health")[0] < HTTPStatus.BAD_REQUEST
        except DevError:
            return False

    def knows_key(self) -> bool:
        """Whether the key is one of this installation."""
        return self.request("GET", "/app?limit=1")[0] == HTTPStatus.OK


def deliver_first_event(api: Api, receiver: DemoReceiver, check: Callable[[], None]) -> float:
    """Sends an event from the API through a worker to the receiver; milliseconds from the POST to its receipt.

    `check` is called while it waits, to raise when waiting is in vain. DevError when the event does not arrive, or
    arrives with a signature that is not ours.
    """
    _register(api, receiver)
    began = time.perf_counter()
    event = {"eventType": "demo.started", "payload": {"hello": "from Postrider"}}
    message = api.call("POST", f"/app/{APPLICATION}/msg", event)
    receipt = _wait(receiver, message["id"], check)
    if receipt is None:
        raise DevError(f"the first event was not delivered within {_DELIVERY_SECONDS:g} s")
    if not receipt.verified:
        raise DevError("the first event arrived with a signature that does not verify")
    return (receipt.at - began) * 1000


def _wait(receiver: DemoReceiver, message_id: str, check: Callable[[], None]) -> Receipt | None:
    until = time.monotonic() + _DELIVERY_SECONDS
    while (receipt := receiver.wait_for(message_id, _POLL_SECONDS)) is None and time.monotonic() < until:
        check()
    return receipt


def _register(api: Api, receiver: DemoReceiver) -> None:
    api.call("PUT", f"/app/{APPLICATION}", {"name": "Demo", "uid": APPLICATION})
    endpoint = f"/app/{APPLICATION}/endpoint/{ENDPOINT}"
    description = "The receiver that `make run` brings along"
    api.call("PUT", endpoint, {"url": receiver.url, "uid": ENDPOINT, "description": description})
    receiver.key = parse_secret(api.call("GET", f"{endpoint}/secret")["key"])
