"""Rows by COPY: a backlog that is due at once, and a history of what was delivered before."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from app.cli.bench.wire import EVENT_TYPE, event_payload
from app.cli.bench.world import Tenant
from app.domain.ids import uuid7
from app.kit.clock import new_id

_RETENTION = timedelta(days=90)
_CHUNK = 1000
_NULL = "\\N"
_MESSAGES = (
    "environment_id",
    "id",
    "application_id",
    "event_type",
    "created_at",
    "payload_expires_at",
    "fan_out",
)
_PAYLOADS = ("environment_id", "message_id", "expires_on", "content_type", "body", "traceparent", "request_id")
_DUE = (
    "environment_id",
    "endpoint_id",
    "message_id",
    "trigger",
    "application_id",
    "lane",
    "state",
    "due_at",
    "attempt",
    "failures",
    "expires_on",
    "event_type",
)
_DELIVERIES = (
    "environment_id",
    "endpoint_id",
    "message_id",
    "application_id",
    "status",
    "attempts",
    "finished_at",
)
_ATTEMPTS = (
    "environment_id",
    "id",
    "application_id",
    "endpoint_id",
    "message_id",
    "event_type",
    "trigger",
    "number",
    "status",
    "response_status",
    "response",
    "duration_ms",
    "url",
    "started_at",
)

Stored = tuple[Tenant, str, datetime]
"""A message: whose it is, its id, and when it came."""


def add_backlog(superuser_url: str, tenants: Sequence[Tenant], count: int, *, sampled: float = 0.0) -> None:
    """Makes `count` messages that are due now and owed to one endpoint each; all appear at once.

    The traces of a share of them are `sampled`, evenly spread.
    """
    now = datetime.now(UTC)
    turns = itertools.islice(itertools.cycle(tenants), count)
    stored = [(tenant, str(new_id()), now) for tenant in turns]
    with psycopg.connect(superuser_url) as connection:
        _copy(connection, "messages", _MESSAGES, map(_message, stored))
        flags = (int((number + 1) * sampled) - int(number * sampled) for number in itertools.count())
        _copy(connection, "payloads", _PAYLOADS, map(_payload, stored, flags))
        _copy(connection, "due_deliveries", _DUE, map(_due, stored))


def add_history(superuser_url: str, tenants: Sequence[Tenant], count: int, days: int) -> None:
    """Makes `count` messages of the last `days` that were delivered at their first attempt."""
    with psycopg.connect(superuser_url) as connection:
        today = datetime.now(UTC).date()
        past = [today - timedelta(days=ago) for ago in range(days + 1)]
        kept = [day + _RETENTION for day in past]
        connection.execute("SELECT ensure_partitions(%s::date[], %s::date[])", [past, kept])
        for size in _parts(count, 100_000):
            _add_history(connection, list(_spread(tenants, size, days)))
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        # What is still to be written of it must not be written while something is measured.
        connection.execute("CHECKPOINT")


def _add_history(connection: psycopg.Connection, stored: Sequence[Stored]) -> None:
    _copy(connection, "messages", _MESSAGES, map(_message, stored))
    _copy(connection, "payloads", _PAYLOADS, map(_payload, stored))
    _copy(connection, "deliveries", _DELIVERIES, map(_delivery, stored))
    _copy(connection, "attempts", _ATTEMPTS, map(_attempt, stored))


def _parts(count: int, most: int) -> Iterator[int]:
    while count > 0:
        yield min(count, most)
        count -= most


def _spread(tenants: Sequence[Tenant], count: int, days: int) -> Iterator[Stored]:
    """Messages in the order of their time, from `days` ago until an hour ago."""
    first = datetime.now(UTC) - timedelta(days=days)
    step = (timedelta(days=days) - timedelta(hours=1)) / count
    for number, tenant in zip(range(count), itertools.cycle(tenants), strict=False):
        moment = first + number * step
        yield tenant, _past_id(moment), moment


def _past_id(moment: datetime) -> str:
    return str(uuid7(int(moment.timestamp() * 1000), 0, os.urandom(8)))


def _message(one: Stored) -> str:
    tenant, message_id, moment = one
    owner = f"{tenant.environment_id}\t{message_id}\t{tenant.application_id}"
    return f"{owner}\t{EVENT_TYPE}\t{moment}\t{moment + _RETENTION}\t{{{tenant.endpoint_id}}}\n"


def _payload(one: Stored, flags: int = 0) -> str:
    tenant, message_id, moment = one
    expires_on = (moment + _RETENTION).date()
    origin = f"\\\\x{os.urandom(24).hex()}{flags:02x}\treq_{message_id}"
    return f"{tenant.environment_id}\t{message_id}\t{expires_on}\tapplication/json\t{_BODY}\t{origin}\n"


def _due(one: Stored) -> str:
    tenant, message_id, moment = one
    key = f"{tenant.environment_id}\t{tenant.endpoint_id}\t{message_id}\t0"
    expires_on = (moment + _RETENTION).date()
    return f"{key}\t{tenant.application_id}\t0\t0\t{moment}\t0\t0\t{expires_on}\t{EVENT_TYPE}\n"


def _delivery(one: Stored) -> str:
    tenant, message_id, moment = one
    key = f"{tenant.environment_id}\t{tenant.endpoint_id}\t{message_id}"
    return f"{key}\t{tenant.application_id}\t0\t1\t{moment}\n"


def _attempt(one: Stored) -> str:
    tenant, message_id, moment = one
    key = f"{tenant.environment_id}\t{_past_id(moment)}\t{tenant.application_id}\t{tenant.endpoint_id}"
    return f"{key}\t{message_id}\t{EVENT_TYPE}\t0\t1\t0\t204\t\\\\x\t3\thttp://localhost/\t{moment}\n"


def _copy(connection: psycopg.Connection, table: str, columns: Sequence[str], rows: Iterable[str]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    rows = iter(rows)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        while chunk := "".join(itertools.islice(rows, _CHUNK)):
            copy.write(chunk)


_BODY = "\\\\x" + event_payload().hex()
