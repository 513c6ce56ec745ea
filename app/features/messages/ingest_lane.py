"""POST of a message in its plain form, without the frame that other routes need and that costs more than the work."""

import re

from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from app.auth.dependencies import require
from app.auth.entrance import Entrance
from app.auth.expiry import announce_end
from app.auth.idempotency import REPLAYED
from app.auth.limits import Limits
from app.auth.signed_requests import SIGNATURES
from app.domain.permissions import Permission
from app.features.messages.admission import Admission
from app.features.messages.committer import Committer
from app.features.messages.ingest_router import CREATE, refuse_own
from app.features.messages.posting import JSON, Post, read
from app.features.organisations.usage import Usage
from app.kit.instance import HEADER
from app.kit.telemetry.access import OPERATION
from app.kit.telemetry.metrics import exemplar
from app.kit.telemetry.requests import EXEMPLAR, ROUTE
from app.kit.telemetry.traces import Request
from app.kit.wire import is_name

_JSON = JSON.encode()
_BEARER = b"Bearer "
_REPLAYED, _MARK = REPLAYED.encode(), HEADER.encode()


class Gone(Exception):
    """The client went away before its request was whole."""


class IngestLane:
    """Stands before the frame and answers plain POSTs of messages by itself, as the route behind it would.

    Plain is: no query, JSON without parameters, a length that was announced and is at most `limit`, no header twice,
    a bearer and no signature. Everything else goes on to the route. What is raised here is answered by the surface
    around it.
    """

    def __init__(self, app: ASGIApp, state: State, *, prefix: str, limit: int) -> None:
        self._app = app
        self._state = state
        self._limit = limit
        self._path = re.compile(re.escape(prefix) + "/app/([^/]+)/msg")
        self._route = f"{prefix}/app/{{app_id}}/msg"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        match = self._path.fullmatch(scope["path"]) if scope["type"] == "http" else None
        headers = dict(scope["headers"]) if match else {}
        if match and self._is_plain(scope, headers) and is_name(match[1]):
            scope[OPERATION], scope[ROUTE] = CREATE, self._route
            await self._serve(scope, headers, match[1], receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_plain(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        return (
            scope["method"] == "POST"
            and not scope["query_string"]
            and len(headers) == len(scope["headers"])
            and headers.get(b"content-type") == _JSON
            and int(headers.get(b"content-length", self._limit + 1)) <= self._limit
            and headers.get(b"authorization", b"").startswith(_BEARER)
            and SIGNATURES.isdisjoint(headers)
        )

    async def _serve(
        self, scope: Scope, headers: dict[bytes, bytes], application: str, receive: Receive, send: Send
    ) -> None:
        try:
            with Request(headers.get(b"traceparent"), self._route, scope["scheme"]) as request:
                status, body, repeats = await self._take(scope, headers, application, receive)
                request.answer(status)
                scope[EXEMPLAR] = exemplar(request.carried)
        except Gone:
            return
        start = [(b"content-length", b"%d" % len(body)), (b"content-type", _JSON)]
        if repeats:
            start.append((_REPLAYED, b"true"))
        await send({"type": "http.response.start", "status": status, "headers": start})
        await send({"type": "http.response.body", "body": body})

    async def _take(
        self, scope: Scope, headers: dict[bytes, bytes], application: str, receive: Receive
    ) -> tuple[int, bytes, bool]:
        state = self._state
        committer: Committer = state.committer
        admission: Admission = state.admission
        limits: Limits = state.limits
        usage: Usage = state.usage
        entrance: Entrance = state.entrance
        text = headers[b"authorization"][len(_BEARER) :].decode("latin-1").strip()
        caller = await entrance.identify(scope, text)
        if not limits.take_ingest(caller, scope):
            await limits.admit(caller, scope)
        announce_end(caller, scope)
        require(caller, Permission.message_send)
        if not usage.check(caller.organisation_id):
            await usage.learn(caller.organisation_id)
        refuse_own(_text(headers.get(_MARK)), state.markers)
        key = _text(headers.get(b"idempotency-key"))
        await admission.check(caller.organisation_id)
        body = await _body(receive)
        await admission.enter(caller.organisation_id)
        try:
            ask = read(Post(caller, application, scope["path"], body, key))
            return ask.answer(await committer.accept(ask.incoming))
        finally:
            admission.leave(caller.organisation_id)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise Gone
    return body
