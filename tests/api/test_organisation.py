"""The organisation over HTTP: its policies, its lists of networks, its end."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.models import ApiKeySecret, Organisation
from tests.api.client import Api, Tenant
from tests.api.key_world import ANY_VERSION, calling_from, make, patch, refused_within_a_second, status

PATH = "/organisation"
DENIED = {"deniedNetworks": ["127.0.0.2"]}


async def test_it_is_shown_with_its_environments(api: Api, tenant: Tenant) -> None:
    shown = await api.get(PATH)
    assert shown.status == 200
    body = shown.body
    assert [one["kind"] for one in body.pop("environments")] == ["live", "test"]
    assert {body.pop(name)[:4] for name in ("id", "createdAt", "updatedAt")} == {"org_", str(datetime.now(UTC).year)}
    assert body.pop("name").startswith("org ")
    assert body == {"keyDays": None, "mfaRequired": False, "allowedNetworks": [], "deniedNetworks": []}


async def test_a_change_asks_for_the_version_that_was_read(api: Api) -> None:
    read = (await api.get(PATH)).headers["etag"]
    assert (await api.patch(PATH, {"name": "b"})).status == 428
    changed = await api.call("PATCH", PATH, {"name": "b", "keyDays": 90}, headers={"if-match": read})
    assert (changed.status, changed.body["name"], changed.body["keyDays"]) == (200, "b", 90)
    assert (await api.call("PATCH", PATH, {"name": "c"}, headers={"if-match": read})).status == 412
    shown = await api.get(PATH)
    assert (shown.headers["etag"], shown.body) == (changed.headers["etag"], changed.body)


async def test_of_changes_at_once_to_one_version_one_is_made(api: Api) -> None:
    read = (await api.get(PATH)).headers["etag"]
    changes = [api.call("PATCH", PATH, {"name": f"n{n}"}, headers={"if-match": read}) for n in range(8)]
    assert sorted(one.status for one in await asyncio.gather(*changes)) == [200] + [412] * 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keyDays", 0),
        ("keyDays", 3651),
        ("keyDays", True),
        ("name", ""),
        ("name", None),
        ("allowedNetworks", ["10.0.0.1/8"]),
        ("deniedNetworks", ["10.0.0.0/8"] * 257),
        ("suspendedAt", None),
    ],
)
async def test_what_cannot_be_is_refused_by_field(api: Api, name: str, value: object) -> None:
    refused = await patch(api, PATH, {name: value})
    assert (refused.status, refused.fields[0].split(".")[1]) == (422, name)


async def test_null_lifts_the_policy(api: Api) -> None:
    for days in (30, None):
        assert (await patch(api, PATH, {"keyDays": days})).body["keyDays"] == days


@pytest.mark.acceptance("L04")
async def test_lists_of_networks_are_effective_soon_and_for_every_key(api: Api) -> None:
    made = await make(api, "viewer")
    async with calling_from("127.0.0.2", api) as there:
        assert await status(there, made.text) == 200
        assert (await patch(api, PATH, DENIED)).status == 200
        await refused_within_a_second(there, made.text, str(api.credential), status_=403)
        refused = await there.with_credential(made.text).get(PATH)
        assert refused.body["type"] == "urn:postrider:error:ip_denied"
        application = (await api.post("/app", {"name": "a"})).body["id"]
        posted = await there.post(f"/app/{application}/msg", {"eventType": "a", "payload": {}})
        assert (posted.status, posted.body["type"]) == (403, "urn:postrider:error:ip_denied")
        assert (await patch(api, PATH, {"deniedNetworks": []})).status == 200
        await refused_within_a_second(there, made.text, status_=200)


@pytest.mark.acceptance("L04")
@pytest.mark.parametrize("written", ["::ffff:127.0.0.2", "::ffff:7f00:2/128", "0:0:0:0:0:ffff:127.0.0.2/128"])
async def test_an_ipv4_address_that_is_mapped_into_ipv6_is_that_address(api: Api, written: str) -> None:
    changed = await patch(api, PATH, {"deniedNetworks": [written]})
    assert changed.body["deniedNetworks"] == ["127.0.0.2/32"]
    async with calling_from("127.0.0.2", api) as there:
        await refused_within_a_second(there, str(api.credential), status_=403)


@pytest.mark.acceptance("L04")
@pytest.mark.parametrize("lists", [{"deniedNetworks": ["127.0.0.0/8"]}, {"allowedNetworks": ["192.0.2.0/24"]}], ids=str)
async def test_whoever_would_shut_himself_out_is_asked(api: Api, lists: object) -> None:
    asked = await patch(api, PATH, lists)
    assert (asked.status, asked.body["type"]) == (409, "urn:postrider:error:would_lock_out")
    assert "127.0.0.1" in asked.body["detail"]
    assert (await api.get(PATH)).body["deniedNetworks"] == []
    assert (await patch(api, PATH, lists, confirm="true")).status == 200
    await refused_within_a_second(api, str(api.credential), status_=403)


@pytest.mark.acceptance("L04")
async def test_a_policy_that_would_end_the_callers_key_is_asked_back(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        aged = update(ApiKeySecret).filter_by(key_id=tenant.key_id)
        db.execute(aged.values(created_at=datetime.now(UTC) - timedelta(days=10)))
    assert (await patch(api, PATH, {"keyDays": 11})).status == 200
    assert (await patch(api, PATH, {"keyDays": 9})).code == "would_lock_out"
    assert (await patch(api, PATH, {"keyDays": 9}, confirm="true")).status == 200
    await refused_within_a_second(api, tenant.key)


@pytest.mark.acceptance("K10")
async def test_it_is_deleted_by_whoever_repeats_its_name(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    name = (await api.get(PATH)).body["name"]
    made = await make(api)
    assert (await api.with_credential(made.text).delete(PATH, name=name)).status == 403
    for wrong in ({}, {"name": ""}, {"name": name.upper()}):
        refused = await api.delete(PATH, **wrong)
        assert (refused.status, refused.fields) == (422, ["query.name"])
    assert (await api.delete(PATH, name=name)).status == 204
    await refused_within_a_second(api, tenant.key, made.text)
    with sessions() as db:
        assert db.scalars(select(Organisation.deleted_at).filter_by(id=tenant.organisation_id)).one()


@pytest.mark.parametrize("role", ["developer", "support", "viewer"])
async def test_most_roles_look_only(api: Api, role: str) -> None:
    caller = api.with_credential((await make(api, role)).text)
    assert (await caller.get(PATH)).status == 200
    refused = [await patch(caller, PATH, {"name": "mine"}), await caller.delete(PATH, name="x")]
    assert {one.status for one in refused} == {403}


async def test_a_portal_token_sees_nothing_of_it(api: Api) -> None:
    application = (await api.post("/app", {"name": "a"})).body["id"]
    portal = await api.portal(application)
    for method, path in (("GET", PATH), ("PATCH", PATH), ("GET", f"{PATH}/api-key"), ("DELETE", f"{PATH}?name=x")):
        body: object = {} if method == "PATCH" else None
        assert (await portal.call(method, path, body, headers=ANY_VERSION)).status == 403
