"""A small app that lets signed requests and signed links in, for the tests that come over a socket."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import aiohttp
from fastapi import FastAPI, Request
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from yarl import URL

from app.auth.signed_requests import SignedRequests, SigningSecret
from app.auth.signed_urls import ByLink
from app.cli.dev.roles import DatabaseUrls
from app.kit import errors_http
from app.kit.db import make_async_engine, make_async_sessions
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem
from app.kit.methods import HeadAsGet
from app.kit.surface.bodies import BodyGuard, PlainPaths
from app.models import Organisation
from tests.api.client import Reply, served

MAX_BODY = 1024 * 1024
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class Keys:
    """The keys that may sign: the texts of their ids with their live secrets, at most two."""

    by_id: dict[str, list[SigningSecret]] = field(default_factory=dict)

    def add(self, text: str, organisation_id: UUID, *secrets: bytes) -> SigningSecret:
        """A key; the first of its secrets comes back."""
        key_id = uuid4()
        self.by_id[text] = [SigningSecret(organisation_id, key_id, secret) for secret in secrets]
        return self.by_id[text][0]

    async def look_up(self, text: str) -> Sequence[SigningSecret]:
        return self.by_id.get(text, [])


@asynccontextmanager
async def database_sessions(database: DatabaseUrls) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions of the API's role."""
    engine = make_async_engine(database.api, pool_size=8)
    try:
        yield make_async_sessions(engine)
    finally:
        await engine.dispose()


@asynccontextmanager
async def verifier(sessions: async_sessionmaker[AsyncSession], keys: Keys) -> AsyncIterator[str]:
    """Where every request that is signed is answered with whose key signed it."""
    app = _app(sessions)
    requests = SignedRequests(sessions, keys.look_up)

    async def judge(request: Request) -> dict[str, str]:
        secret = await requests.verify(request.scope, await request.body())
        return {"organisation": str(secret.organisation_id), "key": str(secret.key_id), "secret": secret.secret.hex()}

    app.add_api_route("/{path:path}", judge, methods=METHODS)
    async with served(app) as url:
        yield url


@asynccontextmanager
async def links(sessions: async_sessionmaker[AsyncSession], ring: KeyRing) -> AsyncIterator[str]:
    """Where links open files, and a route that fails after it was opened."""
    app = _app(sessions)
    app.state.keyring = ring

    async def file(name: str, holder: ByLink) -> dict[str, object]:
        seen = [str(one) for one in await holder.db.scalars(select(Organisation.id))]
        return {"name": name, "organisation": str(holder.organisation_id), "seen": seen}

    async def broken(holder: ByLink) -> None:
        raise Problem(Kind.unavailable, "unavailable", "Not now")

    app.add_api_route("/files/{name}", file, methods=["GET", "POST"])
    app.add_api_route("/broken", broken, methods=["GET"])
    async with served(app) as url:
        yield url


def _app(sessions: async_sessionmaker[AsyncSession]) -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    app.state.sessions = sessions
    errors_http.install(app)
    app.add_middleware(BodyGuard, limit=MAX_BODY, prefix="/api/")
    app.add_middleware(PlainPaths)
    app.add_middleware(HeadAsGet)
    return app


async def call(
    http: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Reply:
    """One request, whose URL goes as it is written."""
    async with http.request(method, URL(url, encoded=True), headers=headers, data=body or None) as response:
        return Reply(response.status, response.headers, await response.read())
