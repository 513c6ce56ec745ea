"""Under which names the API is called."""

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.hosts import host_name, is_address, is_loopback
from app.kit.errors import Kind, Problem

UNKNOWN = "Unknown Host: call the API by the host of its public URL, or add this one to POSTRIDER_HTTP__ALLOWED_HOSTS"


def host_of(scope: Scope) -> str | None:
    """The name or address by which a request calls; None when it names none, several, or what is no host."""
    given = [value for name, value in scope["headers"] if name == b"host"]
    return host_name(given[0].decode("latin-1")) if len(given) == 1 else None


class Hosts:
    """Refuses requests to names that are not ours; `probes` are paths that answer by any address."""

    def __init__(self, app: ASGIApp, *, names: Collection[str], loopback: bool, probes: Collection[str]) -> None:
        self._app = app
        self._names = frozenset(names)
        self._loopback = loopback
        self._probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http":
            name = host_of(scope)
            if name not in self._names and not self._is_excused(scope, name):
                raise Problem(Kind.bad_request, "bad_request", UNKNOWN, word="unknown_host")
        await self._app(scope, receive, send)

    def _is_excused(self, scope: Scope, name: str | None) -> bool:
        if name is None:
            return False
        if self._loopback and is_loopback(name):
            return True
        return scope["path"].rstrip("/") in self._probes and is_address(name)
