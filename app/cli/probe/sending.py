"""Sends an event as any client does, and looks at the receiver for what came of it."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app.cli.probe.receiver import HOOKS, RECEIVED, Delivery
from app.cli.probe.tenancy import LONGEST
from app.cli.probe.undoing import undone
from app.domain.signing import parse_secret, verify
from app.kit.clock import utc_now

APPLICATION, EVENT_TYPE = "probe", "probe.sent"
ENDPOINTS = f"/app/{APPLICATION}/endpoint"
_ANSWER_SECONDS = 15
_POLL_SECONDS = 0.2
_JSON = "application/json"


class NotDeliveredError(Exception):
    """The event did not come, or not as it should; the text says where it got stuck."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where the API answers, by which name it knows itself, and a key of the probe's organisation."""

    url: str
    public_url: str
    key: str

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 JSON
        """The answer's JSON. NotDeliveredError for a status that is no success, or without an answer.

        What is to be deleted may be gone already.
        """
        text = None if body is None else json.dumps(body).encode()
        status, content = ask(method, f"{self.url}/api/v1{path}", text, self._headers())
        is_gone = (method, status) == ("DELETE", HTTPStatus.NOT_FOUND)
        if status >= HTTPStatus.BAD_REQUEST and not is_gone:
            raise NotDeliveredError(f"{method} {path} was answered by {status}: {_said(content)}")
        return json.loads(content) if content else None

    def _headers(self) -> dict[str, str]:
        """As a proxy in front would send them: from within nobody ends TLS."""
        public = urlsplit(self.public_url)
        forwarded = {"x-forwarded-proto": public.scheme, "forwarded": f"proto={public.scheme}"}
        return {"host": public.netloc, "authorization": f"Bearer {self.key}", "content-type": _JSON, **forwarded}


def send_event(to: Installation, receiver: str, seconds: float) -> float:
    """Seconds from the POST until the receiver had it, signed. Raises NotDeliveredError."""
    word = secrets.token_hex(16)
    with _endpoint(to, f"{receiver}{HOOKS}{word}", word) as secret:
        payload = {"word": word}
        began = time.monotonic()
        event = {"eventType": EVENT_TYPE, "payload": payload, "channels": [word]}
        message = to.call("POST", f"/app/{APPLICATION}/msg", event)
        came = _wait(f"{receiver}{RECEIVED}{word}", seconds)
        took = time.monotonic() - began
    if came is None:
        raise NotDeliveredError(
            f"the event was accepted, and did not come within {seconds:g} s: look at the workers, and whether "
            f"POSTRIDER_EGRESS__PROBE and their network policy name {urlsplit(receiver).netloc}"
        )
    _check(came, message["id"], payload, secret)
    return took


@contextmanager
def _endpoint(to: Installation, url: str, word: str) -> Iterator[str]:
    """An endpoint that only gets what is sent to its channel; gives its secret."""
    to.call("PUT", f"/app/{APPLICATION}", {"name": "Probe", "uid": APPLICATION})
    _delete_leftovers(to)
    path = f"{ENDPOINTS}/{word}"
    with undone(lambda: to.call("DELETE", path)):
        to.call("PUT", path, {"url": url, "uid": word, "channels": [word], "description": "Of one run of the probe"})
        yield to.call("GET", f"{path}/secret")["key"]


def _delete_leftovers(to: Installation) -> None:
    """Deletes the endpoints of runs that were killed: no other lasts as long."""
    for endpoint in to.call("GET", f"{ENDPOINTS}?order=ascending")["data"]:
        if datetime.fromisoformat(endpoint["createdAt"]) < utc_now() - LONGEST:
            to.call("DELETE", f"{ENDPOINTS}/{endpoint['id']}")


def _wait(url: str, seconds: float) -> Delivery | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        status, content = ask("GET", url, None, {})
        if status == HTTPStatus.OK:
            return Delivery.of_json(content)
        time.sleep(_POLL_SECONDS)
    return None


def _check(came: Delivery, message_id: str, payload: object, secret: str) -> None:
    identity, timestamp, signature = (
        came.headers.get(f"webhook-{word}", "") for word in ("id", "timestamp", "signature")
    )
    if identity != message_id:
        raise NotDeliveredError(f"another message came than was sent: {identity!r}")
    if json.loads(came.body) != payload:
        raise NotDeliveredError("the event came with another payload than it was sent with")
    if not verify(message_id, timestamp, came.body, signature, [parse_secret(secret)], int(time.time())):
        raise NotDeliveredError("the event came with a signature that does not hold")


def ask(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and content of an answer. NotDeliveredError without one."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, urlunsplit(("", "", parts.path, parts.query, "")), body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        raise NotDeliveredError(f"{method} {url} got no answer: {error}") from error
    finally:
        connection.close()


def _said(content: bytes) -> str:
    text = content.decode(errors="replace")[:300]
    if "https_required" in text:
        return f"{text} (POSTRIDER_HTTP__TRUSTED_PROXIES does not name the network that the probe runs in)"
    return text
