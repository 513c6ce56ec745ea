"""What is planned while nothing is due must serve once much is: the plans of steady connections are made once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import ClauseElement, text
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.features.deliveries import claim_queries, record_queries
from app.features.messages import ingest_queries
from app.kit.db import make_engine
from tests.worker.steady import steady_plan

BIG = ("due_deliveries", "pk_due_deliveries", "ix_due_deliveries", "payloads")
BY_NAME = {"Index Scan", "Tid Scan", "ModifyTable"}
STATEMENTS = [
    claim_queries.ready,
    claim_queries.held,
    claim_queries.facts,
    claim_queries.take,
    claim_queries.hold,
    record_queries.conclude,
]


FILL = text(
    "INSERT INTO due_deliveries (environment_id, endpoint_id, message_id, trigger, application_id, lane, state,"
    " due_at, attempt, failures, expires_on, event_type)"
    " SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 0, gen_random_uuid(), 0, 0,"
    " now(), 0, 0, current_date, 'a' FROM generate_series(1, 2000)"
)


@pytest.fixture(scope="module", params=["young", "emptied"])
def known(request: pytest.FixtureRequest, database: DatabaseUrls) -> None:
    """The module's database, of which the planner knows that nothing is due: not yet, or no more."""
    owner = make_engine(database.migrator)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if request.param == "emptied":
            connection.execute(FILL)
            connection.execute(text("VACUUM ANALYZE due_deliveries"))
            connection.execute(text("DELETE FROM due_deliveries"))
        connection.execute(text("VACUUM ANALYZE"))
    owner.dispose()


@pytest.fixture
def worker(known: None, sessions: sessionmaker[Session]) -> Iterator[Session]:
    """A transaction as workers have it."""
    with sessions() as db:
        yield db


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node and those below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: one.__name__)
def test_each_delivery_is_looked_up_by_what_names_it(worker: Session, statement: Callable[[], ClauseElement]) -> None:
    plan = list(nodes(steady_plan(worker, statement)))
    scans = [one for one in plan if one.get("Relation Name", one.get("Index Name", "")).startswith(BIG)]
    assert scans
    assert {one["Node Type"] for one in scans} <= BY_NAME
    assert [one for one in scans if "Index Name" in one and "Index Cond" not in one] == []
    if statement is not claim_queries.ready:
        assert "ix_due_deliveries_claim" not in {one.get("Index Name") for one in scans}


def test_a_claim_reads_no_more_than_it_takes(worker: Session) -> None:
    assert [one for one in nodes(steady_plan(worker, claim_queries.ready)) if "Sort" in one["Node Type"]] == []


@pytest.mark.parametrize("statement", [ingest_queries.named, ingest_queries.store], ids=lambda one: one.__name__)
def test_what_a_message_needs_is_looked_up_by_what_names_it(
    worker: Session, statement: Callable[[], ClauseElement]
) -> None:
    scans = [one for one in nodes(steady_plan(worker, statement)) if "Index Name" in one]
    assert scans
    for one in scans:
        parts = one["Index Cond"].count(" AND ") + 1
        assert parts >= (1 if one["Relation Name"] == "environments" else 2)
        if one["Index Name"] == "uq_applications_uid":
            assert "uid = " in one["Index Cond"]
