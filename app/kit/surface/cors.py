"""Which other origins' pages may read answers: those that are listed, without cookies."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
ACCEPTED = (
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "traceparent",
    "x-request-id",
)
EXPOSED = (
    "etag",
    "idempotency-replayed",
    "ratelimit",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-request-id",
)


class Cors(CORSMiddleware):
    """Starlette's, for listed origins; to others nothing is said of origins at all.

    `unread` are paths that browsers are led to, and that nobody's page reads by itself (RFC 9700, section 2.6).
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str], unread: tuple[str, ...] = ()) -> None:
        super().__init__(
            app, allow_origins=origins, allow_methods=METHODS, allow_headers=ACCEPTED, expose_headers=EXPOSED
        )
        self._unread = unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        listed = scope["type"] == "http" and _origin(scope) in self.allow_origins and not self._is_unread(scope)
        await (super().__call__ if listed else self.app)(scope, receive, send)

    def _is_unread(self, scope: Scope) -> bool:
        return scope["path"].rstrip("/") in self._unread

    def preflight_response(self, request_headers: Headers) -> Response:
        """What is allowed, whatever was asked for: the browser compares, and a refusal would have to be JSON."""
        origin = {"Access-Control-Allow-Origin": request_headers["origin"]}
        return Response(status_code=204, headers={**self.preflight_headers, **origin})


def _origin(scope: Scope) -> str | None:
    # The first, as Starlette takes it.
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None)
