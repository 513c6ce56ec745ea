"""Messages as they are read and expunged."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.models import Delivery, DeliveryAction, Payload, Status
from tests.api.client import Api, Tenant
from tests.api.world import World, uuid_of


@pytest_asyncio.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    return await World(api, sessions, tenant.id).setup()


async def test_a_message_shows_what_was_sent(world: World) -> None:
    when = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    message = await world.message(
        "user.made", {"n": 1}, eventId="e-1", channels=["c1", "c2"], tags=["t1"], deliverAt=when
    )
    by_id, by_event_id = [await world.api.get(f"{world.path}/msg/{ref}") for ref in (message, "e-1")]
    assert by_id.body == by_event_id.body
    body = by_id.body
    assert datetime.fromisoformat(body.pop("timestamp")) < datetime.now(UTC)
    assert datetime.fromisoformat(body.pop("deliverAt")) == datetime.fromisoformat(when)
    assert body == {
        "id": message,
        "eventType": "user.made",
        "eventId": "e-1",
        "channels": ["c1", "c2"],
        "tags": ["t1"],
        "payload": {"n": 1},
    }


@pytest.mark.parametrize("kept", [{"payloadRetentionHours": 1}, {"payloadRetentionPeriod": 5}, {}])
async def test_a_message_is_not_put_off_beyond_its_payload(world: World, kept: dict[str, Any]) -> None:
    hours = kept.get("payloadRetentionHours") or kept.get("payloadRetentionPeriod", 90) * 24
    end = datetime.now(UTC) + timedelta(hours=hours)
    await world.message(deliverAt=(end - timedelta(minutes=1)).isoformat(), **kept)
    late = {"eventType": "a.b", "payload": {}, "deliverAt": (end + timedelta(minutes=1)).isoformat(), **kept}
    reply = await world.api.post(f"{world.path}/msg", late)
    assert (reply.status, reply.fields) == (422, ["body.deliverAt"])


async def test_a_payload_keeps_its_very_bytes(world: World) -> None:
    payload = b'{ "big": 123456789012345678901234567890123456789, "f": 1.10,"e":1E400, "u": "\\u00e9\xc3\xa9" }'
    message = await world.raw_message(b'{"eventType":"a.b","payload":' + payload + b"}")
    for one in (f"/msg/{message}", "/msg", f"/endpoint/{world.endpoints[0]}/msg"):
        path = world.path + one
        assert payload in (await world.api.get(path)).raw
        hidden = await world.api.get(path, with_content="false")
        assert b'"payload":{}' in hidden.raw


@pytest.mark.parametrize("raw", ["no json", "[1]", "", '{"a": NaN}', '{"a": 1'])
async def test_what_was_sent_raw_and_is_no_object_appears_as_text(world: World, raw: str) -> None:
    message = await world.message(payload={}, transformationsParams={"rawPayload": raw})
    assert (await world.api.get(f"{world.path}/msg/{message}")).body["payload"] == {"rawPayload": raw}


async def test_an_expired_payload_is_hidden_at_once(world: World) -> None:
    message = await world.message()
    world.expire(message)
    for path in (f"/msg/{message}", "/msg", f"/endpoint/{world.endpoints[0]}/msg"):
        assert b'"payload":{"expired":true}' in (await world.api.get(world.path + path)).raw
    assert len(world.due()) == 1


async def test_expunging_takes_the_payload_and_cancels_what_is_pending(
    world: World, sessions: sessionmaker[Session]
) -> None:
    message = await world.message(eventId="e")
    for _ in range(2):
        assert (await world.api.delete(f"{world.path}/msg/e/content")).status == 204
    assert (await world.api.get(f"{world.path}/msg/{message}")).body["payload"] == {"expired": True}
    assert world.due() == []
    with sessions() as db:
        mine = {"environment_id": world.environment_id, "message_id": uuid_of(message)}
        assert db.scalar(select(func.count()).select_from(Payload).filter_by(**mine)) == 0
        assert db.scalars(select(Delivery.status).filter_by(**mine)).all() == [Status.canceled]
        assert db.scalars(select(DeliveryAction.kind).filter_by(**mine)).all() == ["cancel"]


async def test_filters_narrow_the_list(world: World) -> None:
    first = await world.message("a.a", channels=["x", "y"], tags=["red"])
    second = await world.message("b.b", channels=["x"], tags=["blue"])
    third = await world.message("c.c")

    async def ids(**query: str) -> list[str]:
        return [one["id"] for one in (await world.api.get(f"{world.path}/msg", **query)).body["data"]]

    assert await ids() == [third, second, first]
    assert await ids(event_types="a.a,c.c") == [third, first]
    assert await ids(channel="x") == [second, first]
    assert await ids(channel="y") == [first]
    assert await ids(tag="blue") == [second]
    assert await ids(tag="blue", channel="y") == []
    stamp = (await world.api.get(f"{world.path}/msg/{second}")).body["timestamp"]
    assert await ids(before=stamp) == [first]
    assert await ids(after=stamp) == [third]
    assert await ids(after="0001-01-01T00:00:00Z", before="9999-12-31T23:59:59.999999-14:00") == [third, second, first]


async def test_pages_lead_both_ways(world: World) -> None:
    made = [await world.message() for _ in range(5)][::-1]
    path = f"{world.path}/msg"
    first = (await world.api.get(path, limit=2)).body
    second = (await world.api.get(path, limit=2, iterator=first["iterator"])).body
    third = (await world.api.get(path, limit=2, iterator=second["iterator"])).body
    assert [one["id"] for page in (first, second, third) for one in page["data"]] == made
    assert [page["done"] for page in (first, second, third)] == [False, False, True]
    back = (await world.api.get(path, limit=2, iterator=third["prevIterator"])).body
    assert back["data"] == second["data"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": "251"}, 422),
        ({"limit": "x"}, 400),
        ({"before": "yesterday"}, 400),
        ({"after": "2024-01-01"}, 400),
        ({"after": "2024-13-01T00:00:00Z"}, 400),
        ({"iterator": "forged"}, 422),
        ({"event_types": "no blanks"}, 422),
        ({"channel": "a\x00b"}, 422),
        ({"tag": ""}, 422),
        ({"with_content": "maybe"}, 400),
    ],
)
async def test_wrong_queries_are_refused(world: World, query: dict[str, str], status: int) -> None:
    assert (await world.api.get(f"{world.path}/msg", **query)).status == status


async def test_others_see_nothing(world: World, stranger: Api) -> None:
    message = await world.message(eventId="mine")
    other = await World(world.api, world.sessions, world.environment_id).setup(endpoints=0)
    portal = await world.api.portal(world.app_id)
    for path in (f"{other.path}/msg/{message}", f"{other.path}/msg/mine"):
        assert (await world.api.get(path)).status == 404
    for path in (f"{world.path}/msg", f"{world.path}/msg/{message}", f"{world.path}/msg/mine"):
        assert (await stranger.get(path)).status == 404
        assert (await portal.get(path)).status == 200
    assert (await portal.get(f"{other.path}/msg")).status == 404
    assert (await portal.delete(f"{world.path}/msg/{message}/content")).status == 403
    assert (await world.api.get(f"{world.path}/msg/msg_nothing")).status == 404
