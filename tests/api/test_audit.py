"""The audit log over HTTP: who did what is there when it was done, is listed, and leaves as CSV."""

from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from app.domain.audit import Actor, Event
from app.features.audit import operations
from tests.api.client import Api, Tenant


async def listed(api: Api, **query: str | int) -> list[dict[str, Any]]:
    reply = await api.get("/audit", **query)
    assert reply.status == 200, reply.raw
    found: list[dict[str, Any]] = reply.body["data"]
    return found


def seeded(sessions: sessionmaker[Session], tenant: Tenant, count: int, **more: Any) -> None:  # noqa: ANN401
    with sessions.begin() as db:
        for number in range(count):
            operations.record(db, Event(tenant.id, f"thing.{number}", Actor("key", "key_1"), **more))


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
