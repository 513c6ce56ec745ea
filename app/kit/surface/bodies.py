"""What a request may look like: a path with or without a trailing slash, a body that is JSON, not too long, in time."""

import asyncio
import re
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.errors import Kind, Problem
from app.kit.errors_http import problem_answer
from app.kit.request_line import keep

JSON_TYPE = re.compile(r"application/(json|[a-z0-9!#$&^_.+-]+\+json)\s*(;.*)?", re.IGNORECASE)
TOO_LARGE = "The body is too large"
TOO_SLOW = "The body did not come in time"
WHOLE = "postrider.whole"
"""The scope holds this where the body had come before the request was served."""
WAITED = "postrider.waited"
"""Where the scope holds for how many seconds the body was waited for, where it had not."""


class PlainPaths:
    """Takes a path with a trailing slash for the one without."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and scope["path"].endswith("/") and scope["path"] != "/":
            keep(scope)
            scope["path"] = scope["path"].rstrip("/") or "/"
            scope["raw_path"] = scope.get("raw_path", b"").rstrip(b"/") or b"/"
        await self._app(scope, receive, send)


class InTime:
    """Gives a body so many seconds to come whole, from when it is asked for first. Who is slower gets 408, and is left.

    A proxy bounds the pause between two pieces, which lets a body drip for as long as it likes.
    """

    def __init__(self, app: ASGIApp, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and WHOLE not in scope:
            receive = self._bounded(scope, receive)
        await self._app(scope, receive, send)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        until: float | None = None

        async def bounded() -> Message:
            nonlocal until
            if WHOLE in scope:
                return await receive()
            now = asyncio.get_running_loop().time()
            until = now + self._seconds if until is None else until
            began = time.perf_counter()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, TOO_SLOW, {"Connection": "close"}) from None
            finally:
                scope[WAITED] = scope.get(WAITED, 0.0) + time.perf_counter() - began
            if not message.get("more_body"):
                scope[WHOLE] = True
            return message

        return bounded


async def come_whole(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Returns when the body is there, with what hands it on. Raises HTTPException beyond `limit` bytes."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            raise HTTPException(413, TOO_LARGE)
        more = message.get("more_body", False)
    kept: Message | None = {**message, "body": body}
    # Whatever measures further in begins only now.
    scope.pop(WAITED, None)

    async def handed_on() -> Message:
        nonlocal kept
        given, kept = kept, None
        return await receive() if given is None else given

    return handed_on


class BodyGuard:
    """Refuses bodies beyond `limit` bytes before they are read, and under `prefix` those that are not JSON."""

    def __init__(self, app: ASGIApp, *, limit: int, prefix: str) -> None:
        self._app = app
        self._limit = limit
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length")
        problem = self._problem(scope, headers, length)
        if problem is not None:
            await problem_answer(Request(scope), problem)(scope, receive, send)
            return
        # A length that was announced is held to by the server.
        await self._app(scope, receive if length is not None else self._counting(receive), send)

    def _problem(self, scope: Scope, headers: Headers, length: str | None) -> Problem | None:
        if length is not None and int(length) > self._limit:
            return Problem(Kind.too_large, "payload_too_large", TOO_LARGE)
        has_body = length not in (None, "0") or "transfer-encoding" in headers
        if has_body and scope["path"].startswith(self._prefix) and not _is_json(headers):
            return Problem(Kind.unsupported_media, "unsupported_media_type", "Content-Type must be application/json")
        return None

    def _counting(self, receive: Receive) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413, TOO_LARGE)
            return message

        return counted


def _is_json(headers: Headers) -> bool:
    return JSON_TYPE.fullmatch(headers.get("content-type", "").strip()) is not None
