"""Figures of the whole installation: what they say, and that one process tells them at a time."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, delete, text
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.domain.ids import uuid7
from app.features.deliveries.figures_queries import FIGURES, due
from app.features.deliveries.operations import cancel
from app.features.mail import queries as mails
from app.kit.clock import new_id
from app.kit.db import make_engine
from app.kit.telemetry.figures import MAILS_WAITING
from app.models import DueDelivery, EndpointGate, Lane, Mail
from tests.worker.house import CAP, House
from worker.figures import KEPT_SECONDS, Shown, Teller
from worker.stopping import Stopping

PATIENCE_SECONDS = 20.0


@pytest.fixture(scope="module")
def engine(database: DatabaseUrls) -> Iterator[Engine]:
    """What a worker process looks at the database with."""
    made = make_engine(database.worker, pool_size=3)
    yield made
    made.dispose()


class Process:
    """A process as far as figures go."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.teller = Teller(engine, self.registry, Stopping(), interval=0.05)

    def tells(self) -> bool:
        """Whether all was read once: this is read last."""
        return self.figure("postrider_lost_deliveries_total") is not None

    def read_at(self, name: str) -> float:
        """When a figure was read last, or its turn began (Unix time)."""
        return self.figure("postrider_figures_timestamp_seconds", figure=name) or 0.0

    def figure(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@contextmanager
def telling(engine: Engine) -> Iterator[Process]:
    process = Process(engine)
    process.teller.start()
    try:
        yield process
    finally:
        process.teller.stop()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_they_say_what_waits_and_for_how_long(house: House, engine: Engine) -> None:
    app = house.app()
    house.endpoint(app)
    house.send(app, 3)
    house.age(90.0)
    house.send(app, deliver_at=house.now(3600.0))
    house.claim({0: 1})

    with telling(engine) as process:
        until(process.tells)

        assert process.figure("postrider_due_deliveries", lane="first", state="ready") == 2
        assert process.figure("postrider_due_deliveries", lane="first", state="sending") == 1
        assert process.figure("postrider_due_deliveries", lane="first", state="later") == 1
        assert process.figure("postrider_due_deliveries", lane="retry", state="ready") == 0
        assert process.figure("postrider_sendable_deliveries", lane="first") == 2
        oldest = process.figure("postrider_oldest_due_seconds", lane="first")
        assert oldest is not None
        assert 90 <= oldest < 120
        assert process.figure("postrider_oldest_due_seconds", lane="retry") == 0


def test_what_nobody_looks_for_behind_a_gate_that_is_over_counts_as_due(house: House, engine: Engine) -> None:
    app = house.app()
    house.endpoint(app)
    house.send(app, CAP + 1)
    house.claim()
    house.change(EndpointGate, {"next_at": EndpointGate.next_at - timedelta(hours=1)}, application_id=app.id)

    with telling(engine) as process:
        until(process.tells)
        oldest = process.figure("postrider_oldest_due_seconds", lane="first")
        assert oldest is not None
        assert oldest > 3000


def test_a_lease_that_has_run_out_may_go_again(house: House, engine: Engine) -> None:
    app = house.app()
    house.endpoint(app)
    house.send(app)
    house.claim()
    house.age(60.0)

    with telling(engine) as process:
        until(process.tells)

        assert process.figure("postrider_due_deliveries", lane="first", state="ready") == 1
        assert process.figure("postrider_due_deliveries", lane="first", state="sending") == 0


def test_breakers_endpoints_mail_and_partitions_are_among_them(house: House, engine: Engine) -> None:
    app = house.app()
    opened, probed = house.endpoints(app, 2)
    house.endpoint(app, disabled=True)
    house.make_unwell(app, opened, open_until=300.0)
    house.make_unwell(app, probed, open_until=-1.0)
    with house.sessions.begin() as db:
        db.execute(delete(Mail))
        db.execute(mails.add(new_id(), new_id(), "invitation", b"sealed"))

    with telling(engine) as process:
        until(process.tells)

        assert process.figure("postrider_breakers", state="open") == 1
        assert process.figure("postrider_breakers", state="half_open") == 1
        assert process.figure("postrider_endpoints", state="disabled") == 1
        assert process.figure("postrider_mails_waiting") == 1
        assert process.figure("postrider_background_tasks_waiting") == 0
        unsealed = process.figure("postrider_unsealed_audit_seconds")
        assert unsealed is not None
        with engine.connect() as db:
            oldest = db.execute(text("SELECT extract(epoch FROM now() - min(occurred_at))::float FROM audit_events"))
            assert unsealed == pytest.approx(oldest.scalar_one(), abs=10), "nobody has sealed any here"
        assert process.figure("postrider_partition_days_ahead") in {0, 1, 2, 3, 4}


def test_what_was_accepted_and_is_neither_open_nor_ended_is_lost(house: House, engine: Engine) -> None:
    app = house.app()
    house.endpoint(app)
    minutes_ago = int((house.now() - timedelta(minutes=5, seconds=30)).timestamp() * 1000)
    lost, ended, still_open = (uuid7(minutes_ago, n, secrets.token_bytes(8)) for n in range(3))
    for one in (lost, ended, still_open):
        house.accept(app.incoming(message_id=one))
    with house.sessions.begin() as db:
        cancel(db, app.environment_id, message_id=ended, reason="of no use any more")
        db.execute(delete(DueDelivery).where(DueDelivery.message_id == lost))

    with telling(engine) as process:
        until(process.tells)

        assert process.figure("postrider_lost_deliveries_total") == 1


@pytest.mark.usefixtures("house")
def test_one_process_tells_them_and_another_takes_over_at_its_end(engine: Engine) -> None:
    with ExitStack() as later:
        with telling(engine) as first:
            until(first.tells)
            second = later.enter_context(telling(engine))
            time.sleep(0.5)
            assert b"postrider_due_deliveries" in generate_latest(first.registry)
            assert b"postrider_" not in generate_latest(second.registry)
        until(second.tells)
        assert not first.tells()


@pytest.mark.usefixtures("house")
def test_whoever_is_cut_off_tells_nothing_until_it_is_its_turn_again(
    engine: Engine, sessions: sessionmaker[Session]
) -> None:
    with telling(engine) as process:
        until(process.tells)
        with sessions.begin() as db:
            holders = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = :key"
            assert db.execute(text(holders), {"key": FIGURES}).all()
        until(lambda: not process.tells())
        until(process.tells)


@pytest.mark.usefixtures("house")
def test_a_reading_that_takes_too_long_leaves_the_others_be_and_its_age_shows(
    engine: Engine, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db, ExitStack() as later:
        db.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        db.execute(text("LOCK TABLE mails IN ACCESS EXCLUSIVE MODE"))
        process = later.enter_context(telling(engine))
        until(process.tells)
        assert process.figure("postrider_mails_waiting") is None
        assert process.figure("postrider_breakers", state="open") is not None
        began, stuck = process.read_at("due"), process.read_at("mails")
        until(lambda: process.read_at("due") > began + 0.5)
        assert process.read_at("mails") == stuck < began


def test_no_more_are_counted_than_that(house: House, engine: Engine) -> None:
    app = house.app()
    house.endpoint(app)
    house.send(app, 3)
    house.send(app, 3, deliver_at=house.now(3600.0))

    with engine.connect() as db:
        every, some = db.execute(due(Lane.first)).one(), db.execute(due(Lane.first, 2)).one()
    assert (every.ready, every.later) == (3, 3)
    assert (some.ready, some.later) == (2, 2)


def test_what_cannot_be_read_any_more_is_shown_for_a_while_and_its_age_for_ever() -> None:
    shown, now = Shown(datetime.now(UTC), interval=5.0), datetime.now(UTC)
    with mock.patch("worker.figures.time") as clock:
        clock.monotonic.return_value = 1000.0
        shown.show([MAILS_WAITING.of(3)], now)
        clock.monotonic.return_value += KEPT_SECONDS - 1
        assert [one.name for one in shown.figures] == [MAILS_WAITING.name]
        clock.monotonic.return_value += 2
        assert list(shown.figures) == []
    assert shown.read_at == now


def test_what_takes_long_is_read_less_often() -> None:
    shown = Shown(datetime.now(UTC), interval=5.0)
    with mock.patch("worker.figures.time") as clock:
        clock.monotonic.return_value = 1000.0
        shown.rest(took=0.1)
        assert shown.next_at == 1005
        shown.rest(took=4.0)
        assert shown.next_at == 1000 + 20 * 4
