"""A database and connections for what comes over a socket."""

from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.features.organisations import operations
from app.kit.db import make_engine, make_sessions
from tests.verifier import database_sessions


@pytest.fixture(scope="module")
def worker_sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    """Sessions of the worker's role, which sees every organisation."""
    engine = make_engine(database.worker)
    yield make_sessions(engine)
    engine.dispose()


@pytest_asyncio.fixture(scope="module")
async def api_sessions(database: DatabaseUrls) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions of the API's role."""
    async with database_sessions(database) as sessions:
        yield sessions


@pytest_asyncio.fixture(scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
def organisation_id(worker_sessions: sessionmaker[Session]) -> UUID:
    """A fresh organisation."""
    with worker_sessions.begin() as db:
        return operations.create_organisation(db, "one")
