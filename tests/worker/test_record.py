"""Recording: an attempt is stored once, by whoever holds its lease, with all that follows from it."""

import json
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from app.domain.outcome import Failure
from app.kit.clock import new_id
from app.models import (
    Application,
    ApplicationKind,
    Attempt,
    Delivery,
    DueDelivery,
    DueState,
    Endpoint,
    EndpointHealth,
    Lane,
    Message,
    Payload,
    Status,
    Trigger,
)
from tests.worker.house import App, House, sent
from worker.delivery.job import Job
from worker.delivery.record import Recorded, release

LAST = 7
"""Failures of the default schedule after which one try is left."""


@pytest.fixture
def app(house: House) -> App:
    return house.app()


@pytest.fixture(autouse=True)
def endpoint(house: House, app: App) -> UUID:
    return house.endpoint(app)


def claim_again(house: House) -> Job:
    """The retry of the only open delivery, as if its time had come."""
    house.age(86400, trigger=Trigger.scheduled)
    house.change(EndpointHealth, {"open_until": None, "slow_until": None})
    house.open_gates()
    return house.claim_one()


def delay(house: House) -> float:
    """Seconds until the next try of the only open delivery."""
    (row,) = house.due()
    return (row.due_at - house.now()).total_seconds()


def assert_ahead(house: House, moment: datetime | None, least: float, most: float) -> None:
    """The moment is so many seconds from now."""
    assert moment is not None
    assert least < (moment - house.now()).total_seconds() < most


class TestOutcome:
    def test_a_success_ends_the_delivery(self, house: House, app: App, endpoint: UUID) -> None:
        (message,) = house.send(app)
        job = house.claim_one()
        assert house.finish(job, status=204, body=b"thanks", duration_ms=12) == Recorded(1, 0)
        assert house.due() == []
        (ended,) = house.deliveries(app)
        assert (ended.message_id, ended.endpoint_id, ended.application_id) == (message, endpoint, app.id)
        assert (ended.status, ended.attempts) == (Status.success, 1)
        (tried,) = house.attempts(app)
        assert (tried.status, tried.response_status, tried.failure, tried.response) == (0, 204, None, b"thanks")
        assert (tried.number, tried.trigger, tried.duration_ms, tried.next_at) == (1, Trigger.scheduled, 12, None)
        assert tried.url == job.destination.url

    def test_a_success_leaves_no_trace_in_an_endpoints_health(self, house: House, app: App, endpoint: UUID) -> None:
        house.send(app)
        house.finish(house.claim_one())
        assert house.rows(EndpointHealth, endpoint_id=endpoint) == []

    def test_a_failure_is_tried_again_by_the_schedule(self, house: House, app: App) -> None:
        house.send(app)
        house.finish(house.claim_one(), status=500)
        (row,) = house.due()
        assert (row.state, row.lane, row.failures, row.attempt) == (DueState.ready, Lane.retry, 1, 1)
        assert 3 < delay(house) <= 6
        (tried,) = house.attempts(app)
        assert tried.status == Status.fail
        assert tried.next_at == row.due_at
        assert house.deliveries(app) == []

    def test_what_got_no_answer_says_why(self, house: House, app: App) -> None:
        house.send(app)
        house.finish(house.claim_one(), status=None, failure=Failure.TIMEOUT, detail="no complete answer in time")
        (tried,) = house.attempts(app)
        assert (tried.response_status, tried.failure) == (0, "timeout")
        assert tried.detail == "no complete answer in time"

    def test_the_delays_are_the_schedules_within_a_fifth(self, house: House, app: App) -> None:
        house.send(app)
        job, schedule = house.claim_one(), (5, 300, 1800, 7200, 18000, 36000, 36000)
        for seconds in schedule:
            house.finish(job, status=500)
            assert 0.8 * seconds - 2 <= delay(house) <= 1.2 * seconds
            job = claim_again(house)
        assert job.failures == LAST

    def test_after_the_last_try_the_delivery_has_failed(self, house: House, app: App) -> None:
        house.send(app)
        house.change(DueDelivery, {"failures": LAST})
        house.finish(house.claim_one(), status=500)
        assert house.due() == []
        (ended,) = house.deliveries(app)
        assert (ended.status, ended.attempts) == (Status.fail, 8)
        assert house.attempts(app)[0].next_at is None

    @pytest.mark.parametrize(
        ("schedules", "expected"),
        [
            ({}, 5),
            ({"organisation": [0, 100]}, 100),
            ({"organisation": [0, 100], "event_type": [0, 200]}, 200),
            ({"organisation": [0, 100], "event_type": [0, 200], "endpoint": [0, 400]}, 400),
        ],
    )
    def test_the_endpoints_schedule_wins_over_the_event_types_over_the_organisations(
        self, house: House, schedules: Mapping[str, list[int]], expected: int
    ) -> None:
        app = house.app(house.organisation(retry_schedule=schedules.get("organisation")))
        house.event_type(app.environment_id, "a.b", retry_schedule=schedules.get("event_type"))
        house.endpoint(app, retry_schedule=schedules.get("endpoint"))
        house.send(app)
        house.finish(house.claim_one(), status=500)
        assert 0.8 * expected - 2 <= delay(house) <= 1.2 * expected

    @pytest.mark.parametrize(
        ("asked", "least", "most"), [("120", 115, 120), ("1", 2, 6), ("999999", 86390, 86400), ("soon", 2, 6)]
    )
    def test_what_the_endpoint_asks_for_postpones_a_try_within_a_day(
        self, house: House, app: App, asked: str, least: float, most: float
    ) -> None:
        house.send(app)
        house.finish(house.claim_one(), status=429, retry_after=asked)
        assert least <= delay(house) <= most

    def test_many_outcomes_in_one_batch_each_go_their_way(self, house: House, app: App) -> None:
        sent_ids = house.send(app, 6)
        jobs = house.claim().jobs
        outcomes = [200, 500, 200, 500, 200, 200]
        house.record(*(sent(job, status) for job, status in zip(jobs, outcomes, strict=True)))
        assert {row.message_id for row in house.due()} == {sent_ids[1], sent_ids[3]}
        assert {row.message_id for row in house.deliveries(app)} == {sent_ids[0], sent_ids[2], *sent_ids[4:]}
        assert len(house.attempts(app)) == 6


