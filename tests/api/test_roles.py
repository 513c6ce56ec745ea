"""Every route by every role: who may not is told so, and the document says of each who may."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth.matrix import COLUMNS, Operation, operations
from app.domain.permissions import Permission, Role
from app.features.organisations.operations import NewKey
from app.kit.routing import PREFIX
from app.main import create_app
from app.settings import Settings
from tests.acceptance import ROWS
from tests.api.client import Api, Tenant, new_tenant
from tests.api.operations import OPERATIONS
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
        "member_id": f"user_{message.removeprefix('msg_')}",
        "invitation_id": f"inv_{message.removeprefix('msg_')}",
        "provider_id": f"idp_{message.removeprefix('msg_')}",
        "client_id": f"client_{message.removeprefix('msg_')}",
        "domain": "nobody.example.test",
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


SECRET, HEADER = "whsec_" + "Y2FuYXJ5" * 5, "canary-of-a-header"
SECRETS_OF = {Permission.endpoint_secret_read, Permission.operational_webhook_write}


@pytest.mark.acceptance("Z04")
@pytest.mark.parametrize("column", COLUMNS)
async def test_an_answer_has_the_fields_of_its_schema_and_no_secret(
    http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session], settings: Settings, column: str
) -> None:
    place = await furnished(http, base_url, sessions)
    new = {"url": "http://127.0.0.1:9/", "secret": SECRET, "headers": {"x-api-key": HEADER}}
    endpoint = (await place.api.post(f"/app/{place.ids['app_id']}/endpoint", new)).body["id"]
    await place.api.post("/operational-webhook/endpoint", {"url": "http://127.0.0.1:9/", "secret": SECRET})
    caller = await as_column(place, sessions, column)
    schemas = {(one.method, f"{PREFIX}{one.path}"): one.described for one in OPERATIONS}
    looked = 0
    for one in every(settings):
        if one.method != "GET" or one.is_open or not one.admits(COLUMNS[column]):
            continue
        reply = await caller.get(replace(place, ids={**place.ids, "endpoint_id": endpoint}).path(one))
        assert place.tenant.key.encode() not in reply.raw
        assert HEADER.encode() not in reply.raw
        if one.needs not in SECRETS_OF:
            assert SECRET.encode() not in reply.raw
        content = schemas[one.method, one.path].get("responses", {}).get("200", {}).get("content", {})
        if reply.status == 200 and "application/json" in content:
            looked += 1
            assert undeclared(reply.body, content["application/json"]["schema"]) == set()
    assert looked > 8


def undeclared(value: Any, schema: Mapping[str, Any], place: str = "") -> set[str]:  # noqa: ANN401 whatever JSON says
    """The fields of a body that its schema does not name."""
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if isinstance(value, list):
        return {found for one in value for found in undeclared(one, choices[0].get("items", {}), place)}
    properties = choices[0].get("properties") if choices else None
    if not isinstance(value, dict) or properties is None:
        return set()
    extra = {f"{place}.{name}" for name in value.keys() - properties.keys()}
    return extra.union(*(undeclared(one, properties.get(name, {}), f"{place}.{name}") for name, one in value.items()))


def test_an_undeclared_field_would_be_seen() -> None:
    schema = {"properties": {"data": {"items": {"anyOf": [{"properties": {"id": {}}}, {"type": "null"}]}}}}
    assert undeclared({"data": [{"id": 1, "secret": 2}], "more": 3}, schema) == {".more", ".data.secret"}


def test_every_permission_is_asked_for_by_some_route(settings: Settings) -> None:
    asked = {one.needs for one in operations(create_app(settings).routes, PREFIX)}
    assert asked - {None} == set(Permission)
