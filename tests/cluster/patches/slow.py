"""Answers every request two seconds later."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

MODULE = "app.kit.surface"
SECONDS = 2.0


def late(app: ASGIApp) -> ASGIApp:
    """The app, late."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await asyncio.sleep(SECONDS)
        await app(scope, receive, send)

    return serve


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Puts it around the app, within what measures."""
    around = module.Surface.around
    module.Surface.around = lambda surface, app: around(surface, late(app))
