"""Every route by every role: who may not is told so, and the document says of each who may."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth.matrix import COLUMNS, Operation, operations
from app.domain.permissions import Permission, Role
from app.features.organisations.operations import NewKey
from app.main import PREFIX, create_app
from app.settings import Settings
from tests.acceptance import ROWS
from tests.api.client import Api, Tenant, new_tenant
from tests.api.world import World
from tests.auth.matrix import document
from tests.servers import ROOT

ORDER = {"GET": 0, "POST": 1, "PUT": 2, "PATCH": 3, "DELETE": 4}
assert "Z02" in ROWS


@dataclass(frozen=True)
class Place:
    """An organisation with one of each thing, and its ids by the names of path parameters."""

    api: Api
    tenant: Tenant
    ids: dict[str, str]

    def path(self, one: Operation) -> str:
        return one.path.removeprefix(PREFIX).format_map(self.ids)


async def furnished(http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session]) -> Place:
    tenant = new_tenant(sessions)
    api = Api(http, base_url, tenant.key)
    world = await World(api, sessions, tenant.id).setup()
    await api.post("/event-type", {"name": "a.b", "description": ""})
    message = await world.message()
    ids: dict[str, Any] = {
        "app_id": world.app_id,
        "endpoint_id": world.endpoints[0],
        "msg_id": message,
        "attempt_id": f"atmpt_{message.removeprefix('msg_')}",
        "event_type_name": "a.b",
        "task_id": f"qtask_{message.removeprefix('msg_')}",
        "key_id": f"key_{message.removeprefix('msg_')}",
        "secret_id": f"sec_{message.removeprefix('msg_')}",
    }
    return Place(api, tenant, ids)


async def as_column(place: Place, sessions: sessionmaker[Session], column: str) -> Api:
    if column in set(Role):
        made = new_tenant(sessions, NewKey(column, "live", Role(column)), place.tenant.organisation_id)
        return place.api.with_credential(made.key)
    return await place.api.portal(place.ids["app_id"], readOnly="read-only" in column)


def every(settings: Settings) -> list[Operation]:
    found = operations(create_app(settings).routes, PREFIX)
    # What deletes comes last, the innermost first, and the way out after all.
    return sorted(found, key=lambda one: ("logout" in one.path, ORDER.get(one.method, 0), -len(one.path)))


@pytest.mark.acceptance("Z02")
@pytest.mark.parametrize("column", COLUMNS)
async def test_each_route_admits_whom_the_matrix_says(
    http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session], settings: Settings, column: str
) -> None:
    place = await furnished(http, base_url, sessions)
    caller = await as_column(place, sessions, column)
    wrong = {}
    for one in every(settings):
        # A body that no route takes: whoever is let in is told of it, and changes nothing.
        body = {"never": "taken"} if one.method in {"POST", "PUT", "PATCH"} else None
        reply = await caller.call(one.method, place.path(one), body)
        assert reply.status != 401, (one, reply.raw)
        if (reply.status != 403) != one.admits(COLUMNS[column]):
            wrong[f"{one.method} {one.path}"] = (reply.status, one.needs)
    assert wrong == {}


@pytest.mark.acceptance("Z02")
def test_the_document_is_what_the_routes_say() -> None:
    written = (Path(ROOT) / "app/auth/permissions.md").read_text()
    assert written == document(), "run `make permissions`"


async def test_nothing_is_open_but_health(settings: Settings) -> None:
    found = {one.path for one in operations(create_app(settings).routes, PREFIX) if one.is_open}
    assert {path.removeprefix(PREFIX) for path in found} == {"/health", "/health/ping"}


@pytest.mark.acceptance("K02")
async def test_scopes_narrow_what_a_role_may(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    new = NewKey("reads", "live", Role.owner, scopes=[Permission.application_list])
    narrow = api.with_credential(new_tenant(sessions, new, tenant.organisation_id).key)
    assert (await narrow.get("/app")).status == 200
    refused = await narrow.post("/app", {"name": "a"})
    assert (refused.status, refused.code) == (403, "insufficient access")
    assert refused.body["type"] == "urn:postrider:error:insufficient_scope"
    assert Permission.application_write in refused.body["detail"]


async def test_who_may_not_look_is_not_told_what_there_is(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    there = (await api.post("/app", {"name": "a"})).body["id"]
    new = NewKey("sends", "live", Role.owner, scopes=[Permission.message_send])
    blind = api.with_credential(new_tenant(sessions, new, tenant.organisation_id).key)
    replies = [await blind.get(f"/app/{name}") for name in (there, "nothing", "app_01jd0000000000000000000000")]
    assert {one.status for one in replies} == {403}


async def test_who_may_look_is_told_what_is_there_and_then_that_it_may_not(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    there = (await api.post("/app", {"name": "a"})).body["id"]
    viewer = api.with_credential(new_tenant(sessions, NewKey("v", "live", Role.viewer), tenant.organisation_id).key)
    assert (await viewer.delete(f"/app/{there}")).status == 403
    assert (await viewer.delete("/app/nothing")).status == 404


async def test_a_message_makes_no_application_for_who_may_make_none(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    new = NewKey("sends", "live", Role.developer, scopes=[Permission.message_send])
    sender = api.with_credential(new_tenant(sessions, new, tenant.organisation_id).key)
    body = {"eventType": "a.b", "payload": {}, "application": {"name": "made", "uid": "made"}}
    assert (await sender.post("/app/made/msg", body)).status == 403
    assert (await api.get("/app/made")).status == 404
    assert (await api.post("/app/made/msg", body)).status == 202
    assert (await sender.post("/app/made/msg", {"eventType": "a.b", "payload": {}})).status == 202


@pytest.mark.acceptance("K05")
async def test_a_portal_token_may_no_more_than_its_maker(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    there = (await api.post("/app", {"name": "a"})).body["id"]
    endpoint = (await api.post(f"/app/{there}/endpoint", {"url": "http://127.0.0.1:9/"})).body["id"]
    support = api.with_credential(new_tenant(sessions, NewKey("s", "live", Role.support), tenant.organisation_id).key)
    asked = await support.post(f"/auth/app-portal-access/{there}", {"capabilities": ["ViewEndpointSecret"]})
    assert asked.status == 403
    holder = await support.portal(there)
    assert (await holder.get(f"/app/{there}/endpoint/{endpoint}")).status == 200
    assert (await holder.get(f"/app/{there}/endpoint/{endpoint}/secret")).status == 403
    assert (await holder.delete(f"/app/{there}/endpoint/{endpoint}")).status == 403


async def test_environments_see_nothing_of_each_other(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    test = api.with_credential(new_tenant(sessions, NewKey("t", "test"), tenant.organisation_id).key)
    made = (await api.post("/app", {"name": "live", "uid": "same"})).body["id"]
    await api.post("/event-type", {"name": "a.b", "description": "live"})
    assert (await test.get(f"/app/{made}")).status == 404
    assert (await test.get("/app")).body["data"] == []
    assert (await test.get("/event-type")).body["data"] == []
    assert (await test.post("/app", {"name": "test", "uid": "same"})).status == 201
    assert (await test.post(f"/app/{made}/msg", {"eventType": "a.b", "payload": {}})).status == 404
