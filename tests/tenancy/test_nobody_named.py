"""A request whose transaction names no organisation finds nothing, changes nothing and is no fault of the server."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest import mock
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import Connection
from sqlalchemy.orm import Session, sessionmaker

from app.auth import dependencies, phases
from app.kit import dedicated
from app.kit.db import enter_tenants
from tests.api.client import Api, Tenant, new_tenant
from tests.api.operations import OPERATIONS, Operation, Places, is_problem
from tests.api.world import World
from tests.tenancy.rows import snapshot

pytestmark = pytest.mark.acceptance("Z08")
# They ask for nothing that an organisation has.
OF_NOBODY = {"GET /health", "GET /health/ping", "POST /auth/logout"}
OF_SOMEBODY = [one for one in OPERATIONS if str(one) not in OF_NOBODY]
NOTHING: dict[str, object] = {"data": [], "iterator": None, "prevIterator": None, "done": True}


@contextmanager
def nobody_named() -> Iterator[None]:
    """Every transaction of the API forgets whose it is."""

    def enter_none(db: Session | Connection, _organisation_ids: Iterable[UUID]) -> None:
        enter_tenants(db, ())

    nothing = dedicated._beginning(())
    with (
        mock.patch.object(dependencies, "enter_tenants", enter_none),
        mock.patch.object(phases, "enter_tenants", enter_none),
        mock.patch.object(dedicated, "_beginning", return_value=nothing),
    ):
        yield


@pytest.fixture(scope="module")
def tenant(sessions: sessionmaker[Session]) -> Tenant:
    """One for all of them, since nothing changes."""
    return new_tenant(sessions)


@pytest_asyncio.fixture(scope="module")
async def places(nobodys: Api, sessions: sessionmaker[Session], tenant: Tenant) -> Places:
    return await Places.of(World(nobodys.with_credential(tenant.key), sessions, tenant.id))


@pytest.mark.parametrize("operation", OF_SOMEBODY, ids=str)
async def test_nothing_is_found_and_nothing_changes(places: Places, tenant: Tenant, operation: Operation) -> None:
    before = snapshot(places.world.sessions, tenant)
    body = json.dumps(operation.least()).encode() if operation.body else None
    path, headers = places.path(operation), operation.whatever_version
    query = {"name": "any"} if "name" in operation.parameters("query") else None
    with nobody_named():
        reply = await places.api.call(operation.method, path, raw=body, headers=headers, query=query)
    if reply.status == 200:
        assert reply.body == NOTHING
    else:
        assert is_problem(reply, reply.status), reply.raw
        # A PUT with a tag changes what there is, and there is nothing.
        assert reply.status in ({403, 404, 412} if operation.method == "PUT" else {403, 404}), reply.raw
    assert snapshot(places.world.sessions, tenant) == before


async def test_the_same_is_there_when_the_organisation_is_named(places: Places) -> None:
    """Else the above would say nothing."""
    assert (await places.api.get("/app")).body["data"] != []
    assert (await places.api.get(places.world.path)).status == 200
    assert (await places.api.post("/app", {"name": "one more"})).status == 201
