"""Accepting: a batch of messages becomes rows with all that it owes, and whoever is refused harms nobody else."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.filters import Subscription, matches
from app.features.messages.operations import (
    Accepted,
    Incoming,
    NewApplication,
    Once,
    Replayed,
    Result,
    accept,
    forget_partitions,
)
from app.kit.clock import new_id
from app.kit.db import enter_tenants
from app.kit.errors import Kind, Problem
from app.models import (
    Application,
    ApplicationKind,
    DueState,
    EndpointGate,
    IdempotencyKey,
    Lane,
    Message,
    Payload,
    Trigger,
)
from tests.worker.house import App, House


@pytest.fixture
def app(house: House) -> App:
    return house.app()


def problem(result: Result) -> Problem:
    assert isinstance(result, Problem)
    return result


def owed(house: House, message_id: UUID) -> set[UUID]:
    return {row.endpoint_id for row in house.due(message_id=message_id)}


Values = list[str] | None
TYPES: tuple[Values, ...] = (None, [], ["plain", "flagged"], ["both"])
CHANNELS: tuple[Values, ...] = (None, [], ["c"], ["d", "e"])
FLAGS: tuple[Values, ...] = (None, [], ["f"], ["h"])


def as_set(values: Values) -> frozenset[str] | None:
    return None if values is None else frozenset(values)


class TestStoring:
    def test_a_message_is_stored_with_its_bytes_and_what_it_owes(self, house: House, app: App) -> None:
        endpoint = house.endpoint(app)
        one = app.incoming(body=b'{ "n": 1.0 }', content_type="text/x", channels=("c",), tags=("t",), event_id="e")
        assert house.accept(one) == [Accepted(one.message_id, 1)]
        (message,) = house.messages(app)
        assert (message.id, message.event_type, message.event_id) == (one.message_id, "a.b", "e")
        assert (message.channels, message.tags, message.fan_out) == (["c"], ["t"], [endpoint])
        (payload,) = house.rows(Payload, message_id=one.message_id)
        assert (payload.body, payload.content_type) == (b'{ "n": 1.0 }', "text/x")
        assert payload.expires_on == one.expires_at.date()
        (due,) = house.due()
        assert (due.endpoint_id, due.application_id, due.trigger, due.lane) == (
            endpoint,
            app.id,
            Trigger.scheduled,
            Lane.first,
        )
        assert (due.state, due.attempt, due.failures, due.event_type) == (DueState.ready, 0, 0, "a.b")
        assert due.expires_on == payload.expires_on
        assert due.due_at <= house.now()

    def test_a_message_that_nobody_wants_is_stored(self, house: House, app: App) -> None:
        one = app.incoming()
        assert house.accept(one) == [Accepted(one.message_id, 0)]
        assert [message.fan_out for message in house.messages(app)] == [[]]
        assert house.due() == []

    def test_results_come_in_the_order_of_the_batch(self, house: House, app: App) -> None:
        stranger = App(app.environment_id, new_id())
        batch = [app.incoming(), stranger.incoming(), app.incoming()]
        first, second, third = house.accept(*batch)
        assert (first, third) == (Accepted(batch[0].message_id, 0), Accepted(batch[2].message_id, 0))
        assert problem(second).kind == Kind.not_found

    def test_an_empty_batch_does_nothing(self, house: House) -> None:
        assert house.accept() == []

    def test_a_batch_asks_as_much_for_a_hundred_as_for_two(self, house: House) -> None:
        apps = [house.app() for _ in range(10)]
        for one in apps:
            house.endpoint(one)
        house.accept(*(one.incoming() for one in apps))
        counts = []
        for number in (2, 100):
            batch = [apps[place % 10].incoming(event_id=str(new_id()), once=once()) for place in range(number)]
            with house.statements() as seen:
                house.accept(*batch)
            counts.append(len(seen))
        assert counts[0] == counts[1]


class TestFanOut:
    @pytest.mark.parametrize(
        ("columns", "fields", "wanted"),
        [
            ({}, {}, True),
            ({"event_types": ["a.b", "x"]}, {}, True),
            ({"event_types": ["x"]}, {}, False),
            ({"channels": ["c", "d"]}, {"channels": ("d", "e")}, True),
            ({"channels": ["c"]}, {"channels": ("d",)}, False),
            ({"channels": ["c"]}, {}, False),
            ({}, {"channels": ("d",)}, True),
            ({"disabled": True}, {}, False),
            ({"deleted_at": datetime(2026, 1, 1, tzinfo=UTC)}, {}, False),
            ({"feature_flags": ["f"]}, {"event_type": "flagged"}, True),
            ({"feature_flags": ["g"]}, {"event_type": "flagged"}, False),
            ({"feature_flags": []}, {"event_type": "flagged"}, False),
            ({"feature_flags": ["g"]}, {"event_type": "plain"}, True),
            ({}, {"event_type": "flagged"}, True),
        ],
    )
    def test_who_gets_a_message(
        self,
        house: House,
        app: App,
        columns: dict[str, object],
        fields: dict[str, Any],
        wanted: bool,  # noqa: FBT001 a column of the table above
    ) -> None:
        house.event_type(app.environment_id, "flagged", feature_flags=["f"])
        house.event_type(app.environment_id, "plain")
        endpoint = house.endpoint(app, **columns)
        (message,) = house.send(app, **fields)
        assert owed(house, message) == ({endpoint} if wanted else set())

    def test_each_message_goes_to_those_whose_filters_match(self, house: House, app: App) -> None:
        kinds: dict[str, Values] = {"plain": None, "open": [], "flagged": ["f"], "both": ["f", "g"]}
        for name, flags in kinds.items():
            house.event_type(app.environment_id, name, feature_flags=flags)
        wanted: dict[UUID, Subscription] = {}
        for types, channels, flags in product(TYPES, CHANNELS, FLAGS):
            endpoint = house.endpoint(app, event_types=types, channels=channels, feature_flags=flags)
            wanted[endpoint] = Subscription(as_set(types), as_set(channels), feature_flags=as_set(flags))
        sent = product((*kinds, "unknown"), (None, ("c",), ('"',), ("c", "d\\")))
        batch = [app.incoming(event_type=name, channels=channels) for name, channels in sent]
        house.accept(*batch)
        for one in batch:
            asked = one.event_type, frozenset(one.channels or ()), frozenset(kinds.get(one.event_type) or ())
            expected = {endpoint for endpoint, subscription in wanted.items() if matches(subscription, *asked)}
            assert owed(house, one.message_id) == expected

    def test_one_endpoint_alone_gets_what_is_meant_for_it_whatever_it_subscribes_to(
        self, house: House, app: App
    ) -> None:
        house.endpoint(app)
        meant = house.endpoint(app, event_types=["other"])
        (message,) = house.send(app, endpoint_id=meant)
        assert owed(house, message) == {meant}

    def test_a_disabled_endpoint_gets_not_even_what_is_meant_for_it(self, house: House, app: App) -> None:
        meant = house.endpoint(app, disabled=True)
        (message,) = house.send(app, endpoint_id=meant)
        assert owed(house, message) == set()

    def test_the_endpoints_of_another_application_get_nothing(self, house: House, app: App) -> None:
        house.endpoint(house.app(app.environment_id))
        mine = house.endpoint(app)
        (message,) = house.send(app)
        assert owed(house, message) == {mine}

    def test_a_batch_goes_to_each_its_own(self, house: House) -> None:
        apps = [house.app() for _ in range(3)]
        endpoints = [house.endpoint(one) for one in apps]
        batch = [one.incoming() for one in apps]
        house.accept(*batch)
        assert [owed(house, one.message_id) for one in batch] == [{endpoint} for endpoint in endpoints]


class TestApplication:
    def test_it_is_found_by_id_and_by_uid(self, house: House) -> None:
        app = house.app(uid="customer-1")
        results = house.accept(app.incoming(), app.incoming(application="customer-1"))
        assert all(isinstance(result, Accepted) for result in results)
        assert {message.application_id for message in house.messages(app)} == {app.id}

    def test_an_id_wins_over_a_uid_that_reads_like_it(self, house: House, app: App) -> None:
        other = house.app(app.environment_id, uid=app.name)
        house.accept(app.incoming())
        assert len(house.messages(app)) == 1
        assert house.messages(other) == []

    @pytest.mark.parametrize("change", [{"deleted_at": func.now()}, {"uid": "renamed"}])
    def test_one_that_is_not_there_or_deleted_is_not_found(self, house: House, change: dict[str, object]) -> None:
        app = house.app(uid="customer-1")
        house.change(Application, change, id=app.id)
        (result,) = house.accept(app.incoming(application="customer-1"))
        assert problem(result).kind == Kind.not_found
        assert house.messages(app) == []

    def test_another_organisations_is_not_found(self, house: House, app: App) -> None:
        stranger = App(house.organisation(), app.id)
        (result,) = house.accept(stranger.incoming())
        assert problem(result).kind == Kind.not_found

    def test_the_hidden_one_is_not_found_by_callers(self, house: House) -> None:
        hidden = house.app(kind=ApplicationKind.operational)
        (result,) = house.accept(hidden.incoming(kind=ApplicationKind.tenant))
        assert problem(result).kind == Kind.not_found

    def test_one_that_comes_with_the_message_is_made(self, house: House) -> None:
        organisation = house.organisation()
        new = NewApplication("customer-2", "Customer", 5, {"plan": "pro"})
        nowhere = App(organisation, new_id()).incoming(application="customer-2", new_application=new)
        assert house.accept(nowhere) == [Accepted(nowhere.message_id, 0)]
        made = house.one(Application, environment_id=organisation)
        assert (made.uid, made.name, made.throttle_rate, made.metadata_) == (
            "customer-2",
            "Customer",
            5,
            {"plan": "pro"},
        )

    def test_it_is_made_once_for_a_batch_and_not_again(self, house: House) -> None:
        organisation = house.organisation()
        new = NewApplication("customer-2", "Customer", None, {})
        batch = [App(organisation, new_id()).incoming(application="customer-2", new_application=new) for _ in range(3)]
        for part in (batch[:2], batch[2:]):
            assert all(isinstance(result, Accepted) for result in house.accept(*part))
        assert house.one(Application, environment_id=organisation).uid == "customer-2"

    def test_an_application_that_is_named_by_its_id_and_by_its_uid_is_one(self, house: House) -> None:
        app = house.app(uid="customer-1")
        house.endpoint(app)
        same = NewApplication("customer-1", "Another name", None, {})
        batch = [app.incoming(), app.incoming(application="customer-1"), app.incoming(new_application=same)]
        assert house.accept(*batch) == [Accepted(one.message_id, 1) for one in batch]

    def test_one_that_exists_is_left_as_it_is(self, house: House) -> None:
        app = house.app(uid="customer-1")
        house.accept(app.incoming(new_application=NewApplication("customer-1", "Another name", 9, {})))
        assert house.one(Application, environment_id=app.environment_id).name == "app"


class TestEventId:
    def test_a_second_message_with_the_id_is_refused_alone(self, house: House, app: App) -> None:
        house.accept(app.incoming(event_id="e1"))
        batch = [app.incoming(event_id="e1"), app.incoming(event_id="e2"), app.incoming()]
        refused, *others = house.accept(*batch)
        assert problem(refused).kind == Kind.conflict
        assert others == [Accepted(one.message_id, 0) for one in batch[1:]]
        assert len(house.messages(app)) == 3

    def test_of_two_in_a_batch_the_first_is_taken(self, house: House, app: App) -> None:
        first, second = app.incoming(event_id="e1"), app.incoming(event_id="e1")
        taken, refused = house.accept(first, second)
        assert taken == Accepted(first.message_id, 0)
        assert problem(refused).kind == Kind.conflict

    def test_another_application_may_use_it(self, house: House, app: App) -> None:
        results = house.accept(app.incoming(event_id="e1"), house.app(app.environment_id).incoming(event_id="e1"))
        assert all(isinstance(result, Accepted) for result in results)

    def test_a_refused_request_may_be_repeated_under_its_key_with_another_id(self, house: House, app: App) -> None:
        house.accept(app.incoming(event_id="e1"))
        key = once()
        assert problem(house.accept(app.incoming(event_id="e1", once=key))[0]).kind == Kind.conflict
        again = app.incoming(event_id="e2", once=once(key=key.key, body=b"other"))
        assert house.accept(again) == [Accepted(again.message_id, 0)]


def once(key: bytes | None = None, body: bytes = b"body") -> Once:
    return Once(key or new_id().bytes, body, 202)


class TestIdempotency:
    def test_a_repeated_request_is_answered_as_before(self, house: House, app: App) -> None:
        key = once()
        house.accept(app.incoming(once=key, response=b"first"))
        assert house.accept(app.incoming(once=key, response=b"second")) == [Replayed(202, b"first")]
        assert len(house.messages(app)) == 1

    def test_another_body_under_the_key_is_refused(self, house: House, app: App) -> None:
        key = once()
        house.accept(app.incoming(once=key))
        (result,) = house.accept(app.incoming(once=once(key.key, b"other")))
        assert (problem(result).kind, problem(result).code) == (Kind.conflict, "idempotency_conflict")
        assert len(house.messages(app)) == 1

    def test_a_twin_in_the_batch_is_answered_like_the_first(self, house: House, app: App) -> None:
        key = once()
        first = app.incoming(once=key, response=b"first")
        results = house.accept(first, app.incoming(once=key), app.incoming(once=once(key.key, b"other")))
        assert results[:2] == [Accepted(first.message_id, 0), Replayed(202, b"first")]
        assert problem(results[2]).kind == Kind.conflict
        assert len(house.messages(app)) == 1

    def test_a_twin_of_a_refused_request_is_refused_with_it(self, house: House, app: App) -> None:
        house.accept(app.incoming(event_id="e1"))
        key = once()
        results = house.accept(app.incoming(event_id="e1", once=key), app.incoming(event_id="e1", once=key))
        assert [problem(result).kind for result in results] == [Kind.conflict, Kind.conflict]
        assert house.rows(IdempotencyKey, key=key.key) == []

    def test_the_key_of_an_unknown_application_is_not_taken(self, house: House, app: App) -> None:
        key = once()
        house.accept(App(app.environment_id, new_id()).incoming(once=key))
        one = app.incoming(once=key)
        assert house.accept(one) == [Accepted(one.message_id, 0)]

    def test_the_same_key_of_another_organisation_is_another_key(self, house: House, app: App) -> None:
        other = house.app()
        one = other.incoming(once=once())
        house.accept(app.incoming(once=once()), one)
        assert len(house.messages(other)) == 1

    def test_a_key_of_more_than_a_day_ago_is_free(self, house: House, app: App) -> None:
        key = once()
        house.accept(app.incoming(once=key))
        house.change(IdempotencyKey, {"created_at": func.now() - timedelta(hours=25)}, key=key.key)
        one = app.incoming(once=once(key.key, b"other"))
        assert house.accept(one) == [Accepted(one.message_id, 0)]

    @pytest.mark.parametrize("field", ["once", "event_id"])
    def test_processes_at_once_carry_out_one_request(self, house: House, app: App, field: str) -> None:
        for number in range(10):
            value = once() if field == "once" else f"e{number}"
            batch = [app.incoming(**{field: value}) for _ in range(3)]
            results = at_once(house, batch)
            assert sum(isinstance(result, Accepted) for result in results) == 1
        assert len(house.messages(app)) == 10

    def test_processes_that_take_the_same_keys_in_another_order_do_not_deadlock(self, house: House, app: App) -> None:
        for _ in range(5):
            keys = [once() for _ in range(20)]
            barrier, results = threading.Barrier(2), list[Result]()

            def send(order: int, keys: list[Once] = keys, barrier: threading.Barrier = barrier) -> None:
                batch = [app.incoming(once=key) for key in keys[::order]]
                barrier.wait(10)
                results.extend(house.accept(*batch))  # noqa: B023 joined before the next round

            run([threading.Thread(target=send, args=[order]) for order in (1, -1)])
            assert sum(isinstance(result, Accepted) for result in results) == 20
            assert len(results) == 40


def at_once(house: House, batch: list[Incoming]) -> list[Result]:
    """What processes are told that take one message each at the same moment."""
    barrier, results = threading.Barrier(len(batch)), list[Result]()

    def send(one: Incoming) -> None:
        barrier.wait(10)
        results.extend(house.accept(one))

    run([threading.Thread(target=send, args=[one]) for one in batch])
    return results


def run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


class TestWaiting:
    def test_what_is_for_later_is_due_then(self, house: House, app: App) -> None:
        house.endpoint(app)
        later = house.now(3600)
        house.send(app, deliver_at=later)
        (row,) = house.due()
        assert (row.due_at, row.state) == (later, DueState.ready)
        assert house.messages(app)[0].deliver_at == later

    def test_what_was_for_earlier_is_due_now(self, house: House, app: App) -> None:
        house.endpoint(app)
        house.send(app, deliver_at=house.now(-3600))
        (row,) = house.due()
        assert house.now(-60) < row.due_at <= house.now()

    @pytest.mark.parametrize(
        ("schedules", "expected"),
        [
            ({}, 0),
            ({"organisation": [100]}, 100),
            ({"organisation": [100], "event_type": [200, 5]}, 200),
            ({"organisation": [100], "event_type": [200], "endpoint": [400, 5]}, 400),
            ({"organisation": [100], "event_type": [200], "endpoint": [0, 5]}, 0),
        ],
    )
    def test_the_first_try_comes_when_the_schedule_says(
        self, house: House, schedules: dict[str, list[int]], expected: int
    ) -> None:
        app = house.app(house.organisation(retry_schedule=schedules.get("organisation")))
        house.event_type(app.environment_id, "a.b", retry_schedule=schedules.get("event_type"))
        endpoint = house.endpoint(app, retry_schedule=schedules.get("endpoint"))
        self.gate(house, app, endpoint)
        house.send(app)
        (row,) = house.due()
        assert 0.8 * expected - 2 <= (row.due_at - house.now()).total_seconds() <= 1.2 * expected
        assert row.state == (DueState.ready if expected else DueState.held)

    def test_behind_a_gate_that_stands_it_is_held_at_once(self, house: House, app: App) -> None:
        gated, other = house.endpoint(app), house.endpoint(app)
        self.gate(house, app, gated)
        house.send(app)
        assert {row.endpoint_id: row.state for row in house.due()} == {gated: DueState.held, other: DueState.ready}

    @staticmethod
    def gate(house: House, app: App, endpoint: UUID, lane: Lane = Lane.first) -> None:
        house.add(
            EndpointGate(
                environment_id=app.environment_id,
                endpoint_id=endpoint,
                lane=lane,
                application_id=app.id,
                next_at=house.now(60),
            )
        )

    def test_the_gate_of_another_lane_holds_nothing_back(self, house: House, app: App) -> None:
        self.gate(house, app, house.endpoint(app), Lane.replay)
        house.send(app)
        assert house.states() == {DueState.ready: 1}

    def test_what_is_for_later_meets_the_gate_when_its_time_has_come(self, house: House, app: App) -> None:
        self.gate(house, app, house.endpoint(app))
        house.send(app, deliver_at=house.now(3600))
        assert house.states() == {DueState.ready: 1}

    @pytest.mark.parametrize("limited", ["endpoint", "application"])
    def test_with_a_rate_it_waits_behind_a_gate_from_the_first_message_on(self, house: House, limited: str) -> None:
        app = house.app(throttle_rate=5 if limited == "application" else None)
        endpoint = house.endpoint(app, throttle_rate=5 if limited == "endpoint" else None)
        house.send(app, 2)
        assert house.states() == {DueState.held: 2}
        (gate,) = house.gates()
        assert (gate.endpoint_id, gate.application_id, gate.lane) == (endpoint, app.id, Lane.first)
        assert gate.next_at <= house.now()

    def test_a_gate_that_a_claim_moves_delays_no_ingest(self, house: House) -> None:
        app = house.app()
        endpoint = house.endpoint(app, throttle_rate=5)
        house.send(app)
        with house.sessions.begin() as claim:
            gate = claim.scalars(select(EndpointGate).filter_by(endpoint_id=endpoint)).one()
            gate.next_at = house.now(1)
            claim.flush()
            house.send(app)
        assert house.states() == {DueState.held: 2}


class TestPartitions:
    @pytest.fixture(autouse=True)
    def _unknown(self) -> Iterator[None]:
        forget_partitions()
        yield
        forget_partitions()

    DAY, EXPIRY = date(2031, 2, 3), date(2032, 4, 5)
    NAMES = ("messages_p20310203", "deliveries_p20310203", "attempts_p20310203", "payloads_p20320405")

    def incoming(self, app: App, **more: object) -> Incoming:
        expires = datetime.combine(self.EXPIRY, time(12), UTC)
        return app.incoming(message_id=House.id_on(self.DAY), expires_at=expires, **more)

    def made(self, house: House) -> set[str]:
        return {name for name in self.NAMES if name in house.partitions(name.partition("_")[0])}

    def test_what_is_missing_is_made_and_nothing_lost_even_after_a_rollback(self, house: House, app: App) -> None:
        house.endpoint(app)
        assert self.made(house) == set()
        self.roll_back(house, app)
        assert self.made(house) == set()
        one = self.incoming(app)
        assert house.accept(one) == [Accepted(one.message_id, 1)]
        assert self.made(house) == set(self.NAMES)
        assert [message.id for message in house.messages(app)] == [one.message_id]
        assert [payload.body for payload in house.rows(Payload, message_id=one.message_id)] == [one.body]
        house.finish(house.claim_one())
        assert len(house.deliveries(app)) == 1

    def roll_back(self, house: House, app: App) -> None:
        with house.sessions() as db:
            accept(db, [self.incoming(app)])
            db.rollback()

    def test_a_day_that_is_known_is_not_asked_for_again(self, house: House, app: App) -> None:
        house.accept(app.incoming())
        with house.statements() as seen:
            house.accept(app.incoming())
        assert not [one for one in seen if "ensure_partitions" in one]

    def test_processes_that_miss_the_same_day_at_once_make_it_once(self, house: House, app: App) -> None:
        day = datetime(2033, 3, 3, tzinfo=UTC)
        batch = [app.incoming(expires_at=day + timedelta(days=number)) for number in (0, 0, 1, 1)]
        assert all(isinstance(result, Accepted) for result in at_once(house, batch))

    def test_a_new_partition_is_protected_like_its_table(self, house: House, app: App) -> None:
        house.accept(self.incoming(app))
        with house.sessions() as db:
            protected = text("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
            assert set(self.NAMES) <= set(db.scalars(protected))


class TestTenancy:
    async def test_a_batch_of_two_organisations_sees_each_its_own(
        self, house: House, api_sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        apps = [house.app(uid="same"), house.app(uid="same")]
        endpoints = [house.endpoint(one) for one in apps]
        batch = [one.incoming(application="same", event_id="same") for one in apps]
        async with api_sessions.begin() as session:
            await session.run_sync(enter_tenants, [one.environment_id for one in apps])
            results = await session.run_sync(accept, batch)
        assert results == [Accepted(one.message_id, 1) for one in batch]
        assert [owed(house, one.message_id) for one in batch] == [{endpoint} for endpoint in endpoints]

    async def test_a_batch_reaches_no_organisation_that_its_transaction_does_not_see(
        self, house: House, api_sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        mine, theirs = house.app(), house.app()
        stranger = App(mine.environment_id, theirs.id)
        async with api_sessions.begin() as session:
            await session.run_sync(enter_tenants, [mine.environment_id])
            results = await session.run_sync(accept, [one.incoming() for one in (mine, theirs, stranger)])
            seen = set(await session.scalars(select(Application.environment_id)))
        assert [isinstance(one, Accepted) for one in results] == [True, False, False]
        assert {problem(one).kind for one in results[1:]} == {Kind.not_found}
        assert seen == {mine.environment_id}

    async def test_nothing_is_seen_after_the_transaction(
        self, house: House, api_sessions: async_sessionmaker[AsyncSession]
    ) -> None:
        app = house.app()
        async with api_sessions() as session:
            async with session.begin():
                await session.run_sync(enter_tenants, [app.environment_id])
                await session.run_sync(accept, [app.incoming()])
            async with session.begin():
                assert list(await session.scalars(select(Message.id))) == []
                await session.run_sync(enter_tenants, [app.environment_id])
                assert len(list(await session.scalars(select(Message.id)))) == 1
