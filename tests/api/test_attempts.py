"""What was tried and how messages stand with endpoints."""

from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.models import Attempt, DeliveryAction, DueState, Lane, Status, Trigger
from tests.api.client import Api, Tenant
from tests.api.world import World, uuid_of


@pytest_asyncio.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    return await World(api, sessions, tenant.id).setup()


def written(text: str) -> str:
    return text.replace("+00:00", "Z")


async def test_an_attempt_shows_what_was_tried(world: World) -> None:
    message = await world.message()
    started = datetime.now(UTC)
    made = world.attempt(message, started_at=started, response_status=503, status=Status.fail, response=b"caf\xc3\xa9")
    attempt = encode("atmpt", made)
    expected = {
        "id": attempt,
        "msgId": message,
        "endpointId": world.endpoints[0],
        "url": "http://127.0.0.1:9/hook",
        "status": 2,
        "statusText": "fail",
        "response": "café",
        "responseStatusCode": 503,
        "responseDurationMs": 12,
        "triggerType": 0,
        "timestamp": written(started.isoformat()),
        "msg": None,
    }
    assert (await world.api.get(f"{world.path}/msg/{message}/attempt/{attempt}")).body == expected
    for path in (
        f"/attempt/endpoint/{world.endpoints[0]}",
        f"/attempt/msg/{message}",
        f"/msg/{message}/attempt",
        f"/msg/{message}/endpoint/{world.endpoints[0]}/attempt",
    ):
        listed = (await world.api.get(world.path + path)).body
        assert (listed["data"], listed["done"]) == ([expected], True)
        hidden = (await world.api.get(world.path + path, with_content="false", with_msg="true")).body["data"]
        assert hidden[0]["response"] == ""
        assert (hidden[0]["msg"]["id"], hidden[0]["msg"]["payload"]) == (message, {})


async def test_without_an_answer_the_response_says_why(world: World) -> None:
    message = await world.message()
    world.attempt(message, status=Status.fail, response_status=0, response=b"", failure="dns", detail="no such name")
    [attempt] = (await world.api.get(f"{world.path}/attempt/msg/{message}")).body["data"]
    assert (attempt["responseStatusCode"], attempt["response"]) == (0, "dns: no such name")


async def test_filters_narrow_attempts(world: World) -> None:
    other = await world.endpoint()
    plain = await world.message("a.b")
    labelled = await world.message("c.d", channels=["x"], tags=["t"])
    fine = encode("atmpt", world.attempt(plain))
    failed = encode("atmpt", world.attempt(plain, status=Status.fail, response_status=404))
    silent = encode("atmpt", world.attempt(labelled, status=Status.fail, response_status=0, event_type="c.d"))
    elsewhere = encode("atmpt", world.attempt(plain, other))

    async def ids(path: str, **query: str | int) -> list[str]:
        return [one["id"] for one in (await world.api.get(world.path + path, **query)).body["data"]]

    here = f"/attempt/endpoint/{world.endpoints[0]}"
    assert await ids(here) == [silent, failed, fine]
    assert await ids(here, status=0) == [fine]
    assert await ids(here, status=2) == [silent, failed]
    assert await ids(here, status=1) == await ids(here, status=4, expanded_statuses="true") == []
    assert await ids(here, status_code_class=200) == [fine]
    assert await ids(here, status_code_class=400) == [failed]
    assert await ids(here, status_code_class=0) == [silent]
    assert await ids(here, event_types="c.d,e.f") == [silent]
    assert await ids(here, channel="x") == await ids(here, tag="t") == [silent]
    assert await ids(here, channel="y") == []
    of_message = f"/attempt/msg/{plain}"
    assert await ids(of_message) == [elsewhere, failed, fine]
    assert await ids(of_message, endpoint_id=other) == [elsewhere]
    assert await ids(of_message, status=2, endpoint_id=other) == []
    stamp = (await world.api.get(f"{world.path}/msg/{plain}/attempt/{failed}")).body["timestamp"]
    assert await ids(here, before=stamp) == [fine]
    assert await ids(here, after=stamp) == [silent]


async def test_attempts_are_paged_both_ways(world: World) -> None:
    message = await world.message()
    made = [encode("atmpt", world.attempt(message)) for _ in range(5)][::-1]
    path = f"{world.path}/attempt/msg/{message}"
    first = (await world.api.get(path, limit=3)).body
    second = (await world.api.get(path, limit=3, iterator=first["iterator"])).body
    assert [one["id"] for page in (first, second) for one in page["data"]] == made
    assert (first["done"], second["done"]) == (False, True)
    back = (await world.api.get(path, limit=3, iterator=second["prevIterator"])).body
    assert back["data"] == first["data"]
    other = f"{world.path}/attempt/endpoint/{world.endpoints[0]}"
    assert (await world.api.get(other, iterator=first["iterator"])).status == 422


