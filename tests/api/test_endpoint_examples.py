"""Examples sent to an endpoint, and the figures of its deliveries."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.main import create_app
from app.models import DueState, Payload, Status
from app.settings import Settings
from tests.api.client import Api, Tenant
from tests.api.world import World, uuid_of


@pytest.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    """An application with two endpoints that subscribe to nothing that is sent here."""
    await api.post("/event-type", {"name": "never.sent", "description": ""})
    return await World(api, sessions, tenant.id).setup(endpoints=2, eventTypes=["never.sent"])


def example_path(world: World) -> str:
    return f"{world.path}/endpoint/{world.endpoints[0]}/send-example"


def sent_body(world: World, message: str) -> bytes:
    with world.sessions() as db:
        return db.scalars(select(Payload.body).where(Payload.message_id == uuid_of(message))).one()


async def describe(world: World, name: str, schemas: object) -> None:
    reply = await world.api.post("/event-type", {"name": name, "description": "", "schemas": schemas})
    assert reply.status == 201, reply.raw


async def test_a_ping_goes_to_the_one_endpoint(world: World) -> None:
    reply = await world.api.post(example_path(world), {"eventType": "svix.ping"})
    assert reply.status == 200
    assert reply.body["id"].startswith("msg_")
    assert reply.body["timestamp"].endswith("Z")
    assert (reply.body["eventType"], reply.body["payload"]) == ("svix.ping", {"success": True})
    assert [row.endpoint_id for row in world.due()] == [uuid_of(world.endpoints[0])]
    assert sent_body(world, reply.body["id"]) == b'{"success":true}'
    stored = await world.api.get(f"{world.path}/msg/{reply.body['id']}")
    assert stored.body["payload"] == {"success": True}


async def test_an_example_is_the_newest_schemas(world: World) -> None:
    await describe(world, "user.created", {"2": {"example": {"v": 2}}, "10": {"example": {"v": 10}}})
    assert (await world.api.post(example_path(world), {"eventType": "user.created"})).body["payload"] == {"v": 10}


async def test_one_of_several_examples_is_chosen(world: World) -> None:
    await describe(world, "user.created", {"1": {"examples": [{"v": 1}, {"v": 2}]}})
    for body, payload in (({}, {"v": 1}), ({"exampleIndex": 1}, {"v": 2})):
        reply = await world.api.post(example_path(world), {"eventType": "user.created", **body})
        assert (reply.status, reply.body["payload"]) == (200, payload)
    reply = await world.api.post(example_path(world), {"eventType": "user.created", "exampleIndex": 2})
    assert (reply.status, reply.fields) == (422, ["body.exampleIndex"])


async def test_an_example_is_made_from_a_schema(world: World) -> None:
    await describe(world, "user.created", {"1": {"type": "object", "properties": {"id": {"type": "integer"}}}})
    assert (await world.api.post(example_path(world), {"eventType": "user.created"})).body["payload"] == {"id": 0}


async def test_a_payload_of_ones_own_is_sent(world: World) -> None:
    body = {"eventType": "any.thing", "payload": {"name": "Zoë", "n": 12345678901234567890}}
    reply = await world.api.post(example_path(world), body)
    assert (reply.status, reply.body["payload"]) == (200, body["payload"])
    assert sent_body(world, reply.body["id"]) == '{"name":"Zoë","n":12345678901234567890}'.encode()


async def test_without_an_example_nothing_is_sent(world: World) -> None:
    await describe(world, "without.schema", None)
    await describe(world, "no.object", {"1": {"type": "string"}})
    for name in ("without.schema", "no.object"):
        reply = await world.api.post(example_path(world), {"eventType": name})
        assert (reply.status, reply.code) == (400, "no_example")
    reply = await world.api.post(example_path(world), {"eventType": "unknown"})
    assert (reply.status, reply.fields) == (422, ["body.eventType"])
    wrong: list[tuple[Any, str]] = [
        ({}, "body.eventType"),
        ({"eventType": "a b"}, "body.eventType"),
        ({"eventType": "a", "payload": []}, "body.payload"),
        ({"eventType": "a", "exampleIndex": -1}, "body.exampleIndex"),
    ]
    for body, field in wrong:
        assert (await world.api.post(example_path(world), body)).fields == [field]
    assert world.due() == []


async def test_a_disabled_endpoint_gets_no_example(world: World) -> None:
    await world.api.patch(example_path(world).removesuffix("/send-example"), {"disabled": True})
    reply = await world.api.post(example_path(world), {"eventType": "svix.ping"})
    assert (reply.status, reply.code) == (409, "conflict")


async def test_a_portal_sends_no_example(world: World) -> None:
    portal = await world.api.portal(world.app_id)
    reply = await portal.post(example_path(world), {"eventType": "svix.ping"})
    assert (reply.status, reply.code) == (403, "insufficient access")


@pytest.mark.acceptance("W13")
async def test_examples_are_limited_for_each_endpoint(world: World) -> None:
    replies = [await world.api.post(example_path(world), {"eventType": "svix.ping"}) for _ in range(20)]
    refused = [one for one in replies if one.status == 429]
    assert len(refused) >= 5
    assert [one.status for one in replies[:10]] == [200] * 10
    for one in refused:
        assert one.code == "limit_reached"
        assert int(one.headers["Retry-After"]) >= 1
    assert len(world.due()) == 20 - len(refused)
    other = f"{world.path}/endpoint/{world.endpoints[1]}/send-example"
    assert (await world.api.post(other, {"eventType": "svix.ping"})).status == 200


@pytest.mark.acceptance("W13", offered=False)
async def test_no_ownership_challenge_is_offered(world: World, settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    advertised = " ".join(path for path in paths if "/endpoint" in path).lower()
    assert "send-example" in advertised
    assert "challenge" not in advertised
    assert "verif" not in advertised
    for name in ("challenge", "verify", "verification"):
        reply = await world.api.post(f"{world.path}/endpoint/{world.endpoints[0]}/{name}", {})
        assert reply.status == 404


async def test_a_repeated_example_is_sent_once(world: World) -> None:
    first, again = [await world.api.post(example_path(world), {"eventType": "svix.ping"}, key="k") for _ in range(2)]
    assert first.body == again.body
    assert len(world.due()) == 1


async def test_stats_count_every_state_once(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    world = await World(api, sessions, tenant.id).setup(endpoints=2)
    path = f"{world.path}/endpoint/{world.endpoints[0]}/stats"
    nothing = {"success": 0, "pending": 0, "sending": 0, "fail": 0, "canceled": 0}
    assert (await api.get(path)).body == nothing
    messages = [await world.message() for _ in range(7)]
    assert (await api.get(path)).body == {**nothing, "pending": 7}
    for message, status in zip(messages, [0, 0, 0, 2, 2, 4], strict=False):
        world.finish(message, Status(status))
    assert (await api.get(path)).body == {"success": 3, "pending": 1, "sending": 0, "fail": 2, "canceled": 1}
    sending = datetime.now(UTC) + timedelta(minutes=1)
    world.set_due(messages[6], state=int(DueState.sending), due_at=sending)
    assert (await api.get(path)).body == {"success": 3, "pending": 0, "sending": 1, "fail": 2, "canceled": 1}
    world.set_due(messages[6], state=int(DueState.sending), due_at=sending - timedelta(minutes=2))
    assert (await api.get(path)).body["pending"] == 1
    portal = await api.portal(world.app_id)
    assert (await portal.get(path)).body["success"] == 3


async def test_stats_have_a_window(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    world = await World(api, sessions, tenant.id).setup()
    path = f"{world.path}/endpoint/{world.endpoints[0]}/stats"
    message = await world.message()
    moment = (await api.get(f"{world.path}/msg/{message}")).body["timestamp"]
    hour = moment[:11]
    assert (await api.get(path, since=f"{hour}00:00:00Z", until="2000-01-01T00:00:00Z")).fields == ["query.since"]
    assert (await api.get(path, until=moment)).body["pending"] == 1
    assert (await api.get(path, since=moment)).body["pending"] == 1
    past = await api.get(path, since="2026-01-01T00:00:00Z", until="2026-01-29T00:00:00Z")
    assert (past.status, past.body["pending"]) == (200, 0)
    too_long = await api.get(path, since="2026-01-01T00:00:00Z", until="2026-01-29T00:00:01Z")
    assert (too_long.status, too_long.fields) == (422, ["query.since"])
    for value in ("yesterday", "2026-01-01", "5"):
        assert (await api.get(path, since=value)).status in {400, 422}
