"""The audit log over HTTP: who did what is there when it was done, is listed, and leaves as CSV."""

import contextlib
import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

import pytest
import pytest_asyncio
from sqlalchemy.orm import Session, sessionmaker

from app.domain.audit import Actor, Event, Outcome, Target, Where
from app.features.audit import operations, service
from app.features.audit.first_uses import FirstUses
from app.main import create_app
from app.settings import Settings
from tests.api.client import Api, Tenant, served


@pytest_asyncio.fixture(scope="module")
async def base_url(settings: Settings) -> AsyncIterator[str]:
    """Where an API answers that writes down at its end only from where keys were used for the first time.

    Those are events as well, and would come between others at a moment of their own.
    """
    with mock.patch("app.main.FirstUses", partial(FirstUses, seconds=3600)):
        async with served(create_app(settings)) as url:
            yield url


async def listed(api: Api, **query: str | int) -> list[dict[str, Any]]:
    reply = await api.get("/audit", **query)
    assert reply.status == 200, reply.raw
    found: list[dict[str, Any]] = reply.body["data"]
    return found


def seeded(sessions: sessionmaker[Session], tenant: Tenant, count: int, **more: Any) -> None:  # noqa: ANN401
    with sessions.begin() as db:
        for number in range(count):
            operations.record(db, Event(tenant.organisation_id, f"thing.{number}", Actor("key", "key_1"), **more))


async def test_an_empty_log_is_an_empty_list(api: Api) -> None:
    assert await listed(api) == []


async def test_events_are_listed_newest_first_page_by_page(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    seeded(sessions, tenant, 5)
    first = (await api.get("/audit", limit=3)).body
    second = (await api.get("/audit", limit=3, iterator=first["iterator"])).body
    actions = [one["action"] for page in (first, second) for one in page["data"]]
    assert actions == [f"thing.{number}" for number in (4, 3, 2, 1, 0)]
    assert (first["done"], second["done"]) == (False, True)


async def test_unknown_parameters_are_refused(api: Api) -> None:
    for path in ("/audit", "/audit/export.csv"):
        reply = await api.get(path, actoin="x")
        assert (reply.status, reply.fields) == (422, ["query.actoin"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"action": "a.one"}, ["one"]),
        ({"actor": "key_2"}, ["two"]),
        ({"target": "thing_3"}, ["three"]),
        ({"outcome": "refused"}, ["two"]),
        ({"ip": "192.0.2.1"}, ["one"]),
        ({"ip": "::FFFF:192.0.2.1"}, ["one"]),
        ({"actor": "key_1", "outcome": "success"}, ["three", "one"]),
        ({"action": "a.none"}, []),
        ({"ip": "="}, []),
    ],
)
async def test_a_filter_narrows_the_list(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], query: dict[str, str], expected: list[str]
) -> None:
    given = (
        ("one", "key_1", Outcome.success, "192.0.2.1", "thing_1"),
        ("two", "key_2", Outcome.refused, "192.0.2.2", "thing_2"),
        ("three", "key_1", Outcome.success, None, "thing_3"),
    )
    for name, key, outcome, ip, thing in given:
        with sessions.begin() as db:
            target = Target("thing", thing, name)
            operations.record(
                db, Event(tenant.organisation_id, f"a.{name}", Actor("key", key), target, Where(ip), outcome)
            )
    assert [one["target"]["label"] for one in await listed(api, **query)] == expected
    exported = await exported_rows(api, **query)
    # Each export is an event of its own, which the next one shows.
    assert [row["target_label"] for row in exported if row["action"] != "audit.exported"] == expected


