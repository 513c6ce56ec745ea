"""Applications, as an organisation's programs see them."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.models import (
    ActionKind,
    Application,
    Delivery,
    DeliveryAction,
    DueDelivery,
    Endpoint,
    EndpointSecret,
    Status,
)
from tests.api.client import Api, Tenant


async def test_create_answers_with_every_field(api: Api) -> None:
    reply = await api.post("/app", {"name": "one", "uid": "u-1", "rateLimit": 5, "metadata": {"a": "b"}, "junk": 1})
    assert reply.status == 201
    body = reply.body
    assert body["id"].startswith("app_")
    assert body["createdAt"].endswith("Z")
    assert body["updatedAt"] == body["createdAt"]
    shown = {name: body[name] for name in ("uid", "name", "throttleRate", "rateLimit", "metadata")}
    assert shown == {"uid": "u-1", "name": "one", "throttleRate": 5, "rateLimit": 5, "metadata": {"a": "b"}}
    assert (await api.get(f"/app/{body['id']}")).body == (await api.get("/app/u-1/")).body == body


async def test_a_taken_uid_conflicts_unless_the_caller_wants_it(api: Api) -> None:
    first = await api.post("/app", {"name": "one", "uid": "u"})
    again = await api.post("/app", {"name": "two", "uid": "u"})
    assert (again.status, again.code) == (409, "conflict")
    wanted = await api.call("POST", "/app", {"name": "two", "uid": "u"}, query={"get_if_exists": "true"})
    assert (wanted.status, wanted.body) == (200, first.body)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"name": 1}, "body.name"),
        ({"name": "a", "uid": "no blanks"}, "body.uid"),
        ({"name": "a", "uid": "ü"}, "body.uid"),
        ({"name": "a", "uid": "x" * 257}, "body.uid"),
        ({"name": "a", "throttleRate": 0}, "body.throttleRate"),
        ({"name": "a", "throttleRate": "5"}, "body.throttleRate"),
        ({"name": "a", "throttleRate": 2**31}, "body.throttleRate"),
        ({"name": "a", "metadata": {"a": 1}}, "body.metadata.a"),
        ({"name": "a", "metadata": None}, "body.metadata"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, body: object, field: str) -> None:
    reply = await api.post("/app", body)
    assert (reply.status, reply.fields) == (422, [field])


async def test_put_makes_one_at_its_uid_and_replaces_it_later(api: Api) -> None:
    made = await api.put("/app/mine", {"name": "one", "metadata": {"a": "b"}, "throttleRate": 7})
    assert (made.status, made.body["uid"]) == (201, "mine")
    replaced = await api.put("/app/mine", {"name": "two"})
    assert replaced.status == 200
    assert replaced.body["id"] == made.body["id"]
    assert (replaced.body["uid"], replaced.body["name"]) == ("mine", "two")
    assert (replaced.body["metadata"], replaced.body["throttleRate"]) == ({}, None)
    moved = await api.put("/app/mine", {"name": "two", "uid": "other"})
    assert (moved.status, moved.body["uid"]) == (200, "other")
    assert (await api.get("/app/mine")).status == 404
    assert (await api.put("/app/other", {"name": "two", "uid": None})).body["uid"] is None


async def test_put_refuses_ids_that_nobody_has(api: Api) -> None:
    assert (await api.put("/app/app_01h455vb4pex5vsknk084sn02q", {"name": "one"})).status == 404
    assert (await api.put("/app/%00", {"name": "one"})).status == 404


async def test_patch_changes_what_is_given_and_null_clears(api: Api) -> None:
    made = (await api.post("/app", {"name": "one", "uid": "u", "throttleRate": 5, "metadata": {"a": "b"}})).body
    renamed = (await api.patch("/app/u", {"name": "two"})).body
    changed = {name for name in made if made[name] != renamed[name]}
    assert changed == {"name", "updatedAt"}
    cleared = (await api.patch("/app/u", {"throttleRate": None, "uid": None})).body
    assert (cleared["throttleRate"], cleared["uid"], cleared["name"]) == (None, None, "two")
    assert (await api.patch(f"/app/{made['id']}", {})).body == cleared
    assert (await api.patch(f"/app/{made['id']}", {"name": None})).fields == ["body.name"]
    assert (await api.patch(f"/app/{made['id']}", {"rateLimit": 0})).body["throttleRate"] is None


async def test_patch_cannot_take_anothers_uid(api: Api) -> None:
    await api.post("/app", {"name": "one", "uid": "a"})
    await api.post("/app", {"name": "two", "uid": "b"})
    assert (await api.patch("/app/b", {"uid": "a"})).status == 409
    assert (await api.put("/app/b", {"name": "two", "uid": "a"})).status == 409
    assert (await api.get("/app/b")).body["name"] == "two"


async def test_a_deleted_one_is_gone_and_its_uid_free(api: Api, sessions: sessionmaker[Session]) -> None:
    made = (await api.post("/app", {"name": "one", "uid": "u"})).body
    deleted = await api.delete("/app/u")
    assert (deleted.status, deleted.raw) == (204, b"")
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/endpoint"), ("GET", "/msg")]:
        assert (await api.call(method, f"/app/{made['id']}{path}")).status == 404
    again = await api.post("/app", {"name": "two", "uid": "u"})
    assert again.status == 201
    assert [one["id"] for one in (await api.get("/app")).body["data"]] == [again.body["id"]]
    with sessions.begin() as db:
        assert db.scalars(select(Application.deleted_at).where(Application.name == "one", Application.uid == "u")).all()


async def test_deleting_cancels_what_is_owed(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    for uid in ("gone", "kept"):
        await api.post("/app", {"name": uid, "uid": uid})
        assert (await api.post(f"/app/{uid}/endpoint", {"url": "http://127.0.0.1:9/hook"})).status == 201
        assert (await api.post(f"/app/{uid}/msg", {"eventType": "a", "payload": {}})).status == 202
    await api.delete("/app/gone")
    mine = Application.environment_id == tenant.id
    with sessions.begin() as db:
        uids = dict(db.execute(select(Application.id, Application.uid).where(mine)).all())
        due = db.scalars(select(DueDelivery.application_id).where(DueDelivery.environment_id == tenant.id)).all()
        ended = db.execute(
            select(Delivery.application_id, Delivery.status).where(Delivery.environment_id == tenant.id)
        ).all()
        acts = db.scalars(select(DeliveryAction.kind).where(DeliveryAction.environment_id == tenant.id)).all()
        closed = db.execute(
            select(Endpoint.application_id, Endpoint.deleted_at.is_not(None)).where(
                Endpoint.environment_id == tenant.id
            )
        )
        assert {uids[one]: gone for one, gone in closed} == {"gone": True, "kept": False}
        keys = db.scalars(select(EndpointSecret.id).where(EndpointSecret.environment_id == tenant.id)).all()
    assert [uids[one] for one in due] == ["kept"]
    assert [(uids[one], status) for one, status in ended] == [("gone", Status.canceled)]
    assert (acts, len(keys)) == ([ActionKind.cancel], 2)


async def test_another_organisation_sees_nothing(api: Api, stranger: Api) -> None:
    made = (await api.post("/app", {"name": "one", "uid": "u"})).body
    for reference in (made["id"], "u"):
        for method in ("GET", "PATCH", "DELETE"):
            assert (await stranger.call(method, f"/app/{reference}", {"name": "x"})).status == 404
    assert (await stranger.get("/app")).body["data"] == []
    assert (await stranger.put("/app/u", {"name": "theirs"})).status == 201
    assert (await api.get("/app/u")).body == made


async def test_protected_names_never_bind(api: Api) -> None:
    sent = {
        "name": "one",
        "id": "app_x",
        "organisationId": "x",
        "kind": "operational",
        "deletedAt": "2020-01-01T00:00:00Z",
    }
    made = (await api.post("/app", sent)).body
    assert made["id"] != "app_x"
    assert (await api.get(f"/app/{made['id']}")).body["name"] == "one"
