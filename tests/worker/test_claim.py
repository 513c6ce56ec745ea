"""Claiming: what may go is leased once, what may not waits behind its endpoint's gate and nobody else's."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, func, insert, literal, select

from app.features.deliveries import claim_queries
from app.features.endpoints import operations
from app.features.messages.operations import accept
from app.kit.arrays import transpose
from app.kit.db import table_of
from app.models import (
    Application,
    ApplicationRate,
    DueDelivery,
    DueState,
    Endpoint,
    EndpointGate,
    EndpointRate,
    Lane,
    Payload,
    Status,
    Trigger,
)
from tests.worker.house import App, House
from worker.delivery.claim import Claimed
from worker.delivery.job import Job

LEASE_SECONDS = 30
FIRST_ONLY: dict[int, int] = {Lane.first: 256}


def by_endpoint(jobs: list[Job]) -> Counter[UUID]:
    return Counter(job.key.endpoint_id for job in jobs)


def messages(jobs: list[Job]) -> list[UUID]:
    return [job.key.message_id for job in jobs]


class TestTaking:
    def test_the_oldest_go_first(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        first, second, third = house.send(app, 3)
        house.age(60, message_id=third)
        house.age(30, message_id=first)
        assert messages(house.claim({Lane.first: 2}).jobs) == [third, first]
        assert messages(house.claim({Lane.first: 2}).jobs) == [second]

    def test_a_job_carries_what_sending_takes(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app, url="https://example.test/hook", header_style="svix", retry_schedule=[0, 7])
        origin: dict[str, Any] = {"traceparent": bytes(range(25)), "request_id": "req_1"}
        (message,) = house.send(app, body=b'{"a":1.0}', content_type="text/x", **origin)
        job = house.claim_one()
        assert (job.key.endpoint_id, job.key.message_id, job.attempt, job.failures) == (endpoint, message, 1, 0)
        assert (job.body, job.content_type, job.event_type) == (b'{"a":1.0}', "text/x", "a.b")
        assert {"traceparent": job.traceparent, "request_id": job.request_id} == origin
        assert (job.destination.url, job.destination.header_style) == ("https://example.test/hook", "svix")
        assert job.destination.retry_schedule == (0, 7)
        assert len(job.destination.live_keys(job.claimed_at)) == 1
        assert not job.is_unwell

    def test_nothing_is_taken_twice(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app, 3)
        assert len(house.claim().jobs) == 3
        assert house.claim().jobs == []

    def test_what_is_taken_is_being_sent_until_the_end_of_its_lease(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app)
        job = house.claim_one()
        (row,) = house.due()
        assert row.state == DueState.sending
        assert row.due_at == job.claimed_at + timedelta(seconds=LEASE_SECONDS)

    def test_after_its_lease_it_is_taken_again_under_the_next_fence(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app)
        assert house.claim_one().attempt == 1
        house.age(LEASE_SECONDS - 5)
        assert house.claim().jobs == []
        house.age(5)
        assert house.claim_one().attempt == 2

    def test_what_is_not_due_yet_stays(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app, deliver_at=house.now(60))
        assert house.claim().jobs == []
        house.age(60)
        assert len(house.claim().jobs) == 1

    def test_a_change_of_the_endpoint_is_seen_by_the_next_claim(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app)
        before = house.claim_one().destination.url
        house.change(Endpoint, {"url": before + "/new", "revision": Endpoint.revision + 1}, id=endpoint)
        house.send(app)
        assert house.claim_one().destination.url == before + "/new"

    def test_an_endpoint_whose_secret_cannot_be_read_fails_alone(self, house: House) -> None:
        app = house.app()
        broken, well = house.endpoint(app), house.endpoint(app)
        with house.sessions.begin() as db:
            db.execute(
                table_of(house.secret(app.environment_id, broken).__class__).delete().filter_by(endpoint_id=broken)
            )
        other = house.secret(app.environment_id, well)
        other.endpoint_id = broken
        house.add(other)
        house.send(app)
        faults = {job.key.endpoint_id: job.destination.fault for job in house.claim().jobs}
        assert faults[well] is None
        assert faults[broken]

    def test_two_claimers_at_once_share_without_taking_twice(self, house: House) -> None:
        for _ in range(3):
            house.clear()
            app = house.app()
            house.endpoints(app, 20)
            house.send(app, 5)
            taken = [job.key for claimed in at_once(house, 2, {Lane.first: 64}) for job in claimed.jobs]
            taken += [job.key for job in house.claim().jobs]
            assert len(taken) == len(set(taken)) == 100


def at_once(
    house: House, number: int, room: dict[int, int] | None = None, act: Callable[[int], None] = lambda _: None
) -> list[Claimed]:
    """Claims by processes that begin at the same moment."""
    barrier, found = threading.Barrier(number), list[Claimed]()

    def claim(place: int) -> None:
        claimer = house.new_claimer()
        barrier.wait(10)
        act(place)
        found.append(house.claim(room, claimer=claimer))

    threads = [threading.Thread(target=claim, args=[place]) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == number
    return found


class TestCap:
    def test_what_exceeds_the_cap_is_held_and_a_gate_made(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 20)
        assert len(house.claim().jobs) == 8
        assert house.states() == {DueState.sending: 8, DueState.held: 12}
        (gate,) = house.gates()
        assert (gate.endpoint_id, gate.lane, gate.application_id) == (endpoint, Lane.first, app.id)
        assert gate.next_at > house.now(LEASE_SECONDS - 5)

    def test_the_cap_is_exact_across_claimers_at_once(self, house: House) -> None:
        for _ in range(5):
            house.clear()
            app = house.app()
            house.endpoint(app)
            house.send(app, 40)
            taken = [job for claimed in at_once(house, 3) for job in claimed.jobs]
            assert len(taken) <= 8
            assert len(taken) + len(house.claim().jobs) == 8
            assert house.states()[DueState.sending] == 8

    def test_held_deliveries_are_served_as_results_come_in(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        sent = house.send(app, 20)
        jobs, served = house.claim().jobs, []
        while jobs:
            served += messages(jobs)
            house.finish(*jobs)
            jobs = house.claim(endpoints=[(app.environment_id, endpoint)]).jobs
            assert len(jobs) <= 8
        assert served == sent
        assert house.gates() == []

    def test_what_was_held_is_told_apart_from_what_was_late(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 9)
        jobs = house.claim().jobs
        assert [job.was_held for job in jobs] == [False] * 8
        house.finish(*jobs)
        assert [job.was_held for job in house.claim(endpoints=[(app.environment_id, endpoint)]).jobs] == [True]

    def test_a_result_makes_room_for_as_many(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 20)
        jobs = house.claim().jobs
        house.finish(*jobs[:3])
        assert len(house.claim(endpoints=[(app.environment_id, endpoint)]).jobs) == 3
        assert house.claim(endpoints=[(app.environment_id, endpoint)]).jobs == []

    def test_leases_that_ran_out_make_room_too(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app, 20)
        house.claim()
        house.age(LEASE_SECONDS, state=DueState.sending)
        house.open_gates()
        assert len(house.claim().jobs) == 8

    def test_a_row_is_held_once(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app, 20)
        house.claim()
        with house.statements() as seen:
            house.claim()
        assert not [one for one in seen if one.startswith("UPDATE")]

    def test_the_failures_of_an_endpoint_shrink_its_cap(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, consecutive_failures=2)
        house.send(app, 20)
        jobs = house.claim().jobs
        assert len(jobs) == 2
        assert jobs[0].is_unwell

    def test_what_is_sent_by_hand_counts_and_keeps_to_the_cap(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        for message in house.send(app, 10):
            house.resend(app, endpoint, message)
        jobs = house.claim().jobs
        assert [job.key.trigger for job in jobs] == [Trigger.manual] * 8
        house.finish(*jobs)
        left = house.claim(endpoints=[(app.environment_id, endpoint)]).jobs
        assert Counter(job.key.trigger for job in left) == {Trigger.manual: 2, Trigger.scheduled: 2}


class TestRates:
    def test_an_endpoint_gets_no_more_than_its_rate(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app, throttle_rate=3)
        house.send(app, 10)
        assert len(house.claim().jobs) == 3
        house.open_gates()
        assert house.claim(endpoints=[(app.environment_id, endpoint)]).jobs == []
        (gate,) = house.gates()
        assert gate.next_at <= house.now(1)
        self.spend(house, 2)
        house.open_gates()
        assert len(house.claim().jobs) == 2

    @staticmethod
    def spend(house: House, arrivals: int) -> None:
        """Lets the time of so many arrivals at 3 a second pass."""
        back = timedelta(seconds=arrivals / 3)
        house.change(EndpointRate, {"rate_tat": EndpointRate.rate_tat - back})

    def test_a_rate_is_spent_on_what_starts_and_nothing_else(self, house: House) -> None:
        app = house.app()
        house.endpoint(app, throttle_rate=2)
        for _ in range(2):
            house.send(app)
            assert len(house.claim().jobs) == 1
        house.send(app)
        assert house.claim().jobs == []

    def test_two_claimers_share_an_endpoints_rate(self, house: House) -> None:
        for _ in range(5):
            house.clear()
            app = house.app()
            house.endpoint(app, throttle_rate=5)
            house.send(app, 20)
            taken = sum(len(claimed.jobs) for claimed in at_once(house, 2))
            house.open_gates()
            assert taken + len(house.claim().jobs) == 5

    def test_endpoints_share_their_applications_rate(self, house: House) -> None:
        app = house.app(throttle_rate=5)
        for _ in range(3):
            house.endpoint(app)
        house.send(app, 4)
        assert len(house.claim().jobs) == 5

    def test_two_claimers_share_an_applications_rate(self, house: House) -> None:
        for _ in range(5):
            house.clear()
            app = house.app(throttle_rate=6)
            first, second = house.endpoint(app), house.endpoint(app)
            house.send(app, 10)
            taken = sum(len(claimed.jobs) for claimed in at_once(house, 2))
            assert taken <= 6
            house.open_gates()
            asked = [(app.environment_id, one) for one in (first, second)]
            assert taken + len(house.claim(endpoints=asked).jobs) == 6

    def test_a_claim_does_not_wait_for_one_that_uses_the_same_applications_rate(self, house: House) -> None:
        app = house.app(throttle_rate=100)
        house.endpoint(app)
        house.send(app)
        house.claim()
        house.endpoint(app)
        house.send(app)
        with house.sessions.begin() as other:
            other.execute(select(ApplicationRate).filter_by(application_id=app.id).with_for_update())
            other.execute(
                claim_queries.set_owner_rates(),
                transpose([(app.environment_id, app.id, None)], "environment_id", "application_id", "rate_tat"),
            )
            assert house.claim().jobs == []
        house.open_gates()
        assert len(house.claim().jobs) == 2


class TestHealth:
    def test_nothing_goes_to_an_endpoint_whose_breaker_is_open(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, consecutive_failures=5, open_until=40.0)
        house.send(app, 3)
        assert house.claim().jobs == []
        (gate,) = house.gates()
        assert gate.next_at > house.now(30)

    def test_one_probe_goes_when_it_half_opens(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, consecutive_failures=5, open_until=-1.0)
        house.send(app, 3)
        probes = [job for claimed in at_once(house, 3) for job in claimed.jobs]
        house.open_gates()
        assert len(probes) + len(house.claim().jobs) == 1
        assert house.claim(endpoints=[(app.environment_id, endpoint)]).jobs == []

    def test_when_the_probe_succeeds_the_others_go(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, consecutive_failures=5, open_until=-1.0)
        house.send(app, 5)
        house.finish(house.claim_one())
        assert len(house.claim(endpoints=[(app.environment_id, endpoint)]).jobs) == 4

    def test_a_slow_down_is_waited_for(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, slow_until=5.0)
        house.send(app, 2)
        assert house.claim().jobs == []
        (gate,) = house.gates()
        assert house.now(3) < gate.next_at < house.now(6)

    def test_what_is_sent_by_hand_passes_an_open_breaker(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, consecutive_failures=5, open_until=40.0)
        scheduled, resent = house.send(app, 2)
        house.resend(app, endpoint, resent)
        (job,) = house.claim().jobs
        assert (job.key.message_id, job.key.trigger) == (resent, Trigger.manual)
        assert house.states(message_id=scheduled) == {DueState.held: 1}


class TestFairness:
    def test_an_organisation_takes_no_more_than_its_share(self, house: House) -> None:
        app = house.app()
        for _ in range(4):
            house.endpoint(app)
        house.send(app, 8)
        assert len(house.claim(share=10).jobs) == 10
        assert len(house.claim(share=10, in_flight={app.environment_id: 10}).jobs) == 0

    def test_the_flood_of_one_leaves_the_others_event_claimable_in_the_same_cycle(self, house: House) -> None:
        flooding, other = house.app(), house.app()
        endpoint = house.endpoint(flooding)
        house.endpoint(other)
        self.flood(house, flooding, endpoint, 5000)
        (event,) = house.send(other)
        claimed = house.claim(in_flight={flooding.environment_id: 128})
        assert messages(claimed.jobs) == [event]
        assert house.states()[DueState.held] == 5000

    @staticmethod
    def flood(house: House, app: App, endpoint: UUID, number: int) -> None:
        """Owes messages since long, without a gate: as the workers find them after an outage."""
        numbers = func.generate_series(1, number).table_valued("number")
        constant = {
            "environment_id": app.environment_id,
            "endpoint_id": endpoint,
            "application_id": app.id,
            "trigger": 0,
            "lane": 0,
            "state": 0,
            "due_at": func.now() - timedelta(hours=1),
            "attempt": 0,
            "failures": 0,
            "expires_on": func.current_date(),
            "event_type": "a.b",
        }
        with house.sessions.begin() as db:
            columns = [one if isinstance(one, ColumnElement) else literal(one) for one in constant.values()]
            rows = select(func.gen_random_uuid(), *columns).select_from(numbers)
            db.execute(insert(table_of(DueDelivery)).from_select(["message_id", *constant], rows))

    def test_a_hanging_endpoint_holds_its_own_only(self, house: House) -> None:
        app = house.app()
        hanging, well = house.endpoint(app), house.endpoint(app)
        house.send(app, 30, endpoint_id=hanging)
        house.claim()
        house.send(app, 3)
        assert by_endpoint(house.claim().jobs) == {well: 3}

    def test_what_waits_behind_gates_takes_half_of_the_room_at_most(self, house: House) -> None:
        app = house.app()
        crowded = [house.endpoint(app) for _ in range(4)]
        for endpoint in crowded:
            house.send(app, 20, endpoint_id=endpoint)
        house.finish(*house.claim().jobs)
        fresh = house.endpoint(app)
        house.send(app, 4, endpoint_id=fresh)
        asked = [(app.environment_id, one) for one in crowded]
        claimed = house.claim({Lane.first: 8}, endpoints=asked)
        assert by_endpoint(claimed.jobs)[fresh] == 4
        assert sum(by_endpoint(claimed.jobs)[one] for one in crowded) == 4
        assert claimed.more
        assert claimed.busy

    def test_who_could_not_be_looked_at_for_want_of_room_is_asked_for_again(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        asked = [(app.environment_id, endpoint)]
        assert house.claim({Lane.first: 0}, endpoints=asked).busy == set(asked)
        house.send(app, 20)
        house.change(DueDelivery, {"lane": Lane.retry})
        house.finish(*house.claim().jobs)
        claimed = house.claim({Lane.first: 5, Lane.retry: 0}, endpoints=asked)
        assert (claimed.jobs, claimed.busy, claimed.more) == ([], set(asked), False)

    def test_no_endpoint_that_is_asked_for_is_crowded_out_by_gates_that_are_due(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 12)
        house.finish(*house.claim().jobs)
        self.make_gates(house, app, 70)
        claimed = Claimed(busy={(app.environment_id, endpoint)}, more=True)
        while claimed.more and not claimed.jobs:
            claimed = house.claim(endpoints=list(claimed.busy))
        assert by_endpoint(claimed.jobs) == {endpoint: 4}

    @staticmethod
    def make_gates(house: House, app: App, number: int) -> list[UUID]:
        endpoints, since = house.endpoints(app, number), house.now(-3600)
        owner = {"environment_id": app.environment_id, "application_id": app.id, "lane": 0}
        house.add(*(EndpointGate(endpoint_id=one, next_at=since, **owner) for one in endpoints))
        return endpoints

    def test_whom_another_claim_counts_is_passed_over_and_looked_at_again_at_once(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 10)
        house.finish(*house.claim().jobs)
        house.send(app)
        asked = [(app.environment_id, endpoint)]
        with house.sessions.begin() as other:
            other.execute(claim_queries.lock_endpoints(), transpose([(endpoint,)], "endpoint_id"))
            claimed = house.claim(endpoints=asked)
            assert (claimed.jobs, claimed.busy, claimed.more) == ([], set(asked), True)
        assert len(house.claim(endpoints=asked).jobs) == 3


class TestLanes:
    def owe(self, house: House, app: App, endpoint: UUID, lane: Lane, number: int) -> None:
        """Owes messages in a lane, longer than anything else."""
        for message in house.send(app, number, endpoint_id=endpoint):
            where = {"message_id": message, "endpoint_id": endpoint}
            house.change(DueDelivery, {"lane": lane, "state": DueState.ready}, **where)
            house.age(600, **where)

    def test_a_replay_leaves_room_for_fresh_events_of_the_same_endpoint(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        self.owe(house, app, endpoint, Lane.replay, 30)
        assert len(house.claim().jobs) == 4
        house.send(app, 10)
        assert [job.lane for job in house.claim().jobs] == [Lane.first] * 4

    def test_a_replay_leaves_room_for_fresh_events_in_the_same_process(self, house: House) -> None:
        app = house.app()
        for _ in range(10):
            self.owe(house, app, house.endpoint(app), Lane.replay, 8)
        replays = house.claim(share=40).jobs
        assert len(replays) == 20
        house.send(app, 1)
        claimed = house.claim(share=40, in_flight={app.environment_id: 20})
        assert Counter(job.lane for job in claimed.jobs) == {Lane.first: 10}

    def test_behind_gates_fresh_events_go_before_retries_and_replays(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 8)
        in_flight = house.claim().jobs
        self.owe(house, app, endpoint, Lane.replay, 20)
        self.owe(house, app, endpoint, Lane.retry, 20)
        house.claim()
        house.send(app, 20)
        house.claim()
        assert house.states() == {DueState.sending: 8, DueState.held: 60}
        house.finish(*in_flight)
        claimed = house.claim(endpoints=[(app.environment_id, endpoint)])
        assert Counter(job.lane for job in claimed.jobs) == {Lane.first: 8}

    def test_an_arrival_at_a_tight_rate_goes_to_the_fresh_event(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app, throttle_rate=1)
        self.owe(house, app, endpoint, Lane.replay, 5)
        assert len(house.claim().jobs) == 1
        house.send(app, 5)
        house.claim()
        house.change(EndpointRate, {"rate_tat": EndpointRate.rate_tat - timedelta(seconds=1)}, endpoint_id=endpoint)
        house.open_gates(lane=Lane.replay)
        assert [job.lane for job in house.claim().jobs] == [Lane.first]

    def test_a_retry_waits_for_its_time_and_is_taken_in_its_lane(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app)
        house.finish(house.claim_one(), status=500)
        assert house.claim().jobs == []
        house.age(10)
        assert house.claim(FIRST_ONLY).jobs == []
        assert house.claim_one().lane == Lane.retry


class TestPools:
    """One pool of workers sends fresh events, another retries: each names its own lanes only."""

    RETRIES: dict[int, int] = {Lane.retry: 256}  # noqa: RUF012 it is not changed

    @pytest.fixture
    def app(self, house: House) -> App:
        return house.app()

    @pytest.fixture
    def endpoint(self, house: House, app: App) -> UUID:
        return house.endpoint(app)

    def owe_retry(self, house: House, app: App) -> None:
        (message,) = house.send(app)
        house.change(DueDelivery, {"lane": Lane.retry, "state": DueState.ready}, message_id=message)

    def wait_behind_a_gate(self, house: House, app: App) -> list[Job]:
        """Has a retry held back by as many fresh events as the endpoint may have at once; those."""
        house.send(app, 8)
        in_flight = house.claim(FIRST_ONLY).jobs
        self.owe_retry(house, app)
        assert house.claim(self.RETRIES).jobs == []
        assert house.states() == {DueState.sending: 8, DueState.held: 1}
        return in_flight

    @pytest.mark.usefixtures("endpoint")
    def test_a_pool_takes_nothing_of_another_ones_lanes(self, house: House, app: App) -> None:
        self.owe_retry(house, app)
        assert house.claim(FIRST_ONLY).jobs == []
        assert house.claim_one(room=self.RETRIES).lane == Lane.retry

    def test_the_end_of_what_one_sends_lets_the_other_go_on(self, house: House, app: App, endpoint: UUID) -> None:
        in_flight = self.wait_behind_a_gate(house, app)
        house.finish(*in_flight)
        ended = [(app.environment_id, endpoint)]
        assert house.claim(FIRST_ONLY, endpoints=ended).busy == set()
        assert house.claim_one(room=self.RETRIES).lane == Lane.retry

    def test_it_does_not_call_for_what_may_not_go_yet(self, house: House, app: App, endpoint: UUID) -> None:
        one, *_ = self.wait_behind_a_gate(house, app)
        (gate,) = house.gates()
        house.finish(one)
        assert house.claim(FIRST_ONLY, endpoints=[(app.environment_id, endpoint)]).busy == set()
        assert [row.next_at for row in house.gates()] == [gate.next_at]


class TestEnding:
    @pytest.mark.parametrize("end", [{"disabled": True}, {"deleted_at": func.now()}])
    def test_what_is_owed_to_a_closed_endpoint_is_canceled(self, house: House, end: dict[str, object]) -> None:
        app = house.app()
        endpoint, other = house.endpoint(app), house.endpoint(app)
        house.send(app, 2)
        house.change(Endpoint, end, id=endpoint)
        assert by_endpoint(house.claim().jobs) == {other: 2}
        assert house.due(endpoint_id=endpoint) == []
        assert [(row.endpoint_id, row.status) for row in house.deliveries(app)] == [(endpoint, Status.canceled)] * 2
        assert {row.reason for row in house.actions(app)} == {"endpoint closed"}

    def test_the_gate_of_a_closed_endpoint_goes_too(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 20)
        house.claim()
        house.change(Endpoint, {"disabled": True}, id=endpoint)
        house.open_gates()
        assert house.claim().jobs == []
        assert house.gates() == []
        assert house.due() == []

    def test_gates_of_closed_endpoints_do_not_keep_others_waiting(self, house: House) -> None:
        app = house.app()
        TestFairness.make_gates(house, app, 70)
        house.change(Endpoint, {"disabled": True}, application_id=app.id)
        endpoint = house.endpoint(app)
        house.send(app, 12)
        house.finish(*house.claim().jobs)
        house.open_gates(endpoint_id=endpoint)
        while (claimed := house.claim()).more and not claimed.jobs:
            pass
        assert by_endpoint(claimed.jobs) == {endpoint: 4}

    def test_an_endpoint_that_is_enabled_again_is_not_made_to_wait_for_what_is_forgotten(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.make_unwell(app, endpoint, consecutive_failures=9, open_until=800.0)
        house.send(app)
        house.claim()
        for disabled in (True, False):
            self.switch(house, app, endpoint, disabled=disabled)
        house.send(app)
        assert by_endpoint(house.claim().jobs) == {endpoint: 1}

    @staticmethod
    def switch(house: House, app: App, endpoint: UUID, *, disabled: bool) -> None:
        """Disables or enables an endpoint as a caller of the API does."""
        application, found = house.one(Application, id=app.id), house.one(Endpoint, id=endpoint)
        with house.sessions.begin() as db:
            operations.change(db, application, found, {"disabled": disabled})

    def test_a_message_without_its_payload_is_canceled(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        lost, kept = house.send(app, 2)
        with house.sessions.begin() as db:
            db.execute(table_of(Payload).delete().filter_by(message_id=lost))
        assert messages(house.claim().jobs) == [kept]
        (ended,) = house.deliveries(app)
        assert (ended.message_id, ended.status) == (lost, Status.canceled)
        assert [row.reason for row in house.actions(app)] == ["payload gone"]


class TestGates:
    def test_a_message_for_a_gated_endpoint_waits_behind_the_gate_at_once(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app, 9)
        house.claim()
        (late,) = house.send(app)
        assert house.states(message_id=late) == {DueState.held: 1}

    def test_an_emptied_gate_that_an_ingest_relies_on_stays_and_is_looked_at_soon(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        house.send(app, 16)
        asked = [(app.environment_id, endpoint)]
        house.finish(*house.claim().jobs)
        house.finish(*house.claim(endpoints=asked).jobs)
        with house.sessions.begin() as ingest:
            accept(ingest, [app.incoming()])
            assert house.claim(endpoints=asked).jobs == []
            (gate,) = house.gates()
            assert gate.next_at <= house.now()
        assert house.states() == {DueState.held: 1}
        house.finish(*house.claim().jobs)
        house.open_gates()
        assert house.claim().jobs == []
        assert house.gates() == []

    def test_no_delivery_is_left_behind_a_gate_that_was_removed(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app)
        asked = [(app.environment_id, endpoint)]
        done = threading.Event()

        def ingest() -> None:
            while not done.is_set():
                house.send(app, 3)

        thread = threading.Thread(target=ingest)
        thread.start()
        try:
            for _ in range(30):
                house.finish(*house.claim(endpoints=asked).jobs)
                orphans = self.orphans(house)
                assert orphans == 0
        finally:
            done.set()
            thread.join(20)
        assert self.orphans(house) == 0

    @staticmethod
    def orphans(house: House) -> int:
        """Held deliveries without a gate, seen in one glance."""
        gated = select(EndpointGate.lane).where(
            EndpointGate.endpoint_id == DueDelivery.endpoint_id, EndpointGate.lane == DueDelivery.lane
        )
        held = select(func.count()).select_from(DueDelivery).where(DueDelivery.state == DueState.held)
        with house.sessions() as db:
            return db.scalar(held.where(~gated.exists())) or 0

    def test_held_deliveries_without_a_gate_get_one(self, house: House) -> None:
        app = house.app()
        first, second = house.endpoint(app), house.endpoint(app)
        house.send(app, 3)
        house.change(DueDelivery, {"state": DueState.held})
        house.change(DueDelivery, {"lane": Lane.retry}, endpoint_id=second)
        with house.sessions.begin() as db:
            db.execute(claim_queries.orphans())
        assert {(gate.endpoint_id, gate.lane) for gate in house.gates()} == {(first, 0), (second, 1)}
        assert by_endpoint(house.claim().jobs) == {first: 3, second: 3}

    def test_gates_that_stand_are_not_touched_by_the_search_for_lacking_ones(self, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app, 9)
        house.claim()
        (before,) = house.gates()
        with house.sessions.begin() as db:
            db.execute(claim_queries.orphans())
        (after,) = house.gates()
        assert after.next_at == before.next_at


def test_a_claim_that_finds_nothing_asks_little(house: House) -> None:
    with house.statements() as seen:
        house.claim()
    assert len(seen) == 2


def test_a_claim_asks_as_much_for_thirty_as_for_one(house: House) -> None:
    counts = []
    for number in (1, 30):
        for _ in range(number):
            app = house.app()
            house.endpoint(app)
            house.send(app)
        house.claim(FIRST_ONLY)
        house.age(LEASE_SECONDS)
        with house.statements() as seen:
            assert len(house.claim(FIRST_ONLY).jobs) >= number
        counts.append(len(seen))
    assert counts[0] == counts[1]