async def test_messages_of_an_endpoint_are_open_and_finished_ones_in_one_order(world: World) -> None:
    names = ["pending", "sending", "late", "held", "success", "fail", "canceled"]
    made = {name: await world.message("a.b", eventId=name) for name in names}
    soon = datetime.now(UTC) + timedelta(minutes=5)
    past = datetime.now(UTC) - timedelta(minutes=5)
    states = {
        "pending": (DueState.ready, soon),
        "sending": (DueState.sending, soon),
        "late": (DueState.sending, past),
        "held": (DueState.held, past),
    }
    for name, (state, due_at) in states.items():
        world.set_due(made[name], state=state, due_at=due_at)
    for status in (Status.success, Status.fail, Status.canceled):
        world.finish(made[status.name], status)

    async def found(**query: str | int) -> dict[str, tuple[int, str]]:
        body = (await world.api.get(f"{world.path}/endpoint/{world.endpoints[0]}/msg", **query)).body
        return {one["eventId"]: (one["status"], one["statusText"]) for one in body["data"]}

    everything = await found(expanded_statuses="true")
    assert list(everything) == names[::-1]
    assert everything == {
        "pending": (1, "pending"),
        "sending": (3, "sending"),
        "late": (1, "pending"),
        "held": (1, "pending"),
        "success": (0, "success"),
        "fail": (2, "fail"),
        "canceled": (4, "canceled"),
    }
    assert (await found())["canceled"] == (0, "success")
    assert list(await found(status=0)) == ["canceled", "success"]
    assert list(await found(status=0, expanded_statuses="true")) == ["success"]
    assert list(await found(status=1)) == ["held", "late", "pending"]
    assert list(await found(status=2)) == ["fail"]
    assert list(await found(status=3)) == ["sending"]
    assert list(await found(status=4, expanded_statuses="true")) == ["canceled"]
    body = (await world.api.get(f"{world.path}/endpoint/{world.endpoints[0]}/msg", limit=250)).body
    next_attempts = {one["eventId"]: one["nextAttempt"] for one in body["data"]}
    assert next_attempts["pending"] == written(soon.isoformat())
    assert next_attempts["sending"] is next_attempts["success"] is None


async def test_messages_of_an_endpoint_are_filtered_and_paged(world: World) -> None:
    first = await world.message("a.a", channels=["x"])
    second = await world.message("b.b", tags=["t"])
    third = await world.message("c.c")
    world.finish(first, Status.success)
    world.finish(third, Status.fail)
    path = f"{world.path}/endpoint/{world.endpoints[0]}/msg"

    async def ids(**query: str | int) -> list[str]:
        return [one["id"] for one in (await world.api.get(path, **query)).body["data"]]

    assert await ids(event_types="a.a,b.b") == [second, first]
    assert await ids(channel="x") == [first]
    assert await ids(tag="t") == [second]
    stamp = (await world.api.get(f"{world.path}/msg/{second}")).body["timestamp"]
    assert await ids(before=stamp) == [first]
    assert await ids(after=stamp) == [third]
    page = (await world.api.get(path, limit=2)).body
    assert ([one["id"] for one in page["data"]], page["done"]) == ([third, second], False)
    rest = (await world.api.get(path, limit=2, iterator=page["iterator"])).body
    assert ([one["id"] for one in rest["data"]], rest["done"]) == ([first], True)
    back = (await world.api.get(path, limit=2, iterator=rest["prevIterator"])).body
    assert back["data"] == page["data"]


async def test_destinations_are_paged_and_say_truly_when_they_are_done(world: World) -> None:
    for _ in range(2):
        await world.endpoint(channels=["x"], rateLimit=7, description="d")
    message = await world.message(channels=["x"])
    quiet = await world.endpoint()
    world.finish(message, Status.success, world.endpoints[1])
    path = f"{world.path}/msg/{message}/endpoint"
    first = (await world.api.get(path, limit=2)).body
    second = (await world.api.get(path, limit=2, iterator=first["iterator"])).body
    shown = {one["id"]: one for page in (first, second) for one in page["data"]}
    assert set(shown) == set(world.endpoints) - {quiet}
    assert (first["done"], second["done"]) == (False, True)
    assert (await world.api.get(path, limit=3)).body["done"] is True
    done = shown[world.endpoints[1]]
    assert (done["status"], done["statusText"], done["nextAttempt"]) == (0, "success", None)
    assert (done["rateLimit"], done["throttleRate"], done["description"], done["version"]) == (7, 7, "d", 1)
    assert shown[world.endpoints[0]]["statusText"] == "pending"
    assert shown[world.endpoints[0]]["nextAttempt"] is not None


