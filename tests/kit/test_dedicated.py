"""A connection that a hot path keeps: one transaction after the other, and nothing of a failed one in the next."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import Float, Integer, bindparam, cast, event, func, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import TENANTS_SETTING, make_async_engine
from app.kit.dedicated import Dedicated, NotCommittedError
from app.kit.direct import fetch

STATE = select(
    func.pg_backend_pid().label("backend"),
    literal_column("pg_current_xact_id()::text").label("transaction"),
    func.current_setting(TENANTS_SETTING).label("tenants"),
)
FAULT = select((literal_column("1") / cast(bindparam("number"), Integer)).label("quotient"))
SLEEP = select(func.pg_sleep(cast(bindparam("seconds"), Float)))
NOTES = text("CREATE TEMP TABLE notes (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
NOTE, NOTED = text("INSERT INTO notes VALUES (1)"), text("SELECT count(*) FROM notes")
TENANT, OTHER = uuid4(), UUID(int=7)


@pytest_asyncio.fixture
async def engine(database: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    made = make_async_engine(database.migrator, pool_size=1, steady=True)
    yield made
    await made.dispose()


@pytest_asyncio.fixture
async def dedicated(engine: AsyncEngine) -> AsyncIterator[Dedicated]:
    made = Dedicated(engine)
    yield made
    await made.close()


def look(db: Session) -> tuple[int, str, str]:
    """Backend, transaction and tenants, the same to statements of both kinds."""
    (row,) = fetch(db, STATE, {})
    assert tuple(row) == tuple(db.execute(STATE).one())
    return row.backend, row.transaction, row.tenants


def fail(db: Session) -> None:
    fetch(db, FAULT, {"number": 0})


async def backend(dedicated: Dedicated) -> int:
    return (await dedicated.run([TENANT], look))[0]


async def test_each_run_is_one_transaction_that_sees_its_tenants(dedicated: Dedicated) -> None:
    first, second = await dedicated.run([TENANT, OTHER], look), await dedicated.run([TENANT], look)
    assert (first[2], second[2]) == (f"{TENANT.hex},{OTHER.hex}", TENANT.hex)
    assert first[0] == second[0]
    assert first[1] != second[1]


async def test_what_was_done_is_committed_and_what_failed_is_not(dedicated: Dedicated) -> None:
    def note_and_fail(db: Session) -> None:
        db.execute(NOTE)
        fail(db)

    def count(db: Session) -> int:
        return int(db.scalars(NOTED).one())

    before = await backend(dedicated)
    await dedicated.run([], Session.execute, NOTES)
    await dedicated.run([], Session.execute, NOTE)
    with pytest.raises(DBAPIError, match="division by zero") as error:
        await dedicated.run([], note_and_fail)
    assert not error.value.connection_invalidated
    assert await dedicated.run([], count) == 1
    assert await backend(dedicated) == before


async def test_a_commit_that_is_refused_is_an_error(dedicated: Dedicated) -> None:
    def note(db: Session) -> None:
        db.execute(NOTE)

    await dedicated.run([], Session.execute, NOTES)
    await dedicated.run([], note)
    with pytest.raises(DBAPIError) as error:
        await dedicated.run([], note)
    assert getattr(error.value.orig, "sqlstate", None) == "23505"
    assert len(await dedicated.run([TENANT], look)) == 3


async def test_work_that_hides_its_failure_is_found_out_at_the_commit(dedicated: Dedicated) -> None:
    def hide(db: Session) -> None:
        with pytest.raises(DBAPIError):
            fail(db)

    with pytest.raises(NotCommittedError, match="ROLLBACK"):
        await dedicated.run([TENANT], hide)
    assert len(await dedicated.run([TENANT], look)) == 3


async def test_work_that_was_interrupted_takes_its_connection_with_it(dedicated: Dedicated) -> None:
    before = await backend(dedicated)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await dedicated.run([TENANT], fetch, SLEEP, {"seconds": 5})
    assert await backend(dedicated) != before


@pytest.mark.parametrize("kind", ["fetch", "execute"])
async def test_a_connection_that_is_lost_is_replaced(dedicated: Dedicated, database: DatabaseUrls, kind: str) -> None:
    def end_and_look(db: Session) -> None:
        end(database, look(db)[0])
        fetch(db, STATE, {}) if kind == "fetch" else db.execute(STATE)

    before = await backend(dedicated)
    with pytest.raises(DBAPIError) as error:
        await dedicated.run([TENANT], end_and_look)
    assert error.value.connection_invalidated
    assert await backend(dedicated) != before


async def test_a_connection_that_was_lost_in_between_is_found_out_at_the_beginning(
    dedicated: Dedicated, database: DatabaseUrls
) -> None:
    before = await backend(dedicated)
    end(database, before)
    with pytest.raises(DBAPIError) as error:
        await backend(dedicated)
    assert error.value.connection_invalidated
    assert await backend(dedicated) != before


async def test_those_who_wait_for_the_commit_are_told_after_it_and_of_no_rollback(dedicated: Dedicated) -> None:
    told: list[str] = []

    def work(db: Session, name: str, number: int) -> None:
        db.execute(STATE)
        event.listen(db, "after_commit", lambda _: told.append(name), once=True)
        fetch(db, FAULT, {"number": number})

    with pytest.raises(DBAPIError):
        await dedicated.run([TENANT], work, "failed", 0)
    await dedicated.run([TENANT], work, "committed", 1)
    assert told == ["committed"]


def end(database: DatabaseUrls, pid: int) -> None:
    """Ends a backend; a role may end its own."""
    with psycopg.connect(database.migrator, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
