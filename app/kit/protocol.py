"""HTTP as uvicorn speaks it, whose refusals are JSON too, and which reads no head without end."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn_worker import UvicornWorker

import app.kit.presence  # noqa: F401 gunicorn loads this before it forks, and with it the memory that all share
from app.kit.errors_http import described
from app.kit.surface.answers import headers_of
from app.kit.surface.bodies import WHOLE

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers; what came in one read with the last of them may be more."""


MUCH = 64 * 1024
"""Bytes that are not kept until the end of a turn."""
LINGER_SECONDS = 2.0
"""For so long what is sent after the last answer is taken, and dropped."""


def _refusal(status: HTTPStatus, code: str, detail: str) -> dict[str, bytes]:
    """The whole answer, by the scheme of the connection."""
    body = json.dumps(described(status, code, detail, "", None)).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    rest = b"content-length: %d\r\n\r\n" % len(body) + body
    surfaces = {scheme: headers_of(secure=scheme == "https") for scheme in ("http", "https")}
    return {
        scheme: head.encode() + b"".join(b"%b: %b\r\n" % pair for pair in surface) + rest
        for scheme, surface in surfaces.items()
    }


NOT_HTTP = _refusal(HTTPStatus.BAD_REQUEST, "bad_request", "This is not HTTP")
TOO_LONG = _refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", f"A request line with headers has {MAX_HEAD} bytes"
)


class OneWrite:
    """A transport that sends together what is written in one turn of the loop: the head of an answer with its body.

    Where `is_sent_more` says that the other side is in the middle of a request, the end is gentle: a connection that is
    closed over bytes that nobody has read is reset, and whoever sent them may lose the answer that came before.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, is_sent_more: Callable[[], bool]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._is_sent_more = is_sent_more
        self._lingers = False
        self._waiting: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 everything else a transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Sends it at the end of the turn, or at once when it is much, so that flow control sees it."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > MUCH:
            self._send()

    def is_closing(self) -> bool:
        """Whether nothing is sent any more."""
        return self._lingers or self._transport.is_closing()

    def close(self) -> None:
        """Sends what waits, and closes, after a while where the other side has to be heard out."""
        self._send()
        if self.is_closing() or not self._is_sent_more():
            self._transport.close()
            return
        self._lingers = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(LINGER_SECONDS, self._transport.close)

    def _send(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting and not self.is_closing():
            self._transport.write(b"".join(waiting))


class JsonHttp(HttpToolsProtocol):
    """Answers what reaches no app: what is no HTTP at all, and heads that are too long."""

    _head = 0
    _is_amid = False
    """Whether a request has begun to come and not ended."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # what it really gets
        """Begins."""
        super().connection_made(OneWrite(transport, self.loop, lambda: self._is_amid))  # type: ignore[arg-type] # as good as one

    def data_received(self, data: bytes) -> None:
        """Takes what came, and hangs up when a head does not end: it is kept in memory until it does."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        # A head is whole as soon as there is a cycle for what was begun last; both are None at first.
        whole = self.scope is getattr(self.cycle, "scope", None)
        self._head = 0 if whole else self._head + len(data)
        if self._head > MAX_HEAD:
            self._hang_up(TOO_LONG)

    def on_message_begin(self) -> None:
        """Takes the begin of a request."""
        super().on_message_begin()
        self._is_amid = True

    def on_message_complete(self) -> None:
        """Takes the end of a body: one that was there before it is asked for is waited for by nobody."""
        super().on_message_complete()
        self._is_amid = False
        self.scope[WHOLE] = True  # type: ignore[literal-required] # one of ours

    def on_response_complete(self) -> None:
        """Goes on with what is next, and waits for the rest of a body that nobody reads as long as for a request.

        Uvicorn would forget that it waits when the next piece of it comes, and so wait for ever.
        """
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self.loop.call_later(self.timeout_keep_alive, self._leave, self.cycle)

    def _leave(self, answered: RequestResponseCycle) -> None:
        if self.cycle is answered:
            self.timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 the server's log has it
        """Says so and hangs up."""
        self._hang_up(NOT_HTTP)

    def _hang_up(self, answer: Mapping[str, bytes]) -> None:
        self.transport.write(answer[self.scheme or "http"])
        self.transport.close()


SERVER: dict[str, Any] = {
    "http": JsonHttp,
    # An upgrade is not taken, and the request is answered like any other.
    "ws": "none",
    # The surface knows which proxies are believed.
    "proxy_headers": False,
    "server_header": False,
}
"""How uvicorn is configured wherever it serves the API."""


class Worker(UvicornWorker):  # type: ignore[misc] # it ships no types
    """A process of gunicorn's that speaks it."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        **UvicornWorker.CONFIG_KWARGS,
        **SERVER,
        # There is a line of our own for each request.
        "access_log": False,
        # See `_beat`.
        "callback_notify": None,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 gunicorn's own arguments
        super().__init__(*args, **kwargs)
        # Uvicorn would have its lines go where gunicorn's go, which has no place of its own.
        logging.getLogger("uvicorn.error").propagate = True

    async def _serve(self) -> None:
        beating = asyncio.create_task(self._beat())
        try:
            await super()._serve()
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        """Tells gunicorn that the process lives.

        Uvicorn would do so by the wall clock, and not at all after that was set back, until gunicorn kills the process
        with all that it serves.
        """
        while True:
            self.notify()
            await asyncio.sleep(self.timeout / 2 or 1.0)