async def test_a_resend_owes_one_try_more(world: World, sessions: sessionmaker[Session]) -> None:
    message = await world.message()
    world.finish(message, Status.fail)
    path = f"{world.path}/msg/{message}/endpoint/{world.endpoints[0]}/resend"
    for _ in range(2):
        reply = await world.api.post(path, key="once")
        assert (reply.status, reply.body) == (202, {})
    [due] = world.due()
    assert (due.trigger, due.lane, due.state, due.attempt) == (Trigger.manual, Lane.first, DueState.ready, 0)
    with sessions() as db:
        acts = select(func.count()).select_from(DeliveryAction).filter_by(kind="resend", message_id=uuid_of(message))
        assert db.scalar(acts) == 1
    assert (await world.api.post(path)).status == 202
    assert len(world.due()) == 1
    destinations = (await world.api.get(f"{world.path}/msg/{message}/endpoint")).body["data"]
    assert [one["statusText"] for one in destinations] == ["fail"]


async def test_a_resend_leaves_the_schedule_alone(world: World) -> None:
    message = await world.message()
    before = world.due()[0].due_at
    assert (await world.api.post(f"{world.path}/msg/{message}/endpoint/{world.endpoints[0]}/resend")).status == 202
    assert [(one.trigger, one.due_at == before) for one in world.due()] == [(0, True), (1, False)]


async def test_what_cannot_be_resent_is_refused(world: World, stranger: Api) -> None:
    message = await world.message()
    late = await world.endpoint()
    path = f"{world.path}/msg/{message}/endpoint/{world.endpoints[0]}/resend"
    assert (await world.api.post(f"{world.path}/msg/{message}/endpoint/{late}/resend")).status == 404
    assert (await world.api.post(f"{world.path}/msg/{message}/endpoint/ep_none/resend")).status == 404
    assert (await stranger.post(path)).status == 404
    portal = await world.api.portal(world.app_id)
    assert (await portal.post(path)).status == 202
    assert (await (await world.api.portal(world.app_id, readOnly=True)).post(path)).status == 403
    await world.api.patch(f"{world.path}/endpoint/{world.endpoints[0]}", {"disabled": True})
    refused = await world.api.post(path)
    assert (refused.status, refused.code) == (400, "endpoint_disabled")
    world.expire(message)
    refused = await world.api.post(path)
    assert (refused.status, refused.code) == (400, "missing_payload")


async def test_expunging_an_attempt_overwrites_the_response(world: World, sessions: sessionmaker[Session]) -> None:
    message = await world.message()
    made = world.attempt(message, response=b"secret")
    path = f"{world.path}/msg/{message}/attempt/{encode('atmpt', made)}"
    assert (await (await world.api.portal(world.app_id)).delete(f"{path}/content")).status == 403
    assert (await world.api.delete(f"{path}/content")).status == 204
    assert (await world.api.get(path)).body["response"] == "EXPUNGED"
    with sessions() as db:
        row = db.scalars(select(Attempt).filter_by(id=made)).one()
    assert (row.response, row.response_expunged) == (b"EXPUNGED", True)
    assert (await world.api.delete(f"{world.path}/msg/{message}/attempt/atmpt_nothing/content")).status == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"status": "5"}, 422),
        ({"status": "x"}, 400),
        ({"status_code_class": "250"}, 400),
        ({"expanded_statuses": "x"}, 400),
        ({"before": "x"}, 400),
    ],
)
async def test_wrong_queries_are_refused(world: World, query: dict[str, str], status: int) -> None:
    assert (await world.api.get(f"{world.path}/attempt/endpoint/{world.endpoints[0]}", **query)).status == status


async def test_attempts_of_others_are_not_found(world: World, stranger: Api) -> None:
    message, other = await world.message(), await world.message()
    attempt = encode("atmpt", world.attempt(message))
    assert (await world.api.get(f"{world.path}/msg/{other}/attempt/{attempt}")).status == 404
    second = await World(world.api, world.sessions, world.environment_id).setup()
    for path in (
        f"/attempt/endpoint/{world.endpoints[0]}",
        f"/attempt/msg/{message}",
        f"/endpoint/{world.endpoints[0]}/msg",
        f"/msg/{message}/endpoint",
        f"/msg/{message}/attempt/{attempt}",
    ):
        assert (await world.api.get(second.path + path)).status == 404
        assert (await stranger.get(world.path + path)).status == 404
        assert (await (await world.api.portal(world.app_id)).get(world.path + path)).status == 200
