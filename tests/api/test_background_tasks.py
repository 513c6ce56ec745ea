"""Recover and replay: asked of the API, done by workers, watched as background tasks."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.features.background_tasks import operations
from app.features.deliveries import replays
from app.models import BackgroundTask, Delivery, DeliveryAction, DueState, Lane, Payload, Status, Trigger
from tests.api.client import Api, Tenant
from tests.api.world import World, uuid_of
from tests.servers import ROOT
from worker.background import run_due_tasks


@pytest_asyncio.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    run_due_tasks(sessions)
    return await World(api, sessions, tenant.id).setup()


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat()


async def start(world: World, name: str, endpoint: str | None = None, **body: object) -> dict[str, Any]:
    path = f"{world.path}/endpoint/{endpoint or world.endpoints[0]}/{name}"
    reply = await world.api.post(path, {"since": ago(hours=1), **body})
    assert reply.status == 202, reply.raw
    task: dict[str, Any] = reply.body
    return task


async def watch(world: World, task: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = (await world.api.get(f"/background-task/{task['id']}")).body
    return body


async def test_recover_owes_what_failed_and_nothing_else(world: World) -> None:
    failed, fine, open_, late = [await world.message() for _ in range(4)]
    world.finish(failed, Status.fail)
    world.finish(fine, Status.success)
    world.finish(late, Status.fail)
    stamp = (await world.api.get(f"{world.path}/msg/{late}")).body["timestamp"]
    task = await start(world, "recover", until=stamp)
    assert (task["task"], task["status"], set(task)) == (
        "endpoint.recover",
        "running",
        {"id", "status", "task", "updatedAt"},
    )
    seen = await watch(world, task)
    assert (seen["status"], seen["data"]["messagesSent"], seen["data"]["progress"]) == ("running", 0, 0)
    assert run_due_tasks(world.sessions) == 1
    seen = await watch(world, task)
    assert (seen["status"], seen["data"]["messagesSent"], seen["data"]["progress"]) == ("finished", 1, 1)
    assert {one.message_id for one in world.due()} == {uuid_of(failed), uuid_of(open_)}
    [again] = world.due(lane=Lane.replay)
    assert (again.message_id, again.trigger, again.state) == (uuid_of(failed), Trigger.scheduled, DueState.ready)
    assert (again.attempt, again.failures, again.event_type) == (0, 0, "a.b")
    with world.sessions() as db:
        kinds = db.scalars(select(DeliveryAction.kind).filter_by(message_id=uuid_of(failed))).all()
        assert kinds == ["replay"]
        left = db.scalar(select(func.count()).select_from(Delivery).filter_by(environment_id=world.environment_id))
        assert left == 2


async def test_a_task_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "BATCH", 2)
    for _ in range(5):
        world.finish(await world.message(), Status.fail)
    task = await start(world, "recover")
    shares = []
    for _ in range(2):
        assert run_due_tasks(world.sessions, seconds=0) == 1
        shares.append((await watch(world, task))["data"])
    assert [one["messagesSent"] for one in shares] == [2, 4]
    assert 0 < shares[0]["progress"] <= shares[1]["progress"] <= 1
    assert run_due_tasks(world.sessions) == 1
    assert ((await watch(world, task))["status"], len(world.due())) == ("finished", 5)


async def test_a_killed_step_leaves_nothing_and_is_done_again(world: World) -> None:
    world.finish(await world.message(), Status.fail)
    task = await start(world, "recover")
    with world.sessions.begin() as db:
        dead = operations.claim(db)
    assert dead is not None
    db = world.sessions()
    progress, _ = replays.step(db, dead)
    assert run_due_tasks(world.sessions) == 0
    db.rollback()
    with world.sessions.begin() as other:
        other.execute(update(BackgroundTask).filter_by(id=dead.id).values(due_at=func.now()))
    assert run_due_tasks(world.sessions) == 1
    with pytest.raises(operations.LeaseLostError), world.sessions.begin() as other:
        operations.finish(other, dead, progress)
    assert ((await watch(world, task))["data"]["messagesSent"], len(world.due())) == (1, 1)


async def test_an_unexpected_error_puts_a_task_off_and_in_the_end_fails_it(world: World) -> None:
    task = await start(world, "recover")
    with mock.patch.object(replays, "step", side_effect=ValueError("boom")):
        for _ in range(operations.MOST_FAILURES):
            assert run_due_tasks(world.sessions) == 1
            assert run_due_tasks(world.sessions) == 0
            with world.sessions.begin() as db:
                db.execute(update(BackgroundTask).filter_by(id=uuid_of(task["id"])).values(due_at=func.now()))
    seen = await watch(world, task)
    assert (seen["status"], seen["data"]["error"]) == ("failed", "internal error")


async def test_a_task_of_a_disabled_endpoint_fails(world: World) -> None:
    path = f"{world.path}/endpoint/{world.endpoints[0]}"
    task = await start(world, "recover")
    await world.api.patch(path, {"disabled": True})
    assert run_due_tasks(world.sessions) == 1
    seen = await watch(world, task)
    assert (seen["status"], seen["data"]["error"]) == ("failed", "The endpoint is deleted or disabled")
    refused = await world.api.post(f"{path}/recover", {"since": ago(hours=1)})
    assert (refused.status, refused.code) == (400, "endpoint_disabled")


async def test_replay_missing_owes_what_an_endpoint_would_have_got(world: World) -> None:
    old = await world.message("a.b", channels=["x"])
    other_type = await world.message("c.d", channels=["x"])
    other_channel = await world.message("a.b", channels=["y"])
    gone = await world.message("a.b", channels=["x"])
    world.expire(gone)
    newcomer = await world.endpoint(eventTypes=None, channels=["x"])
    await world.api.post("/event-type", {"name": "a.b", "description": "d"})
    await world.api.patch(f"{world.path}/endpoint/{newcomer}", {"eventTypes": ["a.b"]})
    known = await world.message("a.b", channels=["x"])
    world.finish(known, Status.fail, newcomer)
    task = await start(world, "replay-missing", newcomer)
    assert task["task"] == "endpoint.replay"
    assert run_due_tasks(world.sessions) == 1
    assert [one.message_id for one in world.due(endpoint_id=uuid_of(newcomer))] == [uuid_of(old)]
    assert (await watch(world, task))["data"]["messagesSent"] == 1
    again = await start(world, "replay-missing", newcomer)
    run_due_tasks(world.sessions)
    assert (await watch(world, again))["data"]["messagesSent"] == 0
    shown = (await world.api.get(f"{world.path}/endpoint/{newcomer}/msg")).body["data"]
    assert [one["id"] for one in shown] == [known, old]
    assert {other_type, other_channel}.isdisjoint(one["id"] for one in shown)


async def test_bulk_replay_sends_finished_messages_by_filter(world: World) -> None:
    red = await world.message("a.b", tags=["red"])
    fine = await world.message("c.d", channels=["x"])
    failed = await world.message("a.b")
    canceled = await world.message("a.b")
    open_ = await world.message("a.b")
    world.attempt(failed, status=Status.fail, response_status=503)
    for message, status in (
        (red, Status.success),
        (fine, Status.success),
        (failed, Status.fail),
        (canceled, Status.canceled),
    ):
        world.finish(message, status)

    async def sent(**body: object) -> set[str]:
        task = await start(world, "bulk-replay", world.endpoints[0], **body)
        assert task["task"] == "endpoint.bulk-replay"
        run_due_tasks(world.sessions)
        assert (await watch(world, task))["status"] == "finished"
        found = {one.message_id for one in world.due(lane=Lane.replay)}
        for message in (red, fine, failed, canceled):
            if uuid_of(message) in found:
                world.finish(message, {failed: Status.fail, canceled: Status.canceled}.get(message, Status.success))
        return {message for message in (red, fine, failed, canceled, open_) if uuid_of(message) in found}

    assert await sent() == {red, fine, failed, canceled}
    assert await sent(status=0) == {red, fine}
    assert await sent(status=4) == {canceled}
    assert await sent(status=1) == set()
    assert await sent(tag="red") == {red}
    assert await sent(channel="x") == {fine}
    assert await sent(eventTypes=["c.d", "e.f"]) == {fine}
    assert await sent(statusCodeClass=500) == {failed}
    assert await sent(statusCodeClass=400) == set()
    assert await sent(until=ago(minutes=30)) == set()


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("recover", {}, "body.since"),
        ("recover", {"since": "yesterday"}, "body.since"),
        ("recover", {"since": "2020-01-01T00:00:00Z"}, "body.since"),
        ("replay-missing", {"since": "2020-01-01T00:00:00Z"}, "body.since"),
        ("bulk-replay", {"status": 7}, "body.status"),
        ("bulk-replay", {"statusCodeClass": 7}, "body.statusCodeClass"),
    ],
)
async def test_wrong_requests_name_the_field(world: World, name: str, body: dict[str, object], field: str) -> None:
    asked = {"since": ago(hours=1), **body} if name == "bulk-replay" else body
    reply = await world.api.post(f"{world.path}/endpoint/{world.endpoints[0]}/{name}", asked)
    assert (reply.status, reply.fields) == (422, [field])


async def test_fourteen_days_may_be_recovered(world: World) -> None:
    path = f"{world.path}/endpoint/{world.endpoints[0]}/recover"
    assert (await world.api.post(path, {"since": ago(days=14)})).status == 202
    assert (await world.api.post(path, {"since": ago(days=15)})).status == 422
    backwards = await world.api.post(path, {"since": ago(hours=1), "until": ago(hours=2)})
    assert (backwards.status, backwards.fields) == (422, ["body.until"])


async def test_a_repeated_request_starts_one_task(world: World) -> None:
    path = f"{world.path}/endpoint/{world.endpoints[0]}/recover"
    body = {"since": ago(hours=1)}
    first, second = [(await world.api.post(path, body, key="k")).body for _ in range(2)]
    assert first == second
    assert len((await world.api.get("/background-task")).body["data"]) == 1


async def test_tasks_are_listed_filtered_and_kept_from_others(world: World, stranger: Api) -> None:
    recover = await start(world, "recover")
    run_due_tasks(world.sessions)
    replay = await start(world, "replay-missing")

    async def ids(**query: str | int) -> list[str]:
        return [one["id"] for one in (await world.api.get("/background-task", **query)).body["data"]]

    assert await ids() == [replay["id"], recover["id"]]
    assert await ids(order="ascending") == [recover["id"], replay["id"]]
    assert await ids(status="finished") == [recover["id"]]
    assert await ids(task="endpoint.replay") == [replay["id"]]
    assert await ids(task="message.broadcast") == []
    page = (await world.api.get("/background-task", limit=1)).body
    assert page["done"] is False
    assert await ids(limit=1, iterator=page["iterator"]) == [recover["id"]]
    assert (await stranger.get(f"/background-task/{replay['id']}")).status == 404
    assert (await stranger.get("/background-task")).body["data"] == []
    assert (await (await world.api.portal(world.app_id)).get("/background-task")).status == 403
    assert (await world.api.get("/background-task/qtask_none")).status == 404


async def test_the_organisation_is_told_when_a_task_ends(world: World) -> None:
    listener = await world.api.post(
        "/operational-webhook/endpoint",
        {"url": "http://127.0.0.1:9/told", "eventTypes": ["background_task.finished"]},
    )
    assert listener.status == 201, listener.raw
    world.finish(await world.message(), Status.fail)
    task = await start(world, "recover")
    run_due_tasks(world.sessions)
    [told] = world.due(endpoint_id=uuid_of(listener.body["id"]))
    assert told.event_type == "background_task.finished"
    with world.sessions() as db:
        body = json.loads(db.scalars(select(Payload.body).filter_by(message_id=told.message_id)).one())
    assert body["type"] == "background_task.finished"
    data = body["data"]
    assert (data["taskId"], data["task"], data["status"]) == (task["id"], "endpoint.recover", "finished")
    assert data["data"] == (await watch(world, task))["data"]


async def test_two_processes_share_the_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "BATCH", 1)
    for _ in range(6):
        world.finish(await world.message(), Status.fail)
    tasks = [await start(world, "recover") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: run_due_tasks(world.sessions), range(3)))
    run_due_tasks(world.sessions)
    seen = [await watch(world, task) for task in tasks]
    assert [one["status"] for one in seen] == ["finished"] * 3
    assert sum(one["data"]["messagesSent"] for one in seen) == len(world.due()) == 6


RUN_SLOWLY = """
import sys, time
from app.features.deliveries import replays
from app.kit.db import make_engine, make_sessions
from worker.background import run_due_tasks
replays.BATCH = 1
sessions = make_sessions(make_engine(sys.argv[1]))
while run_due_tasks(sessions, seconds=0):
    time.sleep(0.02)
"""


async def test_a_task_survives_the_death_of_its_process(world: World, database: DatabaseUrls) -> None:
    messages = [await world.message() for _ in range(40)]
    for message in messages:
        world.finish(message, Status.fail)
    task = await start(world, "recover")
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN_SLOWLY, database.worker, cwd=ROOT)
    try:
        while (await watch(world, task))["data"]["messagesSent"] < 5:
            assert process.returncode is None
            await asyncio.sleep(0.02)
    finally:
        process.kill()
        await process.wait()
    seen = await watch(world, task)
    assert seen["status"] == "running"
    with world.sessions.begin() as db:
        # The lease of the dead runs out.
        db.execute(update(BackgroundTask).filter_by(id=uuid_of(task["id"])).values(due_at=func.now()))
    run_due_tasks(world.sessions)
    seen = await watch(world, task)
    assert (seen["status"], seen["data"]["messagesSent"]) == ("finished", 40)
    assert [one.message_id for one in world.due()] == [uuid_of(one) for one in messages]
    with world.sessions() as db:
        acts = select(func.count()).select_from(DeliveryAction).filter_by(environment_id=world.environment_id)
        assert db.scalar(acts) == 40
