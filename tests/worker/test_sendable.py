"""What an autoscaler asks: how many deliveries may go now. It may ask that, and nothing else."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, func, text

from app.cli.dev.roles import DatabaseUrls, database_of
from app.kit.db import make_engine
from app.models import DueDelivery, DueState, EndpointGate, EndpointRate, Environment, Lane
from tests.servers import Servers
from tests.worker.house import App, House
from tests.worker.test_figures import Process, until

RECIPE: tuple[LiteralString, ...] = (
    "CREATE ROLE {role} LOGIN PASSWORD {password} CONNECTION LIMIT 5",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT EXECUTE ON FUNCTION sendable_deliveries(text) TO {role}",
    "ALTER ROLE {role} SET statement_timeout = '5s'",
)

MANY_MORE = text("""
    INSERT INTO due_deliveries (
        environment_id, endpoint_id, message_id, trigger, application_id, lane, state, due_at, attempt, failures,
        expires_on, event_type)
    SELECT
        environment_id, gen_random_uuid(), message_id, trigger, application_id, lane, state, due_at, attempt, failures,
        expires_on, event_type
    FROM due_deliveries, generate_series(1, 100000)
""")


@contextmanager
def autoscaler(servers: Servers, database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    """A connection of a role of its own, made as the README says."""
    role, password = f"scaler_{secrets.token_hex(4)}", secrets.token_hex(8)
    database_name = database_of(database.migrator)
    names = {
        "role": sql.Identifier(role),
        "password": sql.Literal(password),
        "database": sql.Identifier(database_name),
    }
    server = psycopg.conninfo.make_conninfo(servers.database_url, dbname=database_name)
    with psycopg.connect(server, autocommit=True) as admin:
        for statement in RECIPE:
            admin.execute(sql.SQL(statement).format(**names))
        try:
            with psycopg.connect(database.migrator, user=role, password=password, autocommit=True) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("DROP OWNED BY {role}").format(**names))
            admin.execute(sql.SQL("DROP ROLE {role}").format(**names))


@pytest.fixture
def scaler(servers: Servers, database: DatabaseUrls) -> Iterator[psycopg.Connection]:
    with autoscaler(servers, database) as connection:
        yield connection


def sendable(scaler: psycopg.Connection, lane: str = "first") -> int:
    row = scaler.execute("SELECT sendable_deliveries(%s)", (lane,)).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def app(house: House) -> App:
    return house.app()


def test_what_is_due_may_go_and_what_is_later_may_not(house: House, app: App, scaler: psycopg.Connection) -> None:
    house.endpoint(app)
    house.send(app, 3)
    house.send(app, deliver_at=house.now(60.0))

    assert sendable(scaler) == 3
    assert len(house.claim().jobs) == 3
    assert sendable(scaler) == 0


def test_after_its_lease_a_delivery_may_go_again(house: House, app: App, scaler: psycopg.Connection) -> None:
    house.endpoint(app)
    house.send(app)
    house.claim_one()
    house.age(30)

    assert sendable(scaler) == 1


@pytest.mark.parametrize("health", [{"open_until": 60.0}, {"slow_until": 60.0}])
def test_an_endpoint_that_is_left_alone_wants_no_more_workers(
    house: House, app: App, scaler: psycopg.Connection, health: dict[str, object]
) -> None:
    endpoint = house.endpoint(app)
    house.make_unwell(app, endpoint, consecutive_failures=10, **health)
    (asked_for, *_) = house.send(app, 4)
    house.resend(app, endpoint, asked_for)

    assert sendable(scaler) == 1
    assert len(house.claim().jobs) == 1


def test_a_rate_that_is_spent_wants_no_more_workers(house: House, app: App, scaler: psycopg.Connection) -> None:
    endpoint = house.endpoint(app, throttle_rate=1)
    house.send(app, 5)
    house.claim()
    (message,) = house.send(app)
    house.change(DueDelivery, {"state": DueState.ready, "lane": Lane.first}, message_id=message)
    assert sendable(scaler) == 0

    house.change(EndpointRate, {"rate_tat": func.now() - timedelta(seconds=1)}, endpoint_id=endpoint)
    house.change(EndpointGate, {"next_at": func.now()}, endpoint_id=endpoint)
    assert sendable(scaler) == 1


def test_an_environment_that_was_stopped_wants_no_more_workers(
    house: House, app: App, scaler: psycopg.Connection
) -> None:
    house.endpoint(app)
    house.send(app, 2)
    house.change(Environment, {"stopped_at": func.now()}, id=app.environment_id)

    assert sendable(scaler) == 0
    assert house.claim().jobs == []


def test_the_figure_says_the_same_of_each_lane(
    house: House, app: App, scaler: psycopg.Connection, database: DatabaseUrls
) -> None:
    house.endpoint(app)
    for lane, number in ((Lane.first, 3), (Lane.retry, 2), (Lane.replay, 1)):
        for message in house.send(app, number):
            house.change(DueDelivery, {"lane": lane}, message_id=message)
    engine: Engine = make_engine(database.worker, pool_size=3)
    process = Process(engine)
    process.teller.start()
    try:
        until(process.tells)
        told = {lane.name: process.figure("postrider_sendable_deliveries", lane=lane.name) for lane in Lane}
    finally:
        process.teller.stop()
        engine.dispose()

    assert told == {lane.name: sendable(scaler, lane.name) for lane in Lane}
    assert told == {"first": 3, "retry": 2, "replay": 1}


def test_who_asks_for_another_lane_is_told_which_there_are(scaler: psycopg.Connection) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="there is no lane last: ask for first, retry or replay"):
        sendable(scaler, "last")


@pytest.mark.parametrize("table", ["due_deliveries", "endpoints", "messages", "organisations"])
def test_it_reads_no_table(scaler: psycopg.Connection, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        scaler.execute(sql.SQL("SELECT FROM {}").format(sql.Identifier(table)))


def test_it_is_not_asked_for_long(scaler: psycopg.Connection) -> None:
    assert scaler.execute("SHOW statement_timeout").fetchone() == ("5s",)


def test_it_counts_to_a_hundred_thousand(house: House, app: App, scaler: psycopg.Connection) -> None:
    house.endpoint(app)
    house.send(app)
    with house.sessions.begin() as db:
        db.execute(MANY_MORE)
    assert sendable(scaler) == 100_000