class TestFence:
    def test_a_result_that_comes_after_the_next_claim_is_refused(self, house: House, app: App) -> None:
        house.send(app)
        zombie = house.claim_one()
        house.age(30)
        current = house.claim_one()
        assert house.finish(zombie, status=500) == Recorded(0, 1)
        assert house.attempts(app) == []
        assert house.finish(current) == Recorded(1, 0)

    def test_of_two_results_for_one_delivery_the_fence_takes_the_current(self, house: House, app: App) -> None:
        house.send(app)
        zombie = house.claim_one()
        house.age(30)
        current = house.claim_one()
        assert house.record(sent(zombie, 500), sent(current)) == Recorded(1, 1)
        (tried,) = house.attempts(app)
        assert (tried.number, tried.status) == (2, Status.success)

    def test_a_result_counts_also_where_its_row_is_changed_at_that_moment(self, house: House, app: App) -> None:
        house.send(app)
        job = house.claim_one()
        with house.sessions() as other, ThreadPoolExecutor(1) as pool:
            other.execute(update(DueDelivery).values(expires_on=DueDelivery.expires_on + 1))
            recording = pool.submit(house.finish, job)
            with pytest.raises(TimeoutError):
                recording.result(timeout=0.3)
            other.commit()
            assert recording.result(timeout=5) == Recorded(1, 0)
        assert house.due() == []

    def test_a_late_result_counts_while_nobody_else_has_taken_over(self, house: House, app: App) -> None:
        house.send(app)
        job = house.claim_one()
        house.age(60)
        assert house.finish(job) == Recorded(1, 0)

    def test_a_result_counts_once(self, house: House, app: App) -> None:
        house.send(app)
        job = house.claim_one()
        house.finish(job, status=500)
        assert house.finish(job, status=500) == Recorded(0, 1)
        assert len(house.attempts(app)) == 1

    def test_the_result_of_what_was_held_meanwhile_is_refused(self, house: House, app: App) -> None:
        house.send(app)
        job = house.claim_one()
        house.change(DueDelivery, {"state": DueState.held})
        assert house.finish(job) == Recorded(0, 1)

    def test_a_zombie_does_not_blame_the_endpoint(self, house: House, app: App, endpoint: UUID) -> None:
        house.send(app)
        zombie = house.claim_one()
        house.age(30)
        house.claim_one()
        house.finish(zombie, status=500)
        assert house.health(endpoint).consecutive_failures == 0

    def test_what_is_released_can_be_claimed_at_once(self, house: House, app: App) -> None:
        house.send(app)
        job = house.claim_one()
        with house.sessions.begin() as db:
            release(db, [job])
        again = house.claim_one()
        assert (again.attempt, again.failures) == (2, 0)
        assert house.finish(job) == Recorded(0, 1)

    def test_what_another_has_taken_over_is_not_released(self, house: House, app: App) -> None:
        house.send(app)
        zombie = house.claim_one()
        house.age(30)
        house.claim_one()
        with house.sessions.begin() as db:
            release(db, [zombie])
        assert house.claim().jobs == []


