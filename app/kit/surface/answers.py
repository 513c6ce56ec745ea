"""Around every answer: the id of its request, and headers that say what browsers and caches may not do with it."""

import re
import time
from collections.abc import Callable, Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.errors_http import REQUEST_ID, REQUEST_ID_KEY
from app.kit.random_bytes import RandomBytes
from app.kit.telemetry.about import About, begin
from app.kit.telemetry.traces import name_request

Refused = Callable[[Scope, int], None]
Served = Callable[[Scope, int | None, float], None]
Pairs = tuple[tuple[bytes, bytes], ...]

ANSWER_HEADERS = "postrider.answer_headers"
"""Where the scope holds headers that whatever answers the request is to carry."""
WELL_FORMED = re.compile(rb"[A-Za-z0-9_\-.]{8,128}")
HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
REFUSALS = frozenset({401, 403, 429})
PRIVATE = (b"cache-control", b"no-store")
ALWAYS: Pairs = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of what is no page: nothing of it is loaded or run, and nobody shows it in a frame."""
_random = RandomBytes(16)
_POLICY, _REQUEST_ID, _TRACEPARENT = b"content-security-policy", REQUEST_ID.encode(), b"traceparent"


def headers_of(policy: str = NOTHING, *, private: bool = True, secure: bool = False) -> Pairs:
    """The headers of one kind of answer; `secure` ones came over HTTPS."""
    more = [(_POLICY, policy.encode()), *([PRIVATE] if private else []), *([HSTS] if secure else [])]
    return (*ALWAYS, *more)


_NAMES = frozenset(name for name, _ in headers_of(secure=True))


def ignore(_scope: Scope, _status: int) -> None:
    """Hears of refusals where nobody wants to."""


def unnoticed() -> None:
    """Hears of arrivals where nobody wants to."""


def unheard(_scope: Scope, _status: int | None, _began: float) -> None:
    """Hears of requests where nobody wants to."""


class Answers:
    """Gives each request an id, the client's own when it is well formed, and each answer the headers it lacks.

    `arrived` hears of each request, and `served` at its end: its status, None when nothing was answered, and when it
    began.
    `refused` hears of each answer that says that the caller is unknown, may not, or not so often.
    What a route says of itself stays. `policies` holds other policies than NOTHING, by path; answers below `public`
    may be cached.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        public: str,
        policies: Mapping[str, str],
        refused: Refused = ignore,
        served: Served = unheard,
        arrived: Callable[[], None] = unnoticed,
    ) -> None:
        self._app = app
        self._arrived = arrived
        self._refused = refused
        self._served = served
        self._public = public
        self._usual = _both(NOTHING)
        self._cached = _both(NOTHING, private=False)
        self._special = {path: _both(policy) for path, policy in policies.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, traceparent = _ids(scope)
        scope[REQUEST_ID_KEY] = request_id
        begin(About(request_id=request_id))
        name_request(traceparent)
        began, status = time.perf_counter(), None
        self._arrived()

        async def send_whole(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status in REFUSALS:
                    self._refused(scope, status)
                own = list(message.get("headers", ()))
                more = scope.get(ANSWER_HEADERS, ())
                message["headers"] = [*own, *self._lacking(scope, own), *more, (_REQUEST_ID, request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_whole)
        finally:
            self._served(scope, status, began)

    def _lacking(self, scope: Scope, own: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
        # Only now the scheme is known, since proxies were asked.
        wanted = self._kind(scope["path"])[scope["scheme"] == "https"]
        names = {name for name, _ in own if name in _NAMES}
        return [one for one in wanted if one[0] not in names] if names else wanted

    def _kind(self, path: str) -> tuple[Pairs, Pairs]:
        if path.startswith(self._public):
            return self._cached
        return self._special.get(path, self._usual)


def _both(policy: str, *, private: bool = True) -> tuple[Pairs, Pairs]:
    return headers_of(policy, private=private), headers_of(policy, private=private, secure=True)


def _ids(scope: Scope) -> tuple[str, bytes | None]:
    """The request's id, and the `traceparent` of its caller."""
    request_id, traceparent = None, None
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and request_id is None and WELL_FORMED.fullmatch(value):
            request_id = value.decode()
        elif name == _TRACEPARENT:
            traceparent = value
    return request_id or _random().hex(), traceparent
