"""Routers whose routes read JSON strictly, and say what went wrong like any other fault."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.domain.json_text import BadJson, read_object
from app.kit.errors import Fault, Kind, Problem
from app.kit.openapi import operation_id

PREFIX = "/api/v1"
"""Under it are the operations of the API."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
NOTHING_RAW: frozenset[str] = frozenset()


def malformed(error: BadJson) -> Problem:
    """A body that is no JSON object, or holds what JSON text must not."""
    fault = Fault(("body", *error.path), error.message, f"json_{error.kind}")
    return Problem(Kind.invalid, "invalid", error.message, faults=[fault])


BODY = "postrider.body"
"""Where the scope holds the body, when it was read before the route."""


class StrictRequest(Request):
    """A request whose body is read by our own rules."""

    async def body(self) -> bytes:
        """The bytes of the body, whoever reads them first."""
        read: bytes | None = self.scope.get(BODY)
        return await super().body() if read is None else read

    async def json(self) -> dict[str, Any]:
        """The object in the body. Raises BadJson."""
        return read_object(await self.body(), raw=NOTHING_RAW).values


class StrictRoute(APIRoute):
    """A route that reads its body strictly."""

    def get_route_handler(self) -> Handler:
        """The handler, which FastAPI calls once for each route."""
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            if self.body_field is not None:
                # FastAPI reads bodies before dependencies run; who is unknown should not cost us that.
                await request.app.state.admit(request)
            try:
                return await handle(StrictRequest(request.scope, request.receive))
            except HTTPException as error:
                # FastAPI turns whatever reading the body raises into its own error, and keeps the cause.
                if isinstance(error.__cause__, BadJson):
                    raise malformed(error.__cause__) from None
                raise

        return strictly


class Router(APIRouter):
    """The router of every feature: each has a tag, from which its operations are named."""

    def __init__(self, *, tag: str, prefix: str = "", route_class: type[APIRoute] = StrictRoute) -> None:
        super().__init__(
            prefix=f"{PREFIX}{prefix}",
            tags=[tag],
            route_class=route_class,
            generate_unique_id_function=operation_id,
        )


def add_routes(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Gives the app the routers' routes, which are whole.

    `include_router` would have each made a second time when the first request comes: half a second of it.
    """
    for router in routers:
        app.router.routes.extend(router.routes)
