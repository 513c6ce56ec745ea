"""A list takes the same number of statements with one row as with three."""

import pytest
import pytest_asyncio
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from tests.api.client import Api, Tenant
from tests.api.key_world import make
from tests.api.world import World, counted

LISTS = {
    "/app/{app}/msg?with_content=true": 4,
    "/app/{app}/endpoint/{ep}/msg?with_content=true": 6,
    "/app/{app}/attempt/endpoint/{ep}?with_msg=true": 5,
    "/app/{app}/attempt/endpoint/{ep}?channel=x": 4,
    "/app/{app}/attempt/msg/{msg}": 4,
    "/app/{app}/msg/{msg}/endpoint": 4,
    "/background-task": 2,
    "/organisation/api-key": 3,
    "/audit?action=endpoint.created": 2,
}


@pytest_asyncio.fixture(params=[1, 3])
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session], request: pytest.FixtureRequest) -> World:
    found = await World(api, sessions, tenant.id).setup(endpoints=request.param)
    for _ in range(request.param - 1):
        await make(api)
    for _ in range(request.param):
        message = await found.message(channels=["x"])
        for endpoint in found.endpoints:
            found.attempt(message, endpoint)
        path = f"{found.path}/endpoint/{found.endpoints[0]}/recover"
        await api.post(path, {"since": "2999-01-01T00:00:00Z"})
    return found


@pytest.mark.parametrize("path", LISTS)
async def test_a_list_takes_a_fixed_number_of_statements(world: World, path: str) -> None:
    messages = (await world.api.get(f"{world.path}/msg")).body["data"]
    called = path.format(app=world.app_id, ep=world.endpoints[0], msg=messages[0]["id"])
    with counted(Engine) as statements:
        reply = await world.api.get(called)
    assert reply.status == 200
    assert len(reply.body["data"]) == len(world.endpoints)
    # What is read is noted once a minute, and a minute may end in between.
    asked = [one for one in statements if "INSERT INTO audit_events" not in one]
    assert len(asked) == LISTS[path], "\n".join(asked)
