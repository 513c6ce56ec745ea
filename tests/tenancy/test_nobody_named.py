"""A request whose transaction names no organisation finds nothing, changes nothing and is no fault of the server."""

import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from unittest import mock
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from app.auth import dependencies
from app.cli.dev.roles import DatabaseUrls
from app.kit import dedicated
from app.kit.db import enter_tenants, make_engine, make_sessions
from app.main import create_app
from app.settings import read_settings
from tests.api.client import Api, new_tenant, served
from tests.api.operations import OPERATIONS, Operation, Places, is_problem
from tests.api.world import World
from tests.tenancy.rows import snapshot

pytestmark = pytest.mark.acceptance("Z08")
# They ask for nothing that an organisation has.
OF_NOBODY = {"GET /health", "GET /health/ping", "POST /auth/logout"}
OF_SOMEBODY = [one for one in OPERATIONS if str(one) not in OF_NOBODY]
NOTHING: dict[str, object] = {"data": [], "iterator": None, "prevIterator": None, "done": True}


@pytest.fixture(scope="module")
def sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    engine = make_engine(database.worker, pool_size=1)
    yield make_sessions(engine)
    engine.dispose()


@pytest_asyncio.fixture(scope="module")
async def places(environment: dict[str, str], sessions: sessionmaker[Session]) -> AsyncIterator[Places]:
    with mock.patch.dict(os.environ, environment, clear=True):
        app = create_app(read_settings())
    tenant = new_tenant(sessions)
    async with served(app) as url, aiohttp.ClientSession() as http:
        yield await Places.of(World(Api(http, url, tenant.key), sessions, tenant.id))


@pytest.fixture
def nobody() -> Iterator[None]:
    """Every transaction of the API forgets whose it is."""

    def enter_none(db: Session | Connection, _organisation_ids: Iterable[UUID]) -> None:
        enter_tenants(db, ())

    nothing = dedicated._beginning(())
    with (
        mock.patch.object(dependencies, "enter_tenants", enter_none),
        mock.patch.object(dedicated, "_beginning", return_value=nothing),
    ):
        yield


@pytest.mark.parametrize("operation", OF_SOMEBODY, ids=str)
async def test_nothing_is_found_and_nothing_changes(places: Places, nobody: None, operation: Operation) -> None:
    before = snapshot(places.world.sessions, places.world.organisation_id)
    body = json.dumps(operation.least()).encode() if operation.body else None
    reply = await places.api.call(operation.method, places.path(operation), raw=body)
    if reply.status == 200:
        assert reply.body == NOTHING
    else:
        assert is_problem(reply, reply.status), reply.raw
        assert reply.status in {403, 404}, reply.raw
    assert snapshot(places.world.sessions, places.world.organisation_id) == before


async def test_the_same_is_there_when_the_organisation_is_named(places: Places) -> None:
    """Else the above would say nothing."""
    assert (await places.api.get("/app")).body["data"] != []
    assert (await places.api.get(places.world.path)).status == 200
    assert (await places.api.post("/app", {"name": "one more"})).status == 201
