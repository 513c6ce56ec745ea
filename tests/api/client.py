"""A caller of the API over a real socket, and the organisations that it calls for."""

import asyncio
import contextlib
import io
import json
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

import aiohttp
import uvicorn
from sqlalchemy.orm import Session, sessionmaker
from starlette.types import ASGIApp

from app.features.organisations import operations
from app.kit.protocol import SERVER

Query = Mapping[str, str | int]


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:  # noqa: ANN401 whatever JSON says
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        code: str = self.body["code"]
        return code

    @property
    def fields(self) -> list[str]:
        """Where a 422 found its faults."""
        return [".".join(one["loc"]) for one in self.body["detail"]]


@dataclass(frozen=True)
class Api:
    """Calls paths below /api/v1 with a credential."""

    http: aiohttp.ClientSession
    base: str
    credential: str | None

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Query | None = None,
    ) -> Reply:
        """One request; `body` goes as JSON, `raw` as it is."""
        data = json.dumps(body).encode() if raw is None and body is not None else raw
        sent = {"authorization": f"Bearer {self.credential}"} if self.credential else {}
        sent |= {"content-type": "application/json"} if data is not None else {}
        request = self.http.request(
            method,
            f"{self.base}/api/v1{path}",
            data=io.BytesIO(data) if data else data,
            headers={**sent, **(headers or {})},
            params=query,
        )
        async with request as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **query: str | int) -> Reply:
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> Reply:
        return await self.call("POST", path, body, headers={"idempotency-key": key} if key else None)

    async def put(self, path: str, body: object) -> Reply:
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: object) -> Reply:
        return await self.call("PATCH", path, body)

    async def delete(self, path: str, **query: str | int) -> Reply:
        return await self.call("DELETE", path, query=query)

    def with_credential(self, credential: str | None) -> Self:
        return type(self)(self.http, self.base, credential)

    async def portal(self, reference: str, /, **allowed: object) -> Self:
        """The same API for a holder of a portal token of the application."""
        reply = await self.post(f"/auth/app-portal-access/{reference}", allowed)
        assert reply.status == 200, reply.raw
        return self.with_credential(reply.body["token"])


NOBODY = UUID(int=0)


@dataclass(frozen=True)
class Tenant:
    """An environment, of a fresh organisation unless it is said otherwise, with a key, and perhaps with a person."""

    id: UUID
    organisation_id: UUID
    key_id: UUID
    key: str
    person_id: UUID = NOBODY


def new_tenant(
    sessions: sessionmaker[Session],
    new: operations.NewKey = operations.NewKey("test", "live"),  # noqa: B008 it is frozen
    organisation_id: UUID | None = None,
) -> Tenant:
    """A key made as the command line does, and an organisation unless one is given."""
    with sessions.begin() as db:
        owner = organisation_id or operations.create_organisation(db, f"org {secrets.token_hex(4)}")
        key, text = operations.create_key(db, owner, new)
        return Tenant(key.environment_id, owner, key.id, text)


@contextlib.asynccontextmanager
async def served(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """The app behind uvicorn on a free port, or this one, of this event loop; yields its base URL."""
    # Only of a socket that says TCP does asyncio turn off the delay of small writes, 40 ms for each answer.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, lifespan="on", log_level="warning", access_log=False, **SERVER)
    # Client and server share a loop: after whatever blocks it for long, neither may find the other gone.
    config.timeout_keep_alive = 300
    server = _Server(config)
    running = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            assert not running.done(), "the API did not start"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()


class _Server(uvicorn.Server):
    """Leaves the signals to pytest."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
