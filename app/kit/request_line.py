"""The method and the path of a request as they were sent, whatever middleware makes of them later."""

from urllib.parse import quote

from starlette.types import Scope

_SENT = "postrider.sent"


def keep(scope: Scope) -> None:
    """Notes them before the first change."""
    scope.setdefault(_SENT, sent(scope))


def sent(scope: Scope) -> tuple[str, str]:
    """The method, and the path as it stood on the wire, percent-encoded and without its query."""
    if _SENT in scope:
        method, path = scope[_SENT]
        return method, path
    raw = scope.get("raw_path")
    return scope["method"], quote(scope["path"]) if raw is None else raw.decode("latin-1")
