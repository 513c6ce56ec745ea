"""Partitions are made ahead and dropped in time, and nothing that is still owed goes with them."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from unittest import mock
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from app.cli.main import main
from app.domain.ids import lowest
from app.features.retention import operations, queries
from app.models import (
    Delivery,
    DeliveryAction,
    DueDelivery,
    IdempotencyKey,
    Message,
    MessageEventId,
    Payload,
    Status,
)
from worker.retention import retain

DAY = timedelta(days=1)
ORGANISATION = uuid4()


@pytest.fixture
def today(sessions: sessionmaker[Session]) -> date:
    with sessions() as db:
        return db.execute(queries.settled_day()).scalar_one()


@pytest.fixture(autouse=True)
def clean(sessions: sessionmaker[Session]) -> Iterator[None]:
    """Leaves nothing owed to the next test."""
    yield
    with sessions.begin() as db:
        db.execute(text("DELETE FROM due_deliveries"))


def make(sessions: sessionmaker[Session], *, days: tuple[date, ...] = (), expiries: tuple[date, ...] = ()) -> None:
    with sessions.begin() as db:
        db.execute(queries.ensure_partitions(list(days), list(expiries)))


def partitions(sessions: sessionmaker[Session], parent: str) -> set[str]:
    with sessions() as db:
        return set(db.scalars(queries.partitions(parent)))


def name(parent: str, day: date) -> str:
    return f"{parent}_p{day:%Y%m%d}"


def id_on(day: date) -> UUID:
    return lowest(datetime.combine(day, time(12), UTC))


def message(day: date) -> Message:
    return Message(
        environment_id=ORGANISATION,
        id=id_on(day),
        application_id=uuid4(),
        event_type="a",
        created_at=datetime.combine(day, time(12), UTC),
        payload_expires_at=datetime.combine(day, time(12), UTC),
        fan_out=[],
    )


def due(message_id: UUID, expires_on: date) -> DueDelivery:
    return DueDelivery(
        environment_id=ORGANISATION,
        endpoint_id=uuid4(),
        message_id=message_id,
        trigger=0,
        application_id=uuid4(),
        lane=1,
        state=0,
        due_at=datetime.now(UTC),
        attempt=1,
        failures=1,
        expires_on=expires_on,
        event_type="a",
    )


def payload(message_id: UUID, day: date, body: bytes = b"{}") -> Payload:
    return Payload(
        environment_id=ORGANISATION, message_id=message_id, expires_on=day, content_type="application/json", body=body
    )


def store(sessions: sessionmaker[Session], *rows: object) -> None:
    with sessions.begin() as db:
        db.add_all(rows)


def test_partitions_are_there_before_they_are_needed(sessions: sessionmaker[Session], today: date) -> None:
    retain(sessions)
    for parent in ("messages", "deliveries", "attempts"):
        assert {name(parent, today + DAY * number) for number in range(-1, 4)} <= partitions(sessions, parent)
    expiries = {name("payloads", today + DAY * number) for number in (0, 1, 5, 89, 90, 93)}
    assert expiries <= partitions(sessions, "payloads")


def test_what_is_older_than_ninety_days_goes(sessions: sessionmaker[Session], today: date) -> None:
    old, last = today - 91 * DAY, today - 90 * DAY
    make(sessions, days=(old, last))
    finished = Delivery(
        environment_id=ORGANISATION,
        endpoint_id=uuid4(),
        message_id=id_on(old),
        application_id=uuid4(),
        status=Status.success,
        attempts=1,
        finished_at=datetime.now(UTC),
    )
    store(sessions, message(old), message(last), finished)
    report = retain(sessions)
    assert {f"{parent} {old}" for parent in ("messages", "deliveries", "attempts")} <= set(report.dropped)
    for parent in ("messages", "deliveries", "attempts"):
        assert name(parent, old) not in partitions(sessions, parent)
        assert name(parent, last) in partitions(sessions, parent)
    with sessions() as db:
        assert db.scalars(select(Message.id).filter_by(environment_id=ORGANISATION)).all() == [id_on(last)]


def test_a_message_that_is_still_owed_keeps_its_day(sessions: sessionmaker[Session], today: date) -> None:
    owed, before = today - 95 * DAY, today - 96 * DAY
    make(sessions, days=(owed, before))
    store(sessions, due(id_on(owed), today + DAY))
    retain(sessions)
    kept = partitions(sessions, "messages")
    assert name("messages", owed) in kept
    assert name("deliveries", owed) in partitions(sessions, "deliveries")
    assert name("messages", before) not in kept
    with sessions.begin() as db:
        db.execute(text("DELETE FROM due_deliveries"))
    retain(sessions)
    assert name("messages", owed) not in partitions(sessions, "messages")


def test_payloads_that_are_still_needed_move_on(
    sessions: sessionmaker[Session], today: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    past = today - DAY
    make(sessions, expiries=(past,))
    needed = [lowest(datetime.combine(past, time(hour), UTC)) for hour in range(5)]
    idle = id_on(today)
    store(sessions, *(payload(one, past, str(one).encode()) for one in (*needed, idle)))
    store(sessions, *(due(one, past) for one in needed for _ in range(2)))
    report = retain(sessions)
    assert report.moved == 10
    assert f"payloads {past}" in report.dropped
    with sessions() as db:
        left = db.scalars(select(Payload).filter_by(environment_id=ORGANISATION)).all()
        assert {(one.message_id, one.body) for one in left} == {(one, str(one).encode()) for one in needed}
        days = {one.expires_on for one in left}
        assert days == set(db.scalars(select(DueDelivery.expires_on)))
    assert min(days) > today
    with sessions.begin() as db:
        db.execute(text("DELETE FROM due_deliveries"))
        db.execute(text("DELETE FROM payloads"))


def test_a_partition_in_use_waits_for_the_next_run(
    sessions: sessionmaker[Session], today: date, caplog: pytest.LogCaptureFixture
) -> None:
    old = today - 120 * DAY
    make(sessions, days=(old,))
    store(sessions, message(old))
    with sessions() as reader, caplog.at_level(logging.WARNING):
        reader.execute(select(func.count()).select_from(Message)).scalar_one()
        retain(sessions)
    assert "partition_in_use" in caplog.messages
    assert name("messages", old) in partitions(sessions, "messages")
    retain(sessions)
    assert name("messages", old) not in partitions(sessions, "messages")


def test_of_two_who_drop_a_partition_at_once_one_does(sessions: sessionmaker[Session], today: date) -> None:
    old = today - 100 * DAY
    make(sessions, days=(old,))

    def drop() -> bool:
        with sessions.begin() as db:
            return db.execute(queries.drop_partition("attempts", old)).scalar_one()

    with ThreadPoolExecutor() as pool, sessions.begin() as first:
        assert first.execute(queries.drop_partition("attempts", old)).scalar_one()
        second = pool.submit(drop)
        with pytest.raises(TimeoutError):
            second.result(0.2)
        first.commit()
        assert second.result(10) is False


def test_old_keys_and_acts_are_purged_in_small_batches(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 3)
    now = datetime.now(UTC)

    def rows(age: timedelta, number: int) -> list[object]:
        made = now - age
        return [
            *(
                IdempotencyKey(
                    environment_id=ORGANISATION, key=os.urandom(32), body_digest=b"", status=200, response=b"",
                    created_at=made,
                )
                for _ in range(number)
            ),
            *(
                MessageEventId(
                    environment_id=ORGANISATION, application_id=uuid4(), event_id="e", message_id=uuid4(),
                    created_at=made,
                )
                for _ in range(number)
            ),
            *(
                DeliveryAction(
                    environment_id=ORGANISATION, id=uuid4(), endpoint_id=uuid4(), message_id=uuid4(), kind="cancel",
                    reason="r", created_at=made,
                )
                for _ in range(number)
            ),
        ]  # fmt: skip

    store(sessions, *rows(timedelta(days=91), 7), *rows(timedelta(hours=25), 5), *rows(timedelta(hours=23), 2))
    report = retain(sessions)
    assert report.deleted["idempotency_keys"] == 12
    assert report.deleted["message_event_ids"] == report.deleted["delivery_actions"] == 7
    with sessions() as db:
        counts = [
            db.scalar(select(func.count()).select_from(model))
            for model in (IdempotencyKey, MessageEventId, DeliveryAction)
        ]
    assert counts == [2, 7, 7]
    assert set(retain(sessions).deleted.values()) == {0}


def test_an_operator_runs_it_by_hand(environment: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, environment, clear=True):
        done = CliRunner().invoke(main, ["retention"])
    assert (done.exit_code, "deleted 0 from idempotency_keys" in done.output) == (0, True)
    incomplete = {key: value for key, value in environment.items() if "WORKER_URL" not in key}
    with mock.patch.dict(os.environ, incomplete, clear=True):
        refused = CliRunner().invoke(main, ["retention"])
    assert (refused.exit_code, "POSTRIDER_DATABASE__WORKER_URL is not set" in refused.output) == (2, True)
