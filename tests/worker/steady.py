"""Plans as steady connections make them: once, and for whatever values come."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.orm import Session

GENERIC_PLANS_SINCE = 160_000


def steady_plan(db: Session, statement: Callable[[], ClauseElement]) -> dict[str, Any]:
    """What EXPLAIN says of the statement without values."""
    server = db.connection().connection.driver_connection
    assert isinstance(server, psycopg.Connection)
    if server.info.server_version < GENERIC_PLANS_SINCE:
        pytest.skip("this server does not explain plans without values")
    sql = str(statement().compile(dialect=asyncpg.dialect()))  # type: ignore[no-untyped-call] # it ships no types
    found = server.pgconn.exec_(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sql}".encode()).get_value(0, 0)
    assert found, server.pgconn.error_message
    plan: dict[str, Any] = json.loads(found)[0]["Plan"]
    return plan
