"""The plans of the claim and of every list, with a hundred thousand rows in a hundred partitions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import ClauseElement, Connection, Executable, Select, event, func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.console import queries as console
from app.domain.ids import lowest
from app.features.applications import queries as applications
from app.features.audit import queries as audit
from app.features.audit.queries import EventFilters
from app.features.background_tasks import queries as background_tasks
from app.features.deliveries import claim_queries, queries, record_queries
from app.features.deliveries.queries import AttemptFilters
from app.features.endpoints import queries as endpoints
from app.features.event_types import queries as event_types
from app.features.messages import ingest_queries
from app.features.messages import queries as messages
from app.features.messages.queries import NO_FILTERS, Filters
from app.features.retention import purge_queries
from app.features.retention.purge import BATCH as PURGE
from app.features.retention.queries import ensure_partitions
from app.kit.arrays import transpose
from app.kit.clock import new_id
from app.kit.cuts import Cut
from app.kit.db import Base, enter_tenants, make_engine, make_sessions, table_of
from app.models import (
    Application,
    Attempt,
    AuditEvent,
    BackgroundTask,
    Delivery,
    DeliveryAction,
    Endpoint,
    EventType,
    Message,
    Payload,
    Status,
)
from tests.worker.steady import steady_plan

ROWS = 100_000
DAYS = 100
PAGE = 51
BIG = (
    *("messages", "deliveries", "attempts", "payloads", "due_deliveries", "message_event_ids"),
    *("applications", "endpoints", "event_types", "background_tasks", "audit_events"),
)
ORGANISATION, APPLICATION, HIDDEN, ENDPOINT, QUIET = (new_id() for _ in range(5))
NOW = datetime.now(UTC)
EVERYTHING = AttemptFilters(NO_FILTERS)
Build = Callable[[Cut[UUID]], Select[*tuple[Any, ...]]]

# An older planner takes the list of organisations, which row-level security asks for, for ten look-ups into an index:
# what has fewer rows than those would cost, such as a day that has just begun, it reads from end to end.
LISTS_ARE_CHEAP_SINCE = 170_000
A_DAY = ROWS // DAYS

HISTORY = Path(__file__).with_name("history.sql")


@dataclass
class Plan:
    """What EXPLAIN ANALYZE says of a statement."""

    nodes: list[dict[str, Any]] = field(default_factory=list)

    def add(self, node: dict[str, Any]) -> None:
        self.nodes.append(node)
        for child in node.get("Plans", ()):
            self.add(child)

    @property
    def whole_scans(self) -> list[str]:
        """Big tables that were read from end to end, where there was anything to read."""
        found = [one["Relation Name"] for one in self.nodes if one["Node Type"] == "Seq Scan" and _rows(one)]
        return [name for name in found if name.startswith(BIG)]

    @property
    def rows_read(self) -> int:
        """How many rows scans brought up, those that filters threw away too."""
        scans = [one for one in self.nodes if "Scan" in one["Node Type"] and "Relation Name" in one]
        return sum(_rows(one) for one in scans)

    def rows_of(self, table: str) -> int:
        """The same for one table with its partitions."""
        return sum(_rows(one) for one in self.nodes if one.get("Relation Name", "").startswith(table))

    @property
    def most_sorted(self) -> int:
        """How many rows went into a sort."""
        sorts = [one for one in self.nodes if one["Node Type"] in {"Sort", "Incremental Sort"}]
        return max((round(one["Plans"][0]["Actual Rows"]) for one in sorts), default=0)


def _rows(scan: dict[str, Any]) -> int:
    return int((scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"])


def explained(db: Session, statement: Executable, parameters: dict[str, Any] | None = None) -> Plan:
    """The plan of the very statement that would be executed, with its parameters."""
    plan = Plan()

    def explain(_connection: object, cursor: Any, sql: str, values: Any, *_rest: object) -> None:  # noqa: ANN401
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + sql, values)
        plan.add(cursor.fetchone()[0][0]["Plan"])

    connection: Connection = db.connection()
    event.listen(connection, "before_cursor_execute", explain)
    try:
        db.execute(statement, parameters)
    finally:
        event.remove(connection, "before_cursor_execute", explain)
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    if driver.info.server_version < LISTS_ARE_CHEAP_SINCE:
        plan.nodes = [one for one in plan.nodes if not _is_small_scan(one)]
    return plan


def _is_small_scan(node: dict[str, Any]) -> bool:
    return bool(node["Node Type"] == "Seq Scan" and _rows(node) <= A_DAY * node["Actual Loops"])


@pytest.fixture(scope="module")
def seeded(database: DatabaseUrls, sessions: sessionmaker[Session]) -> DatabaseUrls:
    """The module's database, with a long history."""
    today = NOW.date()
    days = [today + timedelta(days=number) for number in range(-DAYS, 4)]
    for part in range(0, len(days), 20):
        with sessions.begin() as db:
            db.execute(ensure_partitions(days[part : part + 20], _expiries(days[part : part + 20])))
    names = {
        "organisation": ORGANISATION,
        "application": APPLICATION,
        "hidden": HIDDEN,
        "endpoint": ENDPOINT,
        "quiet": QUIET,
        "rows": ROWS,
    }
    owner = make_engine(database.migrator)
    with owner.begin() as connection:
        connection.execute(text("INSERT INTO organisations (id, name) VALUES (:organisation, 'o')"), names)
        environment = (
            "INSERT INTO environments (id, organisation_id, kind) VALUES (:organisation, :organisation, 'live')"
        )
        connection.execute(text(environment), names)
        for statement in HISTORY.read_text().split(";\n"):
            if statement.strip():
                connection.execute(text(statement), names)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    owner.dispose()
    return database


