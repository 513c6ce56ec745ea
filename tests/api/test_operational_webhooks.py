"""Operational webhooks: endpoints that are told of Postrider's own events."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.operational_webhooks.events import EVENT_TYPES
from app.features.operational_webhooks.operations import Event, emit, emit_all
from app.models import Application, DueDelivery, Message, Payload
from tests.api.client import Api, Tenant, new_tenant
from tests.api.world import uuid_of

PATH = "/operational-webhook/endpoint"
URL = "http://127.0.0.1:9/operations"
HOOK = "http://127.0.0.1:9/hook"


async def make(api: Api, **more: object) -> Any:  # noqa: ANN401 a body
    reply = await api.post(PATH, {"url": URL, **more})
    assert reply.status == 201, reply.raw
    return reply.body


def told(sessions: sessionmaker[Session], tenant: Tenant, endpoint_id: str) -> list[Any]:
    """The bodies that an operational endpoint is owed, oldest first."""
    statement = (
        select(Payload.body)
        .join(DueDelivery, DueDelivery.message_id == Payload.message_id)
        .where(DueDelivery.environment_id == tenant.id, DueDelivery.endpoint_id == uuid_of(endpoint_id))
        .order_by(DueDelivery.message_id)
    )
    with sessions() as db:
        return [json.loads(body) for body in db.scalars(statement)]


async def test_create_answers_with_every_field(api: Api) -> None:
    body = await make(
        api, uid="o", description="d", eventTypes=["endpoint.created"], rateLimit=4, metadata={"a": "b"}, junk=1
    )
    assert body["id"].startswith("ep_")
    assert {name: value for name, value in body.items() if name not in {"id", "createdAt", "updatedAt"}} == {
        "uid": "o",
        "url": URL,
        "description": "d",
        "disabled": False,
        "eventTypes": ["endpoint.created"],
        "filterTypes": ["endpoint.created"],
        "metadata": {"a": "b"},
        "throttleRate": 4,
        "rateLimit": 4,
    }
    assert (await api.get(f"{PATH}/{body['id']}")).body == (await api.get(f"{PATH}/o")).body == body
    assert (await api.get(PATH)).body["data"] == [body]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": "http://10.0.0.1/"}, "body.url"),
        ({"url": "http://localhost:8000/api/v1/app/x/msg"}, "body.url"),
        ({"url": None}, "body.url"),
        ({"eventTypes": ["user.created"]}, "body.eventTypes"),
        ({"filterTypes": ["user.created"]}, "body.filterTypes"),
        ({"headers": {"Host": "x"}}, "body.headers.Host"),
        ({"secret": "short"}, "body.secret"),
        ({"uid": "no blanks"}, "body.uid"),
        ({"throttleRate": 0}, "body.throttleRate"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, more: dict[str, object], field: str) -> None:
    reply = await api.post(PATH, {"url": URL, **more})
    assert (reply.status, reply.fields) == (422, [field])


async def test_it_is_written_as_other_endpoints_are(api: Api) -> None:
    made = await make(api, uid="o", eventTypes=["endpoint.created"], headers={"X-A": "1", "X-Token": "t"})
    assert (await api.post(PATH, {"url": URL, "uid": "o"})).status == 409
    patched = await api.patch(f"{PATH}/o", {"eventTypes": None, "description": "new", "throttleRate": 3})
    assert (patched.body["eventTypes"], patched.body["description"], patched.body["throttleRate"]) == (None, "new", 3)
    assert (await api.patch(f"{PATH}/o", {"throttleRate": 0})).body["throttleRate"] is None
    assert (await api.patch(f"{PATH}/o", {"eventTypes": ["nope"]})).fields == ["body.eventTypes"]
    replaced = await api.put(f"{PATH}/o", {"url": URL + "/2"})
    assert (replaced.status, replaced.body["id"], replaced.body["uid"]) == (200, made["id"], "o")
    assert (replaced.body["url"], replaced.body["description"]) == (URL + "/2", "")
    upserted = await api.put(f"{PATH}/new", {"url": URL})
    assert (upserted.status, upserted.body["uid"]) == (201, "new")
    assert (await api.get(f"{PATH}/o/headers")).body == {"headers": {"X-A": "1"}, "sensitive": ["X-Token"]}
    assert (await api.put(f"{PATH}/o/headers", {"headers": {"X-B": "2"}})).status == 204
    assert (await api.get(f"{PATH}/o/headers")).body == {"headers": {"X-B": "2"}, "sensitive": []}
    key = (await api.get(f"{PATH}/o/secret")).body["key"]
    rotated = await api.post(f"{PATH}/o/secret/rotate", {})
    assert (rotated.status, list(rotated.body)) == (200, ["key"])
    assert key != rotated.body["key"] == (await api.get(f"{PATH}/o/secret")).body["key"]
    assert (await api.delete(f"{PATH}/o")).status == 204
    assert (await api.get(f"{PATH}/o")).status == 404
    assert [one["uid"] for one in (await api.get(PATH)).body["data"]] == ["new"]


async def test_only_the_organisation_itself_may(api: Api, stranger: Api) -> None:
    made = await make(api)
    await api.post("/app", {"name": "a", "uid": "a"})
    portal = await api.portal("a")
    for method, rest, body in (
        ("GET", "", None),
        ("POST", "", {"url": URL}),
        ("GET", f"/{made['id']}", None),
        ("DELETE", f"/{made['id']}", None),
        ("GET", f"/{made['id']}/secret", None),
    ):
        assert (await portal.call(method, PATH + rest, body)).status == 403
    theirs: list[tuple[str, str, object]] = [
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("GET", "/secret", None),
        ("POST", "/secret/rotate", {}),
        ("PUT", "/headers", {"headers": {}}),
    ]
    for method, rest, content in theirs:
        assert (await stranger.call(method, f"{PATH}/{made['id']}{rest}", content)).status == 404


async def test_the_hidden_application_stays_hidden(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    made = await make(api)
    with sessions() as db:
        hidden = db.scalars(select(Application.id).where(Application.environment_id == tenant.id)).one()
    reference = encode("app", hidden)
    assert (await api.get("/app")).body["data"] == []
    for path in (f"/app/{reference}", f"/app/{reference}/endpoint", f"/app/{reference}/endpoint/{made['id']}"):
        assert (await api.get(path)).status == 404
    message = {"eventType": "endpoint.created", "payload": {}}
    assert (await api.post(f"/app/{reference}/msg", message)).status == 404
    assert (await api.post(f"/auth/app-portal-access/{reference}", {})).status == 404


async def test_the_first_use_makes_one_hidden_application(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    replies = await asyncio.gather(*(api.post(PATH, {"url": URL}) for _ in range(6)))
    assert [one.status for one in replies] == [201] * 6
    with sessions() as db:
        count = select(func.count()).select_from(Application).where(Application.environment_id == tenant.id)
        assert db.scalar(count) == 1
    assert len((await api.get(PATH)).body["data"]) == 6


async def test_it_is_told_what_happens_to_endpoints(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    listener = (await make(api))["id"]
    app_id = (await api.post("/app", {"name": "a", "uid": "a-1"})).body["id"]
    endpoint = (await api.post("/app/a-1/endpoint", {"url": HOOK, "uid": "e-1"})).body["id"]
    await api.patch("/app/a-1/endpoint/e-1", {"description": "x"})
    await api.put("/app/a-1/endpoint/e-1", {"url": HOOK})
    await api.delete("/app/a-1/endpoint/e-1")
    data = {"appId": app_id, "appUid": "a-1", "endpointId": endpoint, "endpointUid": "e-1"}
    types = ["endpoint.created", "endpoint.updated", "endpoint.updated", "endpoint.deleted"]
    assert told(sessions, tenant, listener) == [{"type": name, "data": data} for name in types]


async def test_a_refused_change_tells_nothing(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    listener = (await make(api))["id"]
    await api.post("/app", {"name": "a", "uid": "a"})
    await api.post("/app/a/endpoint", {"url": HOOK, "uid": "taken"})
    assert (await api.post("/app/a/endpoint", {"url": HOOK, "uid": "taken"})).status == 409
    second = (await api.post("/app/a/endpoint", {"url": HOOK})).body["id"]
    assert (await api.patch(f"/app/a/endpoint/{second}", {"uid": "taken"})).status == 409
    assert [one["type"] for one in told(sessions, tenant, listener)] == ["endpoint.created"] * 2


async def test_only_what_is_wanted_is_told(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    deleted = (await make(api, eventTypes=["endpoint.deleted"]))["id"]
    off = (await make(api, disabled=True))["id"]
    await api.post("/app", {"name": "a", "uid": "a"})
    await api.post("/app/a/endpoint", {"url": HOOK, "uid": "e"})
    with sessions() as db:
        stored = select(func.count()).select_from(Message).where(Message.environment_id == tenant.id)
        assert db.scalar(stored) == 0
    await api.delete("/app/a/endpoint/e")
    assert [one["type"] for one in told(sessions, tenant, deleted)] == ["endpoint.deleted"]
    assert told(sessions, tenant, off) == []


async def test_changes_of_operational_endpoints_tell_nothing(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    listener = (await make(api))["id"]
    other = (await make(api))["id"]
    await api.patch(f"{PATH}/{other}", {"description": "x"})
    await api.delete(f"{PATH}/{other}")
    assert told(sessions, tenant, listener) == []


async def test_each_organisation_is_told_of_its_own(
    http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session]
) -> None:
    tenants = [new_tenant(sessions) for _ in range(3)]
    listeners = [(await make(Api(http, base_url, one.key)))["id"] for one in tenants[:2]]
    with sessions.begin() as db:
        emit_all(db, [Event(one.id, name, {"n": n}) for n, one in enumerate(tenants) for name in EVENT_TYPES])
        emit(db, tenants[0].id, "background_task.finished", {"n": "last"})
        emit_all(db, [])
    first, second = (told(sessions, one, listener) for one, listener in zip(tenants, listeners, strict=False))
    assert sorted(one["type"] for one in second) == sorted(EVENT_TYPES)
    assert {one["data"]["n"] for one in second} == {1}
    assert len(first) == len(EVENT_TYPES) + 1
    with sessions() as db:
        stored = select(func.count()).select_from(Message).where(Message.environment_id == tenants[2].id)
        assert db.scalar(stored) == 0
