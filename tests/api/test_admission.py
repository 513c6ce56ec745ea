"""Admission to the ingest: a flood is refused after a pause, others are let in, and nobody's place is lost."""

import asyncio
import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest

from app.cli.dev.roles import DatabaseUrls, plain_url
from app.domain.fair_queue import LINE_PER_SHARE
from app.features.messages import admission
from app.features.messages.admission import Admission
from app.kit.clock import new_id
from app.kit.errors import Kind, Problem
from app.kit.presence import Presence
from tests.api.client import Api, Reply

A, B = new_id(), new_id()
ROOM, SHARE, LINE = 20, admission.SHARE, admission.SHARE * LINE_PER_SHARE


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of almost nothing, and little patience in line."""
    monkeypatch.setattr(admission, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.2)


def new_hall(batch: int) -> Admission:
    """One of a process that has no siblings."""
    return Admission(batch, Presence(admission.PRESENT_SECONDS, mmap.mmap(-1, mmap.PAGESIZE)))


async def arrivals(hall: Admission, environment_id: UUID, number: int) -> list[asyncio.Task[None]]:
    """So many that ask to enter, as far as they come at once."""
    tasks = [asyncio.create_task(hall.enter(environment_id)) for _ in range(number)]
    await asyncio.sleep(0)
    return tasks


def inside(tasks: list[asyncio.Task[None]]) -> int:
    return sum(task.done() and not task.cancelled() and task.exception() is None for task in tasks)


class TestAdmission:
    async def test_those_in_line_get_in_as_others_leave(self) -> None:
        hall = new_hall(ROOM // 2)
        tasks = await arrivals(hall, A, ROOM + 2)
        assert inside(tasks) == ROOM
        hall.leave(A)
        await asyncio.sleep(0)
        assert inside(tasks) == ROOM + 1
        hall.leave(A)
        await asyncio.gather(*tasks)

    async def test_a_line_goes_on_after_its_rest(self) -> None:
        hall = new_hall(ROOM // 2)
        await hall.enter(B)
        tasks = await arrivals(hall, A, 3 * SHARE)
        assert inside(tasks) == SHARE
        for shares in (2, 3):
            for _ in range(SHARE):
                hall.leave(A)
            # It rests as long as those before were inside, by a clock that a busy machine stretches.
            await asyncio.wait(tasks[: shares * SHARE], timeout=2)
            assert inside(tasks) == shares * SHARE

    async def test_a_client_that_goes_away_in_line_takes_no_place(self) -> None:
        hall = new_hall(1)
        *_, gone, stays = await arrivals(hall, A, 4)
        gone.cancel()
        await asyncio.sleep(0)
        hall.leave(A)
        await asyncio.wait_for(stays, 1)

    async def test_one_that_is_cancelled_as_it_is_called_gives_its_place_to_the_next(self) -> None:
        hall = new_hall(1)
        *_, gone, stays = await arrivals(hall, A, 4)
        hall.leave(A)
        gone.cancel()
        await asyncio.wait_for(stays, 1)
        assert gone.cancelled()

    @pytest.mark.usefixtures("impatient")
    async def test_who_stands_in_line_too_long_is_told_so(self) -> None:
        hall = new_hall(1)
        *_, waits = await arrivals(hall, A, 3)
        with pytest.raises(Problem) as late:
            await waits
        assert (late.value.kind, late.value.retry_after) == (Kind.unavailable, 1)
        hall.leave(A)
        await asyncio.wait_for(hall.enter(A), 1)

    @pytest.mark.usefixtures("impatient")
    async def test_beyond_the_line_all_are_refused(self) -> None:
        hall = new_hall(ROOM // 2)
        await hall.check(A)
        await hall.enter(B)
        tasks = await arrivals(hall, A, SHARE + LINE)
        assert inside(tasks) == SHARE
        for refused in (hall.check(A), hall.enter(A)):
            with pytest.raises(Problem) as told:
                await refused
            assert (told.value.kind, told.value.code, told.value.retry_after) == (Kind.too_many, "limit_reached", 1)
        await hall.check(B)
        await hall.enter(B)
        for task in tasks:
            task.cancel()


class TestPauses:
    async def test_refusals_are_let_go_little_by_little(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admission, "PAUSE_SECONDS", 0.05)
        pauses, began = admission.Pauses(), time.monotonic()
        ended = await asyncio.gather(*(ending(pauses) for _ in range(5 * admission.ANSWERED_PER_TICK)))
        assert min(ended) - began >= 0.045
        assert max(ended) - min(ended) >= 3 * admission.TICK_SECONDS

    @pytest.mark.usefixtures("impatient")
    async def test_one_that_goes_away_keeps_nobody(self) -> None:
        pauses = admission.Pauses()
        gone, stays = (asyncio.create_task(pauses.pause()) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(stays, 1)

    async def test_no_more_are_held_than_may_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admission, "PAUSED", 3)
        pauses = admission.Pauses()
        held = [asyncio.create_task(pauses.pause()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.wait_for(pauses.pause(), 0.1)
        assert not any(task.done() for task in held)
        for task in held:
            task.cancel()


async def ending(pauses: admission.Pauses) -> float:
    await pauses.pause()
    return time.monotonic()


@contextmanager
def nothing_is_stored(database: DatabaseUrls) -> Iterator[None]:
    """Holds every commit of messages up."""
    with psycopg.connect(plain_url(database.migrator)) as owner:
        owner.execute("LOCK TABLE messages IN EXCLUSIVE MODE")
        yield


async def test_an_organisation_over_its_share_is_refused_and_another_is_not(
    api: Api, stranger: Api, database: DatabaseUrls
) -> None:
    async def post(one: Api, query: str = "") -> Reply:
        return await one.post(f"/app/a/msg{query}", {"eventType": "a.b", "payload": {}})

    for one in (api, stranger):
        assert (await one.post("/app", {"name": "a", "uid": "a"})).status == 201
    with nothing_is_stored(database):
        others = [asyncio.create_task(post(stranger))]
        flood = [asyncio.create_task(post(api)) for _ in range(SHARE + LINE)]
        await asyncio.sleep(0.5)
        began = time.monotonic()
        refused = await asyncio.gather(post(api), post(api, "?with_content=true"))
        assert time.monotonic() - began >= admission.PAUSE_SECONDS * 0.9
        others.append(asyncio.create_task(post(stranger, "?with_content=true")))
        await asyncio.sleep(0.1)
    assert [(one.status, one.code, one.headers["retry-after"]) for one in refused] == [(429, "limit_reached", "1")] * 2
    assert {one.status for one in await asyncio.gather(*others, *flood)} == {202}
    assert (await post(api)).status == 202