def _expiries(days: list[date]) -> list[date]:
    return [day + timedelta(days=90) for day in days]


@pytest.fixture
def api(seeded: DatabaseUrls) -> Iterator[Session]:
    """A transaction as the API has it: its role, one tenant."""
    engine = make_engine(seeded.api)
    with make_sessions(engine)() as db:
        enter_tenants(db, [ORGANISATION])
        yield db
    engine.dispose()


@pytest.fixture
def worker(seeded: DatabaseUrls, sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A transaction as workers have it."""
    with sessions() as db:
        yield db


def middle(db: Session) -> UUID:
    """A message from the middle of the history."""
    statement = select(Message.id).where(Message.id > lowest(NOW - timedelta(days=50)), Message.id < lowest(NOW))
    return db.execute(statement.order_by(Message.id).limit(1)).scalar_one()


def listed(statement: Select[*tuple[Any, ...]], key: InstrumentedAttribute[UUID]) -> Build:
    """A list that is cut from a statement."""
    return lambda cut: cut.of(statement, key)


RECENT = Filters(after=NOW - timedelta(days=3))
TYPED = Filters(event_types=("t1",))
LABELLED = Filters(channel="x")
MINE = ORGANISATION, ENDPOINT
ATTEMPTS = queries.attempts_of_endpoint
PAGES: dict[str, Build] = {
    "messages": partial(messages.messages, ORGANISATION, APPLICATION, NO_FILTERS),
    "messages of a type": partial(messages.messages, ORGANISATION, APPLICATION, TYPED),
    "messages of a channel": partial(messages.messages, ORGANISATION, APPLICATION, LABELLED),
    "messages of a window": partial(messages.messages, ORGANISATION, APPLICATION, RECENT),
    "messages of an endpoint": partial(queries.messages_of_endpoint, *MINE, NO_FILTERS, None),
    "messages of an endpoint and a type": partial(queries.messages_of_endpoint, *MINE, TYPED, None),
    "messages of an endpoint and a channel": partial(queries.messages_of_endpoint, *MINE, LABELLED, None),
    "messages of an endpoint and a window": partial(queries.messages_of_endpoint, *MINE, RECENT, None),
    "failed messages of an endpoint": partial(queries.messages_of_endpoint, *MINE, NO_FILTERS, [Status.fail]),
    "open messages of an endpoint": partial(
        queries.messages_of_endpoint, ORGANISATION, QUIET, NO_FILTERS, [Status.pending]
    ),
    "attempts of an endpoint": listed(ATTEMPTS(*MINE, EVERYTHING), Attempt.id),
    "attempts of a type": listed(ATTEMPTS(*MINE, AttemptFilters(TYPED)), Attempt.id),
    "attempts of a channel": listed(ATTEMPTS(*MINE, AttemptFilters(LABELLED)), Attempt.id),
    "failed attempts": listed(ATTEMPTS(*MINE, AttemptFilters(NO_FILTERS, (Status.fail,))), Attempt.id),
    "applications": listed(applications.live(ORGANISATION), Application.id),
    "endpoints": listed(endpoints.of_application(ORGANISATION, APPLICATION), Endpoint.id),
    "deleted applications": listed(applications.deleted(ORGANISATION), Application.id),
    "deleted endpoints": listed(endpoints.deleted(ORGANISATION, APPLICATION), Endpoint.id),
    "operational endpoints": listed(endpoints.of_application(ORGANISATION, HIDDEN), Endpoint.id),
    "background tasks": listed(background_tasks.tasks(ORGANISATION), BackgroundTask.id),
    "failed background tasks": listed(background_tasks.tasks(ORGANISATION, status="failed"), BackgroundTask.id),
    "audit events": listed(audit.events(ORGANISATION, EventFilters()), AuditEvent.id),
    "audit events of an action": listed(audit.events(ORGANISATION, EventFilters(action="a.17")), AuditEvent.id),
    "audit events by an actor": listed(audit.events(ORGANISATION, EventFilters(actor="key_17")), AuditEvent.id),
    "audit events about a target": listed(audit.events(ORGANISATION, EventFilters(target="thing_17")), AuditEvent.id),
    "background tasks of a kind": listed(
        background_tasks.tasks(ORGANISATION, kind="endpoint.replay"), BackgroundTask.id
    ),
}
EVENT_TYPES = {
    "event types": event_types.visible(ORGANISATION, None, archived=False),
    "archived ones too": event_types.visible(ORGANISATION, None, archived=True),
    "event types of a flag": event_types.visible(ORGANISATION, ["f"], archived=False),
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_page_reads_about_as_many_rows_as_it_shows(
    api: Session, name: str, *, descending: bool, is_first: bool
) -> None:
    at = None if is_first else middle(api)
    plan = explained(api, PAGES[name](Cut(at, descending, PAGE)))
    assert plan.whole_scans == []
    # A row in twenty has the type, a row in ten the channel, a row in a hundred failed; some are read twice.
    assert plan.rows_read < 110 * PAGE
    assert plan.most_sorted <= 2 * PAGE


@pytest.mark.parametrize("name", EVENT_TYPES)
@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("at", [None, "t050000"])
def test_a_page_of_event_types_reads_about_as_many_rows_as_it_shows(
    api: Session, name: str, at: str | None, *, descending: bool
) -> None:
    plan = explained(api, Cut(at, descending, PAGE).of(EVENT_TYPES[name], EventType.name))
    assert plan.whole_scans == []
    assert plan.rows_read < 5 * PAGE
    assert plan.most_sorted == 0


@pytest.mark.parametrize("flags", [None, ["f"]])
def test_the_portals_page_reads_about_as_many_rows_as_it_shows(api: Session, flags: list[str] | None) -> None:
    plan = explained(api, console.endpoints(ORGANISATION, APPLICATION))
    assert plan.whole_scans == []
    # One in a thousand is another application's.
    assert plan.rows_read <= console.ENDPOINTS_SHOWN + 1
    plan = explained(api, console.last_attempts(ORGANISATION, [ENDPOINT, QUIET], flags))
    assert [one for one in plan.whole_scans if one != "event_types"] == []
    assert plan.rows_of("attempts") <= 2 * console.ATTEMPTS_SHOWN


def test_failed_messages_of_an_endpoint_are_found_by_their_own_index(api: Session) -> None:
    plan = explained(api, PAGES["failed messages of an endpoint"](Cut(None, descending=True, most=PAGE)))
    assert plan.rows_read < 3 * PAGE


def test_what_belongs_to_one_message_is_found_by_it(api: Session) -> None:
    at = middle(api)
    day = (NOW + timedelta(days=1)).date()
    for statement in (
        messages.message(ORGANISATION, APPLICATION, at),
        messages.message_by_event_id(ORGANISATION, APPLICATION, "e"),
        messages.payloads(ORGANISATION, [at], [day]),
        messages.messages_by_id(ORGANISATION, [at]),
        queries.attempts_of_message(ORGANISATION, at, EVERYTHING).order_by(Attempt.id.desc()).limit(PAGE),
        queries.endpoints_of_message(ORGANISATION, at).order_by(Endpoint.id.desc()).limit(PAGE),
        queries.attempt(ORGANISATION, at, at),
        queries.is_owed(ORGANISATION, ENDPOINT, at),
    ):
        plan = explained(api, statement)
        assert plan.whole_scans == []
        assert plan.rows_read < 10


def test_the_claim_reads_what_is_due(worker: Session) -> None:
    for lane in range(3):
        plan = explained(worker, claim_queries.ready(), transpose([(lane, 100)], "lane", "most"))
        assert plan.whole_scans == []
        assert plan.rows_read <= 110
        assert plan.most_sorted == 0


PURGED = {
    Delivery: ("message_id", {"endpoint_id": ENDPOINT}),
    DeliveryAction: ("message_id", {}),
    Attempt: ("id", {"endpoint_id": ENDPOINT}),
    Payload: ("message_id", {}),
    Message: ("id", {"application_id": APPLICATION}),
}


@pytest.mark.parametrize("model", PURGED, ids=lambda one: one.__name__)
def test_a_step_of_the_purge_reads_about_as_many_rows_as_go(seeded: DatabaseUrls, model: type[Base]) -> None:
    engine = make_engine(seeded.worker)
    with make_sessions(engine)() as db:
        key, more = PURGED[model]
        table, scope = table_of(model), {"environment_id": ORGANISATION, **more}
        first = purge_queries.some(table, key, scope, PURGE) if model is not Payload else _oldest()
        found = explained(db, first)
        keys = db.scalars(first).all()
        gone = explained(db, purge_queries.gone(table, key, scope, keys))
        for plan in (found, gone):
            assert plan.whole_scans == []
            assert plan.rows_read <= 3 * PURGE
        db.rollback()
    engine.dispose()


def _oldest() -> Select[UUID]:
    return purge_queries.messages_of(ORGANISATION, APPLICATION, PURGE)


def test_who_is_to_be_purged_is_found_among_the_deleted(worker: Session) -> None:
    for statement in (purge_queries.endpoints(PURGE), purge_queries.applications(PURGE)):
        assert explained(worker, statement).whole_scans == []


STEADY = [
    claim_queries.ready,
    claim_queries.held,
    claim_queries.gates,
    claim_queries.facts,
    claim_queries.take,
    claim_queries.hold,
    record_queries.conclude,
    record_queries.release,
    ingest_queries.named,
    ingest_queries.store,
    ingest_queries.idempotency_keys,
]


@pytest.mark.parametrize("statement", STEADY, ids=lambda one: one.__name__)
def test_a_plan_that_is_made_once_goes_by_indexes(worker: Session, statement: Callable[[], ClauseElement]) -> None:
    plan = Plan()
    plan.add(steady_plan(worker, statement))
    assert [one["Relation Name"] for one in plan.nodes if one["Node Type"] == "Seq Scan"] == []


def test_a_payload_is_looked_for_in_the_partition_of_its_day_alone(worker: Session) -> None:
    tid, day = worker.execute(text("SELECT ctid::text, expires_on FROM due_deliveries WHERE state = 0 LIMIT 1")).one()
    plan = explained(worker, claim_queries.take(), {"tids": [tid], "day": day, "lease": timedelta(seconds=30)})
    read = {one["Relation Name"] for one in plan.nodes if "Relation Name" in one}
    assert read == {"due_deliveries", f"payloads_p{day:%Y%m%d}"}
    assert plan.rows_read <= 2
    worker.rollback()


def test_what_waits_behind_a_gate_is_found_by_its_endpoint(worker: Session) -> None:
    parameters = transpose([(QUIET, 1, 8)], "endpoint_id", "lane", "most")
    plan = explained(worker, claim_queries.held(), parameters)
    assert plan.whole_scans == []
    assert plan.rows_read <= 20


def test_a_replay_takes_its_batch_alone(worker: Session) -> None:
    scope = queries.Scope(ORGANISATION, ENDPOINT, lowest(NOW - timedelta(days=14)), lowest(NOW), (Status.fail,))
    plan = explained(worker, queries.replay(scope, 100, "r"))
    assert plan.whole_scans == []
    assert plan.rows_read < 20 * 100
    worker.rollback()
    left = queries.candidates(ORGANISATION, APPLICATION, QUIET, lowest(NOW - timedelta(days=14)), lowest(NOW)).limit(
        100
    )
    assert explained(worker, left).rows_read <= 100


def test_cancelling_one_endpoint_reads_its_rows_alone(worker: Session) -> None:
    statement = queries.cancel(
        ORGANISATION, application_id=None, endpoint_id=QUIET, message_id=middle(worker), reason="r"
    )
    plan = explained(worker, statement)
    assert plan.whole_scans == []
    assert plan.rows_read < 10
    worker.rollback()


def test_the_plans_are_of_a_long_history(worker: Session) -> None:
    assert worker.scalar(select(func.count()).select_from(Message)) == ROWS
    names = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'messages'::regclass"
    assert worker.execute(text(names)).scalar_one() >= DAYS