class TestByHand:
    @pytest.fixture(autouse=True)
    def message(self, house: House, app: App, endpoint: UUID) -> UUID:
        """A message that failed once, and that a person asks for again."""
        (message,) = house.send(app)
        house.finish(house.claim_one(), status=500)
        house.resend(app, endpoint, message)
        return message

    def test_a_success_finishes_the_scheduled_delivery(self, house: House, app: App) -> None:
        job = house.claim_one()
        assert job.key.trigger == Trigger.manual
        house.finish(job)
        assert house.due() == []
        assert [row.status for row in house.deliveries(app)] == [Status.success]
        assert Counter(row.trigger for row in house.attempts(app)) == {Trigger.scheduled: 1, Trigger.manual: 1}

    def test_a_failure_leaves_the_schedule_alone(self, house: House, app: App) -> None:
        (before,) = house.due(trigger=Trigger.scheduled)
        house.finish(house.claim_one(), status=500)
        (after,) = house.due()
        assert (after.trigger, after.due_at, after.failures) == (Trigger.scheduled, before.due_at, 1)
        assert house.deliveries(app) == []
        by_hand = next(row for row in house.attempts(app) if row.trigger == Trigger.manual)
        assert (by_hand.status, by_hand.next_at) == (Status.fail, None)

    def test_a_success_overrides_the_failure_of_the_schedule(self, house: House, app: App) -> None:
        house.change(DueDelivery, {"failures": LAST}, trigger=Trigger.scheduled)
        by_hand = house.claim_one()
        house.finish(claim_again(house), status=500)
        assert [row.status for row in house.deliveries(app)] == [Status.fail]
        house.finish(by_hand)
        assert [row.status for row in house.deliveries(app)] == [Status.success]

    @pytest.mark.parametrize("order", [1, -1])
    def test_in_one_batch_the_success_counts(self, house: House, app: App, order: int) -> None:
        house.change(DueDelivery, {"failures": LAST}, trigger=Trigger.scheduled)
        by_hand = house.claim_one()
        scheduled = claim_again(house)
        house.record(*[sent(by_hand), sent(scheduled, 500)][::order])
        assert house.due() == []
        assert [row.status for row in house.deliveries(app)] == [Status.success]

    def test_the_schedules_late_result_after_a_success_is_refused(self, house: House, app: App) -> None:
        by_hand = house.claim_one()
        scheduled = claim_again(house)
        house.finish(by_hand)
        assert house.finish(scheduled, status=500) == Recorded(0, 1)
        assert [row.status for row in house.deliveries(app)] == [Status.success]


class TestReplay:
    def test_its_retries_stay_in_its_lane(self, house: House, app: App) -> None:
        house.send(app)
        house.change(DueDelivery, {"lane": Lane.replay})
        house.finish(house.claim_one(), status=500)
        (row,) = house.due()
        assert (row.lane, row.failures) == (Lane.replay, 1)

    def test_its_end_replaces_what_was_before(self, house: House, app: App, endpoint: UUID) -> None:
        house.send(app)
        job = house.claim_one()
        house.add(
            Delivery(
                environment_id=app.environment_id,
                endpoint_id=endpoint,
                message_id=job.key.message_id,
                application_id=app.id,
                status=Status.fail,
                attempts=8,
                finished_at=house.now(),
            )
        )
        house.finish(job)
        assert [row.status for row in house.deliveries(app)] == [Status.success]


