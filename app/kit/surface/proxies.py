"""Puts into the scope who really called and how, as far as proxies that are trusted say so."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.addresses import Network
from app.domain.forwarded import ProxyHeaders, hops, is_within, true_caller
from app.domain.hosts import plain_address


class Proxies:
    """Sets `client`, `scheme` and the Host header; without trusted networks nothing is believed."""

    def __init__(self, app: ASGIApp, *, trusted: Sequence[Network], written: ProxyHeaders) -> None:
        self._app = app
        self._trusted = trusted
        self._written = written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and scope.get("client"):
            address, port = scope["client"]
            if ":" in address:
                address = plain_address(address) or address
                scope["client"] = address, port
            if self._trusted and plain_address(address) and is_within(address, self._trusted):
                self._believe(scope, address, port)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope, address: str, port: int) -> None:
        caller = true_caller(address, port, hops(_headers(scope), self._written), self._trusted)
        scope["client"] = caller.address, caller.port
        scope["scheme"] = caller.scheme or scope["scheme"]
        if caller.host is not None:
            others = [one for one in scope["headers"] if one[0] != b"host"]
            scope["headers"] = [(b"host", caller.host.encode("latin-1")), *others]


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found
