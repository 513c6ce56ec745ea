"""Methods beside those that routes name: HEAD wherever GET answers, and all that a path takes."""

from fastapi import Request
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from app.kit.request_line import keep

READS = frozenset({"GET", "HEAD"})


class HeadAsGet:
    """Lets GET answer a HEAD; the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            keep(scope)
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def allowed(request: Request) -> list[str]:
    """What the path of the request takes, in the order of the alphabet; it is for refusals, and slow."""
    path = request.scope["path"]
    methods = {"OPTIONS"}
    for route in iter_route_contexts(request.app.routes):
        if route.path_regex.match(path):
            # A folder of files has no list.
            methods |= route.methods or READS
    return sorted(methods | READS if "GET" in methods else methods)
