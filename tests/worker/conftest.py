"""A database for every module, seen by the worker's role and by the API's; every test begins with nothing due."""

import os
from collections.abc import AsyncIterator, Iterator
from unittest import mock

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import make_async_engine, make_async_sessions, make_engine, make_sessions
from app.kit.encryption import KeyRing
from app.settings import Settings, read_settings
from tests.worker.house import House


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    """The settings of processes on the module's database."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return read_settings()


@pytest.fixture(scope="module")
def sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    """Sessions of the worker's role, which sees every organisation."""
    engine = make_engine(database.worker, pool_size=12, steady=True, name="postrider-test")
    yield make_sessions(engine)
    engine.dispose()


@pytest_asyncio.fixture(scope="module")
async def api_engine(database: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    """The API's role, which sees the organisations that a transaction names."""
    engine = make_async_engine(database.api, pool_size=4, steady=True)
    yield engine
    await engine.dispose()


@pytest.fixture
def api_sessions(api_engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions of the API's role."""
    return make_async_sessions(api_engine)


@pytest.fixture(scope="module")
def ring(settings: Settings) -> KeyRing:
    """The keys of the module's secrets."""
    return settings.secrets.ring()


@pytest.fixture
def house(sessions: sessionmaker[Session], ring: KeyRing) -> House:
    """The database, with nothing due."""
    house = House(sessions, ring)
    house.clear()
    return house
