"""HTTP as uvicorn speaks it, whose refusals are JSON too, and which reads no head without end."""

import json
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

import app.kit.presence  # noqa: F401 gunicorn loads this before it forks, and with it the memory that all share
from app.kit.errors_http import described

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers; what came in one read with the last of them may be more."""


def _refusal(status: HTTPStatus, code: str, detail: str) -> bytes:
    body = json.dumps(described(status, code, detail, "", None)).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


NOT_HTTP = _refusal(HTTPStatus.BAD_REQUEST, "bad_request", "This is not HTTP")
TOO_LONG = _refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", f"A request line with headers has {MAX_HEAD} bytes"
)


class JsonHttp(HttpToolsProtocol):
    """Answers what reaches no app: what is no HTTP at all, and heads that are too long."""

    _head = 0

    def data_received(self, data: bytes) -> None:
        """Takes what came, and hangs up when a head does not end: it is kept in memory until it does."""
        super().data_received(data)
        # A head is whole as soon as there is a cycle for what was begun last; both are None at first.
        whole = self.scope is getattr(self.cycle, "scope", None)
        self._head = 0 if whole else self._head + len(data)
        if self._head > MAX_HEAD:
            self._hang_up(TOO_LONG)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 the server's log has it
        """Says so and hangs up."""
        self._hang_up(NOT_HTTP)

    def _hang_up(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()


class Worker(UvicornWorker):  # type: ignore[misc] # it ships no types
    """A process of gunicorn's that speaks it."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**UvicornWorker.CONFIG_KWARGS, "http": JsonHttp}
