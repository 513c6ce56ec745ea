"""The state of every delivery is rebuilt from what is append-only, and compared with what the tables say."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest_asyncio
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.deliveries.derive import Fact, Pair, Standing, derive, rebuild
from app.kit.clock import new_id
from app.models import Delivery, DueDelivery, DueState, Endpoint, EndpointGate, EndpointHealth, Status, Trigger
from app.settings import Settings
from tests.api.client import Api, Tenant
from tests.api.world import World, counted
from worker.background import run_due_tasks
from worker.delivery.claim import Claimer, Demand
from worker.delivery.job import Job, Sent
from worker.delivery.record import record

NOW = datetime(2026, 1, 1, tzinfo=UTC)
M, E = new_id(), new_id()


@pytest_asyncio.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    found = await World(api, sessions, tenant.id).setup(endpoints=3)
    with sessions.begin() as db:
        db.execute(update(Endpoint).filter_by(environment_id=tenant.id).values(retry_schedule=[0, 1, 1]))
    return found


class Machine:
    """A worker's claim and record, with the answers of receivers in between."""

    def __init__(self, world: World, settings: Settings, dice: random.Random) -> None:
        self.sessions = world.sessions
        self.environment_id = world.environment_id
        self.dice = dice
        self.flying: list[Job] = []
        self.claimer = Claimer(settings.secrets.ring(), cap=1000, lease=timedelta(minutes=5))

    def hurry(self) -> None:
        """Makes every delivery due and every endpoint well."""
        with self.sessions.begin() as db:
            mine = {"environment_id": self.environment_id}
            db.execute(delete(EndpointHealth).filter_by(**mine))
            db.execute(delete(EndpointGate).filter_by(**mine))
            waiting = update(DueDelivery).filter_by(**mine).where(DueDelivery.state != DueState.sending)
            db.execute(waiting.values(state=DueState.ready, due_at=func.least(DueDelivery.due_at, func.now())))

    def claim(self, most: int) -> None:
        self.hurry()
        with self.sessions.begin() as db:
            self.flying += self.claimer.claim(db, Demand({0: most, 1: most, 2: most}, 10_000, {})).jobs

    def answer(self, share: float) -> None:
        """Lets some of what is in flight come back; half of it fails."""
        self.dice.shuffle(self.flying)
        count = round(len(self.flying) * share)
        back, self.flying = self.flying[:count], self.flying[count:]
        with self.sessions.begin() as db:
            record(db, [self._sent(job) for job in back])

    def _sent(self, job: Job) -> Sent:
        took = round((datetime.now(UTC) - job.claimed_at) / timedelta(milliseconds=1))
        return Sent(job, new_id(), job.claimed_at, self.dice.choice([200, 500]), None, "", b"", None, took)


def stored(db: Session, environment_id: UUID) -> dict[Pair, Standing]:
    """What the tables say."""
    found = {
        (one.message_id, one.endpoint_id): Standing(Status(one.status))
        for one in db.scalars(select(Delivery).filter_by(environment_id=environment_id))
    }
    due = db.scalars(select(DueDelivery).filter_by(environment_id=environment_id)).all()
    for one in due:
        if one.trigger == Trigger.scheduled:
            assert (one.message_id, one.endpoint_id) not in found
            found[one.message_id, one.endpoint_id] = Standing(Status.pending, one.failures)
    for one in due:
        if one.trigger == Trigger.manual:
            known = found[one.message_id, one.endpoint_id]
            found[one.message_id, one.endpoint_id] = Standing(known.status, known.failures, by_hand=True)
    return found


def comparable(standings: dict[Pair, Standing]) -> dict[Pair, Standing]:
    """Failures count while a delivery is open."""
    return {
        pair: one if one.status is Status.pending else Standing(one.status, 0, one.by_hand)
        for pair, one in standings.items()
    }


