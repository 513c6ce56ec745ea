"""Plain HTTP where HTTPS is required: pages move on, everything else is refused."""

import re
from collections.abc import Awaitable, Callable, Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.hosts import is_loopback
from app.kit.errors import Kind, Problem
from app.kit.methods import READS
from app.kit.surface.hosts import host_of
from app.kit.telemetry.logs import get_logger

Leaked = Callable[[Scope], Awaitable[None]]
CARRIERS = frozenset({b"authorization", b"cookie"})
IN_QUERY = re.compile(rb"(?:^|&)(?:access_)?token=")
REQUIRED = "Plain HTTP is refused: call {url}, and replace a credential that was sent without HTTPS"
logger = get_logger(__name__)


async def log_leaked(scope: Scope) -> None:
    """Tells the operator, in a line that does not hold the credential."""
    logger.warning(
        "credential_without_https",
        method=scope["method"],
        remedy="replace it; the audit log says whose it is, if it is good",
    )


def carries_credential(scope: Scope) -> bool:
    """Whether the request shows a credential, good or not."""
    return any(name in CARRIERS for name, _ in scope["headers"]) or bool(IN_QUERY.search(scope["query_string"]))


class Https:
    """Lets no request through that came by plain HTTP, but for probes and, where `loopback` says so, this machine.

    GET and HEAD of `pages`, each with what is below it, are sent on to `url`. `leaked` hears of each request that
    showed a credential.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        url: str,
        pages: tuple[str, ...],
        probes: Collection[str],
        loopback: bool,
        leaked: Leaked,
    ) -> None:
        self._app = app
        self._url = url.rstrip("/")
        self._pages = re.compile("|".join(f"{re.escape(page)}(?:/.*)?" for page in pages), re.DOTALL)
        self._probes = probes
        self._loopback = loopback
        self._leaked = leaked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or scope["scheme"] == "https" or self._is_excused(scope):
            await self._app(scope, receive, send)
            return
        if carries_credential(scope):
            await self._leaked(scope)
        if scope["method"] not in READS or not self._pages.fullmatch(scope["path"]):
            raise Problem(Kind.forbidden, "insufficient access", REQUIRED.format(url=self._url), word="https_required")
        await Response(status_code=308, headers={"location": self._same(scope)})(scope, receive, send)

    def _is_excused(self, scope: Scope) -> bool:
        if scope["path"].rstrip("/") in self._probes and not carries_credential(scope):
            return True
        return self._loopback and is_loopback(host_of(scope) or "")

    def _same(self, scope: Scope) -> str:
        path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
        return f"{self._url}{path}?{query}" if query else f"{self._url}{path}"
