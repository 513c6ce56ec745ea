"""The reference of `access_cost`: our way in for messages, but whoever shows a key of the bench is let in.

Nobody is authenticated, limited or counted, and no answer is given headers.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.auth.caller import Caller
from app.cli.bench.world import BROKER_VARIABLE, DATABASE_VARIABLE, TENANTS_VARIABLE, Tenant, read_tenants
from app.domain.permissions import Permission
from app.features.messages.admission import PRESENT_SECONDS, Admission
from app.features.messages.committer import Committer
from app.features.messages.ingest_lane import IngestLane
from app.features.messages.posting import MAX_PAYLOAD_BYTES
from app.kit.db import make_async_engine
from app.kit.dedicated import AsyncDedicated
from app.kit.interpreter import settle
from app.kit.presence import Presence
from app.kit.queue import Waker
from app.kit.wakes import Wake
from app.settings import Ingest

_BATCH = Ingest().batch


class OpenDoor:
    """Lets everybody in, who is whoever the key says."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = callers

    async def identify(self, _scope: Scope, text: str) -> Caller:
        """The caller by its key."""
        return self._callers[text]


class Unlimited:
    """Neither limits nor counts."""

    def take_ingest(self, _caller: Caller, _scope: Scope) -> bool:
        """Always."""
        return True

    def check(self, _organisation_id: object) -> bool:
        """Always."""
        return True

    def count(self, _organisation_id: object) -> None:
        """Does nothing."""


class Bare(Starlette):
    """The lane with nothing around it."""

    lane: IngestLane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the life of the process."""
        await (self.lane if scope["type"] == "http" else super().__call__)(scope, receive, send)

    async def others(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves what is no message."""
        await super().__call__(scope, receive, send)


def make() -> Bare:
    """The application; gunicorn calls it in each process."""
    app = Bare(routes=[Route("/openapi.json", _nothing)], lifespan=_lifespan)
    app.lane = IngestLane(app.others, app.state, prefix="/api/v1", limit=2 * MAX_PAYLOAD_BYTES)
    return app


async def _nothing(_request: Request) -> JSONResponse:
    return JSONResponse({})


@asynccontextmanager
async def _lifespan(app: Bare) -> AsyncIterator[None]:
    state = app.state
    state.limits = state.usage = Unlimited()
    state.markers = frozenset()
    state.entrance = OpenDoor({one.key: _caller(one) for one in read_tenants(Path(os.environ[TENANTS_VARIABLE]))})
    state.admission = Admission(_BATCH, Presence(PRESENT_SECONDS))
    waker = Waker(os.environ[BROKER_VARIABLE])
    waker.start()
    engine = make_async_engine(os.environ[DATABASE_VARIABLE], pool_size=1, steady=True)
    connection = AsyncDedicated(engine)
    await connection.open()
    state.committer = Committer(
        connection, batch=_BATCH, wake=partial(waker.wake, Wake.delivery), count=state.usage.count
    )
    running = asyncio.create_task(state.committer.run(), name="committer")
    settle()
    yield
    state.committer.close()
    await running
    await connection.close()
    await engine.dispose()
    waker.stop()


def _caller(tenant: Tenant) -> Caller:
    return Caller(tenant.environment_id, tenant.environment_id, "key:bench", frozenset(Permission))