async def test_a_mixed_history_is_rebuilt(world: World, settings: Settings) -> None:
    dice = random.Random(7)
    machine = Machine(world, settings, dice)
    messages: list[str] = []
    seen: set[tuple[Status | None, bool]] = set()
    for turn in range(20):
        messages += [await world.message() for _ in range(2)]
        machine.claim(20)
        await act(world, dice, messages, turn)
        machine.answer(dice.random())
        with world.sessions() as db:
            truth = stored(db, world.environment_id)
            assert comparable(rebuild(db, world.environment_id)) == truth
        seen |= {(one.status, one.by_hand) for one in truth.values()}
    assert seen >= {(status, False) for status in (Status.success, Status.pending, Status.fail, Status.canceled)}
    assert {(Status.pending, True), (Status.success, True)} & seen
    assert len(truth) > 100


async def act(world: World, dice: random.Random, messages: list[str], turn: int) -> None:
    for _ in range(3):
        path = f"{world.path}/msg/{dice.choice(messages)}/endpoint/{dice.choice(world.endpoints)}/resend"
        assert (await world.api.post(path)).status in {202, 400, 404}
    endpoint = f"{world.path}/endpoint/{dice.choice(world.endpoints)}"
    if turn % 6 == 5:
        for disabled in (True, False):
            assert (await world.api.patch(endpoint, {"disabled": disabled})).status == 200
    if turn % 4 == 3:
        await world.api.delete(f"{world.path}/msg/{dice.choice(messages)}/content")
    if turn % 5 == 4:
        kind = dice.choice(["recover", "bulk-replay"])
        since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        assert (await world.api.post(f"{endpoint}/{kind}", {"since": since})).status == 202
        run_due_tasks(world.sessions)
    if turn == 12:
        await late_endpoint(world)


async def late_endpoint(world: World) -> None:
    late = await world.endpoint()
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    await world.api.post(f"{world.path}/endpoint/{late}/replay-missing", {"since": since})
    run_due_tasks(world.sessions)


async def test_one_message_is_rebuilt_alone(world: World) -> None:
    first, second = await world.message(), await world.message()
    with world.sessions() as db, counted(world.engine) as statements:
        everything = rebuild(db, world.environment_id)
        alone = {pair: one for pair, one in everything.items() if encode("msg", pair[0]) == second}
        assert len(everything) == 6
        assert len(statements) == 1
        assert rebuild(db, world.environment_id, next(iter(alone))[0]) == alone
    assert first != second


def fact(kind: str, second: int, trigger: int | None = None, status: int | None = None, *, last: bool = False) -> Fact:
    return Fact(M, E, NOW + timedelta(seconds=second), kind, trigger, status, last)


def standing(*facts: Fact) -> Standing:
    return derive([fact("owed", 0), *facts])[M, E]


def test_attempts_of_the_schedule_end_it() -> None:
    failed = fact("attempt", 1, 0, 2)
    assert standing() == Standing(Status.pending)
    assert standing(failed) == Standing(Status.pending, 1)
    assert standing(failed, fact("attempt", 2, 0, 0)) == Standing(Status.success, 1)
    assert standing(failed, fact("attempt", 2, 0, 2, last=True)) == Standing(Status.fail, 2)


def test_only_a_success_by_hand_touches_the_schedule() -> None:
    resend = fact("resend", 1)
    assert standing(resend) == Standing(Status.pending, by_hand=True)
    assert standing(resend, fact("attempt", 2, 1, 2, last=True)) == Standing(Status.pending)
    assert standing(resend, fact("attempt", 2, 1, 0, last=True)) == Standing(Status.success)
    exhausted = fact("attempt", 2, 0, 2, last=True)
    by_hand = fact("attempt", 3, 1, 0, last=True)
    assert standing(resend, exhausted, by_hand) == Standing(Status.success, 1)


def test_acts_cancel_and_owe_anew() -> None:
    exhausted, replay, cancel = fact("attempt", 1, 0, 2, last=True), fact("replay", 2), fact("cancel", 3)
    assert standing(exhausted, replay) == Standing(Status.pending)
    assert standing(exhausted, replay, cancel) == Standing(Status.canceled)
    assert standing(exhausted, fact("resend", 2), cancel) == Standing(Status.fail, 1)
    assert derive([replay])[M, E] == Standing(Status.pending)
