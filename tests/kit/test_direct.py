"""What the driver executes by itself behaves as what SQLAlchemy executes."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import Float, Integer, bindparam, cast, event, func, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import make_async_engine
from app.kit.direct import fetch

BACKEND = select(func.pg_backend_pid().label("pid"), cast(bindparam("number"), Integer).label("number"))
SLEEP = select(func.pg_sleep(cast(bindparam("seconds"), Float)))
TERMINATE = select(func.pg_terminate_backend(bindparam("pid", type_=Integer)).label("ended"))
FAULT = select((literal_column("1") / cast(bindparam("number"), Integer)).label("quotient"))


@pytest_asyncio.fixture
async def engine(database: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    made = make_async_engine(database.api, pool_size=1)
    yield made
    await made.dispose()


async def backend(engine: AsyncEngine) -> int:
    async with AsyncSession(engine) as db:
        (row,) = await db.run_sync(fetch, BACKEND, {"number": 7})
        assert row.number == 7
        return int(row.pid)


async def test_a_statement_that_was_interrupted_takes_its_connection_with_it(engine: AsyncEngine) -> None:
    before = await backend(engine)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), AsyncSession(engine) as db:
            await db.run_sync(fetch, SLEEP, {"seconds": 5})
    assert await backend(engine) != before


async def test_a_statement_that_fails_leaves_its_connection_as_it_is(engine: AsyncEngine) -> None:
    before = await backend(engine)
    async with AsyncSession(engine) as db:
        with pytest.raises(DBAPIError) as error:
            await db.run_sync(fetch, FAULT, {"number": 0})
    assert getattr(error.value.orig, "sqlstate", None) == "22012"
    assert await backend(engine) == before


async def test_whoever_listens_to_cursors_is_told(engine: AsyncEngine) -> None:
    seen: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *told: seen.append(told[2]))
    await backend(engine)
    assert any("pg_backend_pid" in one for one in seen)


async def test_a_connection_that_died_is_found_out_once_for_all_that_wait_beside_it(database: DatabaseUrls) -> None:
    engine = make_async_engine(database.api, pool_size=2, steady=True)
    async with AsyncSession(engine) as one, AsyncSession(engine) as other:
        (first,), (second,) = [await db.run_sync(fetch, BACKEND, {"number": 7}) for db in (one, other)]
    async with AsyncSession(engine) as db:
        # A role may end its own sessions: the one that waits in the pool first, then the one that asks.
        (asking,) = await db.run_sync(fetch, BACKEND, {"number": 7})
        await db.execute(TERMINATE, {"pid": {first.pid, second.pid}.difference({asking.pid}).pop()})
        with pytest.raises(DBAPIError) as error:
            await db.run_sync(fetch, TERMINATE, {"pid": asking.pid})
    assert error.value.connection_invalidated
    assert await backend(engine) not in {first.pid, second.pid}
    await engine.dispose()
