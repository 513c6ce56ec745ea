"""The real API over a real database and a real socket; each test calls for an organisation of its own."""

import os
from collections.abc import AsyncIterator, Iterator
from unittest import mock

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import make_engine, make_sessions
from app.main import create_app
from app.settings import Settings, read_settings
from tests.api.client import Api, Tenant, new_tenant, served


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    """The settings of the module's database."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return read_settings()


@pytest.fixture(scope="module")
def sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    """Sessions of the worker's role, which sees every organisation."""
    engine = make_engine(database.worker)
    yield make_sessions(engine)
    engine.dispose()


@pytest_asyncio.fixture(scope="module")
async def base_url(settings: Settings) -> AsyncIterator[str]:
    """Where the API answers."""
    async with served(create_app(settings)) as url:
        yield url


@pytest_asyncio.fixture(scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections to it."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
def tenant(sessions: sessionmaker[Session]) -> Tenant:
    """A fresh organisation."""
    return new_tenant(sessions)


@pytest.fixture
def api(http: aiohttp.ClientSession, base_url: str, tenant: Tenant) -> Api:
    """The API as the fresh organisation calls it."""
    return Api(http, base_url, tenant.key)


@pytest.fixture
def stranger(http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session]) -> Api:
    """The API as another organisation calls it."""
    return Api(http, base_url, new_tenant(sessions).key)
