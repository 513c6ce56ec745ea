"""The last use of a key is written in batches, once for all keys, and nothing is done when none was used."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import Engine, select, update
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session, sessionmaker

from app.auth.uses import Uses
from app.cli.dev.roles import DatabaseUrls
from app.domain.addresses import Address
from app.kit.db import make_async_engine, make_engine, make_sessions
from app.models import ApiKey
from tests.api.client import Tenant, new_tenant
from tests.api.world import counted


@pytest_asyncio.fixture(scope="module")
async def engine(database: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    """The API's role."""
    made = make_async_engine(database.api, pool_size=2)
    yield made
    await made.dispose()


@pytest.fixture(scope="module")
def sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    engine = make_engine(database.worker)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture
def tenants(sessions: sessionmaker[Session]) -> list[Tenant]:
    return [new_tenant(sessions) for _ in range(3)]


def last_use(sessions: sessionmaker[Session], key_id: UUID) -> tuple[datetime | None, str | None, int, datetime]:
    with sessions() as db:
        key = db.scalars(select(ApiKey).filter_by(id=key_id)).one()
        return key.last_used_at, _text(key.last_used_from), key.version, key.updated_at


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def test_keys_of_many_organisations_are_written_in_one_statement(
    engine: AsyncEngine, sessions: sessionmaker[Session], tenants: list[Tenant]
) -> None:
    uses = Uses(engine, seconds=3600)
    began = datetime.now(UTC)
    async with uses:
        for number, one in enumerate(tenants):
            for address in ("192.0.2.9", f"192.0.2.{number}"):
                uses.note(one.key_id, one.organisation_id, address)
        with counted(Engine) as statements:
            await uses.flush()
            await uses.flush()
    assert len([one for one in statements if "UPDATE api_keys" in one]) == 1
    for number, one in enumerate(tenants):
        at, used_from, version, updated_at = last_use(sessions, one.key_id)
        assert at
        assert timedelta(0) <= datetime.now(UTC) - at <= datetime.now(UTC) - began
        assert (used_from, version) == (f"192.0.2.{number}", 1)
        assert updated_at < began


async def test_it_is_written_after_a_while_and_at_the_end(
    engine: AsyncEngine, sessions: sessionmaker[Session], tenants: list[Tenant]
) -> None:
    first, last, _ = tenants
    async with Uses(engine, seconds=0.05) as uses:
        uses.note(first.key_id, first.organisation_id, "::ffff:192.0.2.1")
        await until(lambda: last_use(sessions, first.key_id)[0] is not None)
    async with Uses(engine, seconds=3600) as uses:
        uses.note(last.key_id, last.organisation_id, "no address")
    assert last_use(sessions, first.key_id)[1] == "192.0.2.1"
    at, address, *_ = last_use(sessions, last.key_id)
    assert (at is not None, address) == (True, None)


async def test_who_was_not_used_wakes_nobody(engine: AsyncEngine) -> None:
    before = asyncio.all_tasks()
    with counted(Engine) as statements:
        async with Uses(engine, seconds=0.01):
            await asyncio.sleep(0.05)
            assert asyncio.all_tasks() == before
    assert statements == []


async def test_an_older_use_does_not_overwrite_a_newer_one(
    engine: AsyncEngine, sessions: sessionmaker[Session], tenants: list[Tenant]
) -> None:
    one = tenants[0]
    later = datetime.now(UTC) + timedelta(minutes=1)
    with sessions.begin() as db:
        db.execute(update(ApiKey).filter_by(id=one.key_id).values(last_used_at=later, last_used_from="192.0.2.7"))
    async with Uses(engine, seconds=3600) as uses:
        uses.note(one.key_id, one.organisation_id, "192.0.2.1")
    assert last_use(sessions, one.key_id)[:2] == (later, "192.0.2.7")


async def test_what_another_writes_is_left_to_it(
    engine: AsyncEngine, sessions: sessionmaker[Session], tenants: list[Tenant]
) -> None:
    locked, free, _ = tenants
    with sessions.begin() as db:
        db.execute(select(ApiKey).filter_by(id=locked.key_id).with_for_update()).one()
        async with Uses(engine, seconds=3600) as uses:
            for one in (locked, free):
                uses.note(one.key_id, one.organisation_id, "192.0.2.1")
    assert last_use(sessions, locked.key_id)[0] is None
    assert last_use(sessions, free.key_id)[0] is not None


async def test_what_could_not_be_written_is_written_later(
    engine: AsyncEngine, sessions: sessionmaker[Session], tenants: list[Tenant], caplog: pytest.LogCaptureFixture
) -> None:
    one = tenants[0]
    away = make_async_engine("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
    uses = Uses(away, seconds=0.01)
    uses.note(one.key_id, one.organisation_id, "192.0.2.1")
    await until(lambda: "key_uses_not_stored" in caplog.messages)
    uses._engine = engine  # the database is back
    await uses.flush()
    assert last_use(sessions, one.key_id)[1] == "192.0.2.1"
    await away.dispose()
