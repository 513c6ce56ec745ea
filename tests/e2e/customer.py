"""A customer of the running system: an organisation, its key, and one application with endpoints."""

import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode, urlsplit

from tests.api.client import Reply
from tests.canaries import PAYLOAD

T = TypeVar("T")
PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Caller:
    """Calls paths below /api/v1 over connections of its own, from any thread."""

    base: str
    key: str

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `body` goes as JSON, `raw` as it is."""
        data = json.dumps(body).encode() if raw is None and body is not None else raw
        sent = {"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})}
        connection = http.client.HTTPConnection(urlsplit(self.base).netloc, timeout=20)
        try:
            connection.request(method, f"/api/v1{path}", data, sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401  # JSON
        """The JSON of an answer that must be 200."""
        return self._json(self.call("GET", f"{path}?{urlencode(query)}" if query else path), 200)

    def post(self, path: str, body: object, status: int = 201) -> Any:  # noqa: ANN401  # JSON
        """The JSON of an answer that must have this status."""
        return self._json(self.call("POST", path, body), status)

    def _json(self, reply: Reply, status: int) -> Any:  # noqa: ANN401  # JSON
        assert reply.status == status, reply.raw
        return reply.body


@dataclass(frozen=True)
class Customer:
    """One application of an organisation of its own."""

    api: Caller
    app: str = field(default_factory=lambda: f"app-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.api.post("/app", {"name": self.app, "uid": self.app})

    def endpoint(self, url: str, **fields: object) -> str:
        """A new endpoint's id."""
        made: str = self.api.post(f"/app/{self.app}/endpoint", {"url": url, **fields})["id"]
        return made

    def secret(self, endpoint: str) -> str:
        """What the endpoint's receiver verifies with."""
        key: str = self.api.get(f"/app/{self.app}/endpoint/{endpoint}/secret")["key"]
        return key

    def send(self, payload: object = None, **fields: object) -> str:
        """A new message's id, when it was accepted."""
        body = {"eventType": "e2e.test", "payload": payload or {"n": 1, "text": PAYLOAD}, **fields}
        sent: str = self.api.post(f"/app/{self.app}/msg", body, 202)["id"]
        return sent

    def send_bytes(self, payload: bytes, before: bytes = b'"eventType": "e2e.test"') -> str:
        """A new message's id; the payload stands in the body as these very bytes."""
        reply = self.api.call("POST", f"/app/{self.app}/msg", raw=b"{" + before + b', "payload": ' + payload + b"}")
        assert reply.status == 202, reply.raw
        sent: str = reply.body["id"]
        return sent

    def attempts(self, message: str) -> list[dict[str, Any]]:
        """The attempts of a message, the oldest first."""
        found: list[dict[str, Any]] = self.api.get(f"/app/{self.app}/attempt/msg/{message}")["data"]
        return found[::-1]

    def wait_for_attempts(self, message: str, number: int, seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """The attempts of a message, once there are this many."""
        return eventually(lambda: len(found := self.attempts(message)) >= number and found, seconds)

    def destination(self, message: str, endpoint: str) -> dict[str, Any]:
        """How the delivery of a message to an endpoint stands."""
        found = self.api.get(f"/app/{self.app}/msg/{message}/endpoint", expanded_statuses="true")["data"]
        return next(one for one in found if one["id"] == endpoint)

    def state(self, endpoint: str) -> dict[str, Any]:
        """An endpoint as the API shows it."""
        found: dict[str, Any] = self.api.get(f"/app/{self.app}/endpoint/{endpoint}")
        return found


def eventually(look: Callable[[], T | Literal[False] | None], seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` finds, once it finds something; AssertionError when it does not in time."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"nothing was found within {seconds:g} s"
        time.sleep(0.1)
    return found
