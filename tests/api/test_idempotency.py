"""A POST that is repeated under its key is carried out once."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.models import IdempotencyKey
from tests.api.client import Api, Reply, Tenant

REPLAYED = "idempotency-replayed"


async def _names(api: Api) -> list[str]:
    return [one["name"] for one in (await api.get("/app")).body["data"]]


async def test_a_repetition_gets_the_first_answer_byte_for_byte(api: Api) -> None:
    first = await api.post("/app", {"name": "one"}, key="k")
    again = await api.post("/app/", {"name": "one"}, key="k")
    assert (again.status, again.raw) == (first.status, first.raw)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert await _names(api) == ["one"]


async def test_simultaneous_repetitions_are_carried_out_once(api: Api) -> None:
    replies = await asyncio.gather(*(api.post("/app", {"name": "one"}, key="k") for _ in range(6)))
    assert {(one.status, one.raw) for one in replies} == {(201, replies[0].raw)}
    assert sum(REPLAYED in one.headers for one in replies) == 5
    assert await _names(api) == ["one"]


async def test_another_body_conflicts(api: Api) -> None:
    await api.post("/app", {"name": "one"}, key="k")
    other = await api.post("/app", {"name": "two"}, key="k")
    assert (other.status, other.code) == (409, "idempotency_conflict")
    assert await _names(api) == ["one"]


async def test_a_refusal_is_not_kept(api: Api) -> None:
    await api.post("/app", {"name": "taken", "uid": "u"})
    assert (await api.post("/app", {"name": "one", "uid": "u"}, key="k")).status == 409
    assert (await api.post("/app", {"name": ""}, key="k")).status == 422
    await api.delete("/app/u")
    retried = await api.post("/app", {"name": "one", "uid": "u"}, key="k")
    assert retried.status == 201
    assert REPLAYED not in retried.headers


async def test_a_key_belongs_to_its_caller_and_path(api: Api, stranger: Api) -> None:
    body = {"name": "one", "description": ""}
    replies = [
        await api.post("/app", body, key="k"),
        await stranger.post("/app", body, key="k"),
        await api.post("/event-type", body, key="k"),
    ]
    assert [one.status for one in replies] == [201, 201, 201]
    assert all(REPLAYED not in one.headers for one in replies)


async def test_a_key_is_forgotten_after_a_day(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    await api.post("/app", {"name": "one"}, key="k")
    mine = IdempotencyKey.environment_id == tenant.id
    with sessions.begin() as db:
        db.execute(update(IdempotencyKey).where(mine).values(created_at=func.now() - timedelta(hours=25)))
    assert REPLAYED not in (await api.post("/app", {"name": "two"}, key="k")).headers
    assert (await api.post("/app", {"name": "two"}, key="k")).headers[REPLAYED] == "true"
    assert await _names(api) == ["one", "two"]


async def test_an_answer_without_a_body_is_replayed(api: Api) -> None:
    first = await api.post("/auth/logout", key="k")
    again = await api.post("/auth/logout", key="k")
    assert [(one.status, one.raw) for one in (first, again)] == [(204, b""), (204, b"")]
    assert again.headers[REPLAYED] == "true"


async def test_a_secret_answer_is_kept_encrypted(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    await api.post("/app", {"name": "one", "uid": "u"})
    first = await api.post("/auth/app-portal-access/u", {}, key="k")
    again = await api.post("/auth/app-portal-access/u", {}, key="k")
    assert again.raw == first.raw
    with sessions.begin() as db:
        statement = select(IdempotencyKey.response).where(IdempotencyKey.environment_id == tenant.id)
        (kept,) = db.scalars(statement).all()
    assert first.body["token"].encode() not in kept
    assert b"token" not in kept


@pytest.mark.parametrize("key", ["", "x" * 257, "caf\u00e9"])
async def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    reply: Reply = await api.call("POST", "/app", {"name": "one"}, headers={"idempotency-key": key})
    assert (reply.status, reply.fields) == (422, ["header.idempotency-key"])
    assert await _names(api) == []
