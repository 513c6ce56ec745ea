"""Connections, callers and workers that organisations share carry nothing of one to another, pooled or not."""

import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock
from uuid import UUID

import aiohttp
import psycopg
import pytest
from sqlalchemy import Connection, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from starlette.datastructures import State

from app.auth import dependencies
from app.cli.dev.roles import DatabaseUrls
from app.kit.db import TENANTS_SETTING, enter_tenants, make_engine, make_sessions
from app.main import create_app
from app.settings import read_settings
from tests.api.client import Api, new_tenant, served
from tests.receiver import Receiver
from tests.servers import Servers, cloned_database, process_environment
from tests.system import System, running_system
from tests.tenancy.load import KINDS, Citizen, Load
from tests.tenancy.pooler import pooled

POOL_SIZE = 2
DELIVERED_SECONDS = 60
pytestmark = pytest.mark.timeout(300)
Environment = dict[str, str]


@pytest.fixture(scope="module", params=["directly", "through a pooler"])
def installation(request: pytest.FixtureRequest, servers: Servers, template: str) -> Iterator[System]:
    """An API with few connections to its database, by itself or by way of a pooler that has few."""
    with ExitStack() as stack:
        urls = stack.enter_context(cloned_database(servers, template))
        environment = process_environment(urls, servers.own_redis_url())
        environment["POSTRIDER_DATABASE__POOL_SIZE"] = str(POOL_SIZE)
        if request.param == "through a pooler":
            environment["POSTRIDER_DATABASE__URL"] = stack.enter_context(pooled(urls.api))
            environment["POSTRIDER_DATABASE__POOLER"] = "true"
        yield stack.enter_context(running_system(environment, api=2, workers=1))


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        yield session


@pytest.fixture
def number(request: pytest.FixtureRequest) -> int:
    """How many requests: all that the row asks for where rows are counted."""
    return 10_000 if request.config.getoption("markexpr") == "acceptance" else 2_000


@pytest.mark.acceptance("Z07")
async def test_nothing_leaks_under_a_mixed_load(
    installation: System, http: aiohttp.ClientSession, receiver: Receiver, number: int
) -> None:
    keys = [installation.new_tenant().key for _ in range(2)]
    citizens = [await Citizen.settled(Api(http, installation.url, key), receiver) for key in keys]
    load = Load(citizens)
    await load.run(number)
    assert load.wrong == []
    assert load.kinds.total() == number
    assert load.kinds.keys() == KINDS.keys()
    for one in citizens:
        assert delivered_to(receiver, one) == one.posted


def delivered_to(receiver: Receiver, citizen: Citizen) -> set[str]:
    """The ids of the messages that came to an organisation's endpoint, all of which must be its own."""
    arrived = receiver.wait(citizen.path, len(citizen.posted), DELIVERED_SECONDS)
    assert [one for one in arrived if json.loads(one.body) != {"whose": citizen.mark}] == []
    return {one.id for one in arrived}


@dataclass(frozen=True)
class House:
    """The API in this process, where its connections can be looked at, and two organisations."""

    state: State
    load: Load


@pytest.fixture
async def house(
    environment: Environment, database: DatabaseUrls, http: aiohttp.ClientSession, receiver: Receiver
) -> AsyncIterator[House]:
    engine = make_engine(database.worker, pool_size=1)
    with mock.patch.dict(os.environ, environment | {"POSTRIDER_DATABASE__POOL_SIZE": str(POOL_SIZE)}, clear=True):
        app = create_app(read_settings())
    async with served(app) as url:
        keys = [new_tenant(make_sessions(engine)).key for _ in range(2)]
        yield House(app.state, Load([await Citizen.settled(Api(http, url, key), receiver) for key in keys]))
    engine.dispose()


@pytest.mark.acceptance("Z10")
async def test_a_caller_who_is_taken_for_another_would_be_seen(house: House) -> None:
    """Else the load above would say nothing."""
    callers = house.state.callers
    first = await callers.identify(house.load.citizens[0].api.credential)
    with mock.patch.object(callers, "identify", mock.AsyncMock(return_value=first)):
        await house.load.run(200)
    assert {one.partition(":")[0] for one in house.load.wrong} >= {"list", "one", "foreign", "change", "nobody"}


@pytest.mark.acceptance("Z07")
@pytest.mark.parametrize("is_local", [True, False])
async def test_a_connection_comes_from_the_pool_without_an_organisation(house: House, is_local: bool) -> None:  # noqa: FBT001  # a case
    """Nor would it, were the setting the session's: the filters of the statements would hide it from the answers."""
    named: set[str] = set()

    def look(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SELECT current_setting('{TENANTS_SETTING}', true)")
        named.update(setting or "" for (setting,) in cursor.fetchall())
        connection.rollback()

    def keep(db: Session | Connection, organisation_ids: Iterable[UUID]) -> None:
        for one in organisation_ids:
            db.execute(select(func.set_config(TENANTS_SETTING, str(one), False)))  # noqa: FBT003  # the function's own

    event.listen(house.state.engine.sync_engine, "checkout", look)
    with mock.patch.object(dependencies, "enter_tenants", enter_tenants if is_local else keep):
        await house.load.run(300)
    assert (named == {""}) == is_local


@pytest.mark.acceptance("Z07")
def test_a_pooler_hands_on_what_a_session_set_and_only_that(database: DatabaseUrls) -> None:
    """Else the load through it would say nothing of connections that are shared."""
    asked = "SELECT pg_backend_pid(), current_setting(%s, true)"
    with (
        pooled(database.api, connections=1) as url,
        psycopg.connect(url, autocommit=True) as first,
        psycopg.connect(url, autocommit=True) as second,
    ):
        for is_local, left in ((True, {None, ""}), (False, {"somebody"})):
            with first.transaction():
                first.execute("SELECT set_config(%s, 'somebody', %s)", [TENANTS_SETTING, is_local])
                pid = first.execute("SELECT pg_backend_pid()").fetchone()
            found = second.execute(asked, [TENANTS_SETTING]).fetchone()
            assert found is not None
            assert pid == found[:1]
            assert found[1] in left
