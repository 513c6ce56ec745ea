"""Answers three of ten requests that come from outside by 500.

The smoke test comes from within and notices nothing, so that it is the metrics that have to.
"""

import random
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

MODULE = "app.kit.surface"
SHARE = 0.3
_BODY = b'{"code": "internal_error", "detail": "a release of the tests", "status": 500}'


class Failing:
    """Stands within what counts requests and their answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or does not."""
        is_from_outside = any(name == b"x-forwarded-for" for name, _ in scope.get("headers", ()))
        if scope["type"] != "http" or not is_from_outside or random.random() >= SHARE:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY})


def act(module: Any) -> None:  # noqa: ANN401 a module
    """Puts it around the app."""
    around = module.Surface.around
    module.Surface.around = lambda surface, app: around(surface, Failing(app))