class TestHealth:
    def fail(self, house: House, app: App, times: int, status: int | None = 500, **more: object) -> None:
        """Lets so many deliveries fail."""
        for _ in range(times):
            house.send(app)
            house.change(EndpointHealth, {"slow_until": None})
            house.open_gates()
            house.finish(*house.claim(endpoints=self.pairs(house, app)).jobs, status=status, **more)

    @staticmethod
    def pairs(house: House, app: App) -> list[tuple[UUID, UUID]]:
        return [(app.environment_id, one.id) for one in house.rows(Endpoint, application_id=app.id)]

    def test_five_failures_in_a_row_open_the_breaker(self, house: House, app: App, endpoint: UUID) -> None:
        self.fail(house, app, 4)
        assert house.health(endpoint).open_until is None
        self.fail(house, app, 1)
        health = house.health(endpoint)
        assert health.consecutive_failures == 5
        assert_ahead(house, health.open_until, 20, 40)
        house.send(app)
        assert house.claim().jobs == []

    def test_a_success_closes_it(self, house: House, app: App, endpoint: UUID) -> None:
        self.fail(house, app, 5)
        house.change(EndpointHealth, {"open_until": func.now()}, endpoint_id=endpoint)
        house.send(app)
        house.open_gates()
        house.finish(house.claim_one())
        health = house.health(endpoint)
        assert (health.consecutive_failures, health.open_until, health.fail_since) == (0, None, None)

    def test_a_failed_probe_opens_it_for_longer(self, house: House, app: App, endpoint: UUID) -> None:
        self.fail(house, app, 5)
        house.change(EndpointHealth, {"open_until": func.now()}, endpoint_id=endpoint)
        house.send(app)
        house.open_gates()
        house.finish(house.claim_one(), status=500)
        assert_ahead(house, house.health(endpoint).open_until, 40, 80)

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_an_overloaded_endpoint_is_slowed_down(self, house: House, app: App, endpoint: UUID, status: int) -> None:
        self.fail(house, app, 1, status)
        assert_ahead(house, house.health(endpoint).slow_until, 2, 7)

    def test_it_says_for_how_long(self, house: House, app: App, endpoint: UUID) -> None:
        self.fail(house, app, 1, 503, retry_after="60")
        assert_ahead(house, house.health(endpoint).slow_until, 55, 61)

    def test_our_own_faults_blame_nobody(self, house: House, app: App, endpoint: UUID) -> None:
        self.fail(house, app, 6, None, failure=Failure.LOCAL)
        assert house.health(endpoint).consecutive_failures == 0
        assert len(house.attempts(app)) == 6

    def test_every_result_counts_when_processes_record_at_once(self, house: House, app: App, endpoint: UUID) -> None:
        house.send(app, 8)
        jobs = house.claim().jobs
        threads = [threading.Thread(target=house.finish, args=[job], kwargs={"status": 500}) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert house.health(endpoint).consecutive_failures == 8
        assert len(house.attempts(app)) == 8

    def test_an_endpoint_that_is_gone_is_disabled_and_the_rest_canceled(
        self, house: House, app: App, endpoint: UUID
    ) -> None:
        house.send(app)
        job = house.claim_one()
        other = house.endpoint(app)
        house.send(app, 2)
        house.finish(job, status=410)
        closed = house.one(Endpoint, id=endpoint)
        assert (closed.disabled, closed.disabled_reason, closed.revision) == (True, "gone", 2)
        assert {row.endpoint_id for row in house.due()} == {other}
        statuses = Counter(row.status for row in house.deliveries(app))
        assert statuses == {Status.fail: 1, Status.canceled: 2}

    def test_an_endpoint_that_failed_for_five_days_is_disabled(self, house: House, app: App, endpoint: UUID) -> None:
        self.fail(house, app, 1)
        back = EndpointHealth.fail_since - timedelta(days=4, hours=23)
        house.change(EndpointHealth, {"fail_since": back}, endpoint_id=endpoint)
        self.fail(house, app, 1)
        assert not house.one(Endpoint, id=endpoint).disabled
        house.change(EndpointHealth, {"fail_since": EndpointHealth.fail_since - timedelta(hours=1)})
        self.fail(house, app, 1)
        closed = house.one(Endpoint, id=endpoint)
        assert (closed.disabled, closed.disabled_reason) == (True, "failing")
        assert house.due() == []

    def test_processes_that_disable_an_endpoint_at_once_do_not_wait_for_one_another(
        self, house: House, app: App, endpoint: UUID
    ) -> None:
        for _ in range(5):
            house.change(Endpoint, {"disabled": False}, id=endpoint)
            house.change(EndpointHealth, {"consecutive_failures": 0, "open_until": None})
            house.send(app, 8)
            jobs = house.claim().jobs
            halves = [jobs[:4], jobs[4:]]
            before = self.deadlocks(house)
            threads = [threading.Thread(target=house.finish, args=half, kwargs={"status": 410}) for half in halves]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert house.one(Endpoint, id=endpoint).disabled
            assert house.due() == []
            assert self.deadlocks(house) == before

    @staticmethod
    def deadlocks(house: House) -> int:
        with house.sessions() as db:
            db.execute(text("SELECT pg_stat_force_next_flush()"))
            counted = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            return int(db.execute(counted).scalar_one())


class TestTelling:
    @pytest.fixture
    def listener(self, house: House, app: App) -> App:
        """The application through which the organisation is told, with one endpoint."""
        hidden = house.app(app.environment_id, kind=ApplicationKind.operational)
        house.endpoint(hidden)
        return hidden

    @staticmethod
    def told(house: House, listener: App) -> list[dict[str, Any]]:
        """What was told, the oldest first."""
        ids = [message.id for message in house.messages(listener)]
        with house.sessions() as db:
            rows = db.execute(
                select(Payload.message_id, Payload.body).filter_by(environment_id=listener.environment_id)
            )
            bodies = {message_id: json.loads(body) for message_id, body in rows}
        return [bodies[one] for one in ids]

    def attempt(self, house: House, app: App, failures: int, status: int = 500) -> None:
        """One try of a new message that has failed so often before."""
        (message,) = house.send(app, event_id=str(new_id()))
        house.change(DueDelivery, {"failures": failures}, message_id=message)
        house.finish(*[job for job in house.claim().jobs if job.key.message_id == message], status=status)

    def test_nothing_is_told_of_a_success(self, house: House, app: App, listener: App) -> None:
        self.attempt(house, app, 0, 200)
        assert self.told(house, listener) == []

    @pytest.mark.parametrize(
        ("failures", "status", "expected"),
        [
            (0, 500, []),
            (3, 500, ["message.attempt.failing"]),
            (4, 500, []),
            (7, 500, ["message.attempt.exhausted"]),
            (4, 200, ["message.attempt.recovered"]),
            (3, 200, []),
        ],
    )
    def test_of_a_delivery_that_fails_gives_up_or_recovers(
        self,
        house: House,
        app: App,
        listener: App,
        failures: int,
        status: int,
        expected: list[str],
    ) -> None:
        self.attempt(house, app, failures, status)
        assert [one["type"] for one in self.told(house, listener)] == expected

    def test_it_names_the_message_and_its_last_attempt(self, house: House, app: App, listener: App) -> None:
        house.change(Application, {"uid": "customer-1"}, id=app.id)
        self.attempt(house, app, 7)
        (event,) = self.told(house, listener)
        (message,) = house.messages(app)
        assert event["data"]["appId"] == app.name
        assert event["data"]["appUid"] == "customer-1"
        assert event["data"]["msgEventId"] == message.event_id
        assert event["data"]["lastAttempt"]["responseStatusCode"] == 500

    def test_of_an_endpoint_that_was_disabled(self, house: House, app: App, listener: App) -> None:
        self.attempt(house, app, 0, 410)
        assert [one["type"] for one in self.told(house, listener)] == ["message.attempt.exhausted", "endpoint.disabled"]

    def test_what_is_told_is_owed_to_the_operational_endpoint_at_once(
        self, house: House, app: App, listener: App
    ) -> None:
        self.attempt(house, app, 7)
        (job,) = house.claim().jobs
        assert (job.application_id, job.event_type, job.is_operational) == (
            listener.id,
            "message.attempt.exhausted",
            True,
        )

    def test_telling_is_never_told_of(self, house: House, app: App, listener: App) -> None:
        house.endpoint(listener)
        self.attempt(house, app, 7)
        jobs = house.claim().jobs
        house.change(DueDelivery, {"failures": LAST})
        house.finish(*(replace(job, failures=LAST) for job in jobs), status=410)
        assert len(house.messages(listener)) == 1

    def test_who_has_no_operational_endpoint_is_told_nothing(self, house: House, app: App) -> None:
        self.attempt(house, app, 7)
        assert len(house.rows(Message, environment_id=app.environment_id)) == 1


class TestPartitions:
    def test_an_attempt_on_a_day_without_a_partition_is_stored(self, house: House, app: App) -> None:
        house.send(app)
        distant = date(2031, 5, 6)
        assert f"attempts_p{distant:%Y%m%d}" not in house.partitions("attempts")
        house.finish(house.claim_one(), attempt_id=house.id_on(distant))
        assert f"attempts_p{distant:%Y%m%d}" in house.partitions("attempts")
        assert len(house.rows(Attempt, environment_id=app.environment_id)) == 1


def test_a_batch_asks_as_much_for_thirty_as_for_two(house: House) -> None:
    counts = []
    for number in (2, 30):
        apps = [house.app(house.organisation()) for _ in range(number)]
        for app in apps:
            house.endpoint(app)
            house.send(app)
        jobs = house.claim().jobs
        with house.statements() as seen:
            house.record(*(sent(job, 500 if place % 2 else 200) for place, job in enumerate(jobs)))
        counts.append(len(seen))
        house.clear()
    assert counts[0] == counts[1]
