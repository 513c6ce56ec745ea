"""In front of signing in: a few at once go in, and a flood waits outside, where it costs next to nothing."""

from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.console.pages import HEADERS, render
from app.kit.errors import Problem
from app.kit.surface.bodies import come_whole
from app.kit.turns import Turns

MOST = 64 * 1024
"""Bytes of a form; the longest password takes a few of them."""


class Door:
    """Lets POSTs to the path `page` through by turns; who waited in vain gets a page that was written beforehand.

    Even to read a form and to find its route costs a hundred times what waiting does, so it stands before the frame.
    Whoever sends slowly is not let in before all is there, or would stand in everybody's way.
    """

    def __init__(self, app: ASGIApp, turns: Turns, *, page: str, base: str) -> None:
        self._app = app
        self._turns = turns
        self._page = page
        self._busy = render("people/busy.html", base, person=None).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"].rstrip("/") != self._page:
            await self._app(scope, receive, send)
            return
        try:
            receive = await come_whole(scope, receive, MOST)
            async with self._turns.one():
                await self._app(scope, receive, send)
        except Problem as problem:
            headers = HEADERS | {"Retry-After": str(round(problem.retry_after or 1))}
            await HTMLResponse(self._busy, 503, headers)(scope, receive, send)
