"""An installation with two organisations, each of which has something in every table; and the API in this process."""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from unittest import mock

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import make_engine, make_sessions
from app.main import create_app
from app.settings import read_settings
from tests.api.client import Api, Tenant, new_tenant, served
from tests.api.operations import Places
from tests.api.world import World
from tests.receiver import Receiver
from tests.servers import Servers, cloned_database, process_environment
from tests.system import System, running_system
from tests.tenancy.resident import Resident, settle


@dataclass(frozen=True)
class Town:
    """The installation, in which nothing moves by itself any more, and who lives there."""

    system: System
    urls: DatabaseUrls
    ours: Resident
    theirs: Resident


@pytest.fixture(scope="session")
def town(servers: Servers, template: str, receiver: Receiver) -> Iterator[Town]:
    """Settled by the API and the workers; then the workers stop, so that whatever changes was done by a test."""
    with cloned_database(servers, template) as urls:
        environment = process_environment(urls, servers.own_redis_url())
        with running_system(environment, api=1, workers=1) as system:
            ours, theirs = (settle(system.url, system.new_tenant(), receiver, system.sessions) for _ in range(2))
            for part in ("beat", "worker"):
                system.children.pop(part).stop()
            yield Town(system, urls, ours, theirs)


@pytest.fixture(scope="module")
def sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    """Sessions of the worker's role on the module's database."""
    engine = make_engine(database.worker, pool_size=1)
    yield make_sessions(engine)
    engine.dispose()


@pytest_asyncio.fixture(scope="module")
async def nobodys(environment: dict[str, str]) -> AsyncIterator[Api]:
    """The API on the module's database, called without a credential."""
    with mock.patch.dict(os.environ, environment, clear=True):
        app = create_app(read_settings())
    async with served(app) as url, aiohttp.ClientSession() as http:
        yield Api(http, url, None)


@pytest.fixture
def tenant(sessions: sessionmaker[Session]) -> Tenant:
    """A fresh organisation."""
    return new_tenant(sessions)


@pytest_asyncio.fixture
async def places(nobodys: Api, sessions: sessionmaker[Session], tenant: Tenant) -> Places:
    """The same, which has one of everything."""
    return await Places.of(World(nobodys.with_credential(tenant.key), sessions, tenant.id))
