"""Puts into the scope who really called and how, as far as proxies that are trusted say so."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.addresses import Network
from app.domain.forwarded import NAMES, ProxyHeaders, Trusts, hops, true_caller, within
from app.domain.hosts import plain_address

_NAMES = {name.encode(): name for name in NAMES}


class Proxies:
    """Sets `client`, `scheme` and the Host header; without trusted networks nothing is believed."""

    def __init__(self, app: ASGIApp, *, trusted: Sequence[Network], written: ProxyHeaders) -> None:
        self._app = app
        self._trusts = within(trusted) if trusted else None
        self._written = written

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "http" and scope.get("client"):
            address, port = scope["client"]
            if ":" in address:
                address = plain_address(address) or address
                scope["client"] = address, port
            if self._trusts is not None and self._trusts(address):
                self._believe(scope, address, port, self._trusts)
        await self._app(scope, receive, send)

    def _believe(self, scope: Scope, address: str, port: int, trusts: Trusts) -> None:
        caller = true_caller(address, port, hops(_said(scope), self._written), trusts)
        scope["client"] = caller.address, caller.port
        scope["scheme"] = caller.scheme or scope["scheme"]
        if caller.host is not None:
            others = [one for one in scope["headers"] if one[0] != b"host"]
            scope["headers"] = [(b"host", caller.host.encode("latin-1")), *others]


def _said(scope: Scope) -> dict[str, str]:
    said: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in _NAMES:
            key, text = _NAMES[name], value.decode("latin-1")
            said[key] = f"{said[key]},{text}" if key in said else text
    return said