async def test_a_window_begins_with_since_and_ends_before_until(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    seeded(sessions, tenant, 1)
    [one] = await listed(api)
    at = datetime.fromisoformat(one["occurredAt"])
    later = (at + timedelta(microseconds=1)).isoformat()
    assert len(await listed(api, since=at.isoformat())) == 1
    assert len(await listed(api, since=later)) == 0
    assert len(await listed(api, until=at.isoformat())) == 0
    assert len(await listed(api, until=later)) == 1


@pytest.mark.parametrize(
    ("query", "status"), [({"since": "yesterday"}, 400), ({"outcome": "well"}, 400), ({"ip": "a\nb"}, 422)]
)
async def test_a_filter_that_cannot_be_is_refused(api: Api, query: dict[str, str], status: int) -> None:
    for path in ("/audit", "/audit/export.csv"):
        assert (await api.get(path, **query)).status == status


async def test_nobody_sees_the_events_of_others(
    api: Api, stranger: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    seeded(sessions, tenant, 3)
    assert await listed(stranger) == []
    assert [row["action"] for row in await exported_rows(stranger)] == ["audit.exported"]
    app_id = (await api.post("/app", {"name": "a"})).body["id"]
    portal = await api.portal(app_id)
    assert [(await portal.get(path)).status for path in ("/audit", "/audit/export.csv")] == [403, 403]


async def test_the_whole_log_leaves_as_csv(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CHUNK", 7)
    seeded(sessions, tenant, 50, where=Where("2001:db8::1", "agent"), details={"a": ["b", 1]})
    reply = await api.get("/audit/export.csv")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in reply.headers["content-disposition"]
    assert reply.raw.count(b"\r\n") == reply.raw.count(b"\n") == 52
    rows = list(csv.DictReader(io.StringIO(reply.raw.decode(), newline="")))
    assert [row["action"] for row in rows] == ["audit.exported", *(f"thing.{number}" for number in range(49, -1, -1))]
    listing = await listed(api, limit=51)
    assert [row["id"] for row in rows] == [one["id"] for one in listing]
    assert (rows[1]["ip"], rows[1]["details"], rows[1]["count"]) == ("2001:db8::1", '{"a":["b",1]}', "1")


async def test_a_slow_reader_of_an_export_holds_no_connection(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], settings: Settings
) -> None:
    """More exports than the pool has connections are begun and not read on, and others are still served."""
    seeded(sessions, tenant, 6000, details={"text": "x" * 200})
    headers = {"authorization": f"Bearer {tenant.key}"}
    async with contextlib.AsyncExitStack() as stack:
        begun = [
            await stack.enter_async_context(api.http.get(f"{api.base}/api/v1/audit/export.csv", headers=headers))
            for _ in range(settings.database.pool_size + 2)
        ]
        assert (await api.get("/app")).status == 200
        rest = [await one.read() for one in begun]
    assert all(one.count(b"thing.") == 6000 for one in rest)


HOSTILE = {
    "=1+1": "'=1+1",
    "+1": "'+1",
    "-1": "'-1",
    "@SUM(A1)": "'@SUM(A1)",
    "  =1": "'  =1",
    "a=1": "a=1",
    'say "hi", you': 'say "hi", you',
    "\t=1": "\\u0009=1",
    "a\r\nb,c": "a\\u000d\\u000ab,c",
}


@pytest.mark.acceptance("G04")
@pytest.mark.parametrize("text", HOSTILE)
async def test_a_cell_is_neither_a_formula_nor_two_cells(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], text: str
) -> None:
    with sessions.begin() as db:
        operations.record(db, Event(tenant.organisation_id, "a.b", Actor("key", "k", text), Target("t", "1", text)))
    row = (await exported_rows(api))[-1]
    assert (row["actor_label"], row["target_label"]) == (HOSTILE[text], HOSTILE[text])


@pytest.mark.acceptance("G04")
@pytest.mark.parametrize("agent", ['x"}\t{"a":"b', "\x9b31mred", "a" * 4000])
async def test_a_hostile_client_makes_one_event_on_one_line(api: Api, agent: str) -> None:
    reply = await api.call("POST", "/app", {"name": "a\r\nb\x1b[2J"}, headers={"user-agent": agent})
    assert reply.status == 201
    events = (await api.get("/audit")).body["data"]
    assert len(events) == 1, events
    found = events[0]
    assert found["userAgent"].isprintable()
    assert len(found["userAgent"]) <= 512
    assert found["target"]["label"] == "a\\u000d\\u000ab\\u001b[2J"


async def exported_rows(api: Api, **query: str) -> list[dict[str, str]]:
    reply = await api.get("/audit/export.csv", **query)
    assert reply.status == 200, reply.raw
    return list(csv.DictReader(io.StringIO(reply.raw.decode(), newline="")))
