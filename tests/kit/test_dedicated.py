"""A connection that a hot path keeps: one transaction after the other, and nothing of a failed one in the next."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from sqlalchemy import (
    Float,
    Integer,
    bindparam,
    cast,
    delete,
    event,
    false,
    func,
    literal_column,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import TENANTS_SETTING, enter_tenants, make_async_engine, make_engine
from app.kit.dedicated import AsyncDedicated, Dedicated, NotCommittedError
from app.kit.direct import fetch

STATE = select(
    func.pg_backend_pid().label("backend"),
    literal_column("pg_current_xact_id()::text").label("transaction"),
    func.current_setting(TENANTS_SETTING).label("tenants"),
)
FAULT = select((literal_column("1") / cast(bindparam("number"), Integer)).label("quotient"))
WRITE = delete(table("alembic_version")).where(false())
SLEEP = select(func.pg_sleep(cast(bindparam("seconds"), Float)))
NOTES = text("CREATE TEMP TABLE notes (number int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
NOTE, NOTED = text("INSERT INTO notes VALUES (1)"), text("SELECT count(*) FROM notes")
TENANT, OTHER = uuid4(), UUID(int=7)
T = TypeVar("T")


class Keeper:
    """A connection that a thread keeps, as a task's is used."""

    def __init__(self, dedicated: Dedicated) -> None:
        self._dedicated = dedicated

    async def run(self, tenants: Iterable[UUID], work: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 the work's
        with self._dedicated.begin() as db:
            enter_tenants(db, tenants)
            return work(db, *arguments)


Kept = Keeper | AsyncDedicated


@pytest_asyncio.fixture
async def task(database: DatabaseUrls) -> AsyncIterator[AsyncDedicated]:
    engine = make_async_engine(database.migrator, pool_size=1, steady=True)
    made = AsyncDedicated(engine)
    yield made
    await made.close()
    await engine.dispose()


@pytest.fixture
def thread(database: DatabaseUrls) -> Iterator[Keeper]:
    engine = make_engine(database.migrator, pool_size=1, steady=True)
    made = Dedicated(engine)
    yield Keeper(made)
    made.close()
    engine.dispose()


@pytest.fixture(params=["task", "thread"])
def dedicated(request: pytest.FixtureRequest) -> Kept:
    """A connection of either driver."""
    made: Kept = request.getfixturevalue(request.param)
    return made


def look(db: Session) -> tuple[int, str, str]:
    """Backend, transaction and tenants, the same to statements of both kinds."""
    (row,) = fetch(db, STATE, {})
    assert tuple(row) == tuple(db.execute(STATE).one())
    return row.backend, row.transaction, row.tenants


def fail(db: Session) -> None:
    fetch(db, FAULT, {"number": 0})


async def backend(dedicated: Kept) -> int:
    return (await dedicated.run([TENANT], look))[0]


async def test_each_run_is_one_transaction_that_sees_its_tenants(dedicated: Kept) -> None:
    first, second = await dedicated.run([TENANT, OTHER], look), await dedicated.run([TENANT], look)
    assert (first[2], second[2]) == (f"{TENANT.hex},{OTHER.hex}", TENANT.hex)
    assert first[0] == second[0]
    assert first[1] != second[1]


async def test_what_was_done_is_committed_and_what_failed_is_not(dedicated: Kept) -> None:
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


async def test_a_commit_that_is_refused_is_an_error(dedicated: Kept) -> None:
    def note(db: Session) -> None:
        db.execute(NOTE)

    await dedicated.run([], Session.execute, NOTES)
    await dedicated.run([], note)
    with pytest.raises(DBAPIError) as error:
        await dedicated.run([], note)
    assert getattr(error.value.orig, "sqlstate", None) == "23505"
    assert len(await dedicated.run([TENANT], look)) == 3


async def test_work_that_hides_its_failure_is_found_out_at_the_commit(dedicated: Kept) -> None:
    def hide(db: Session) -> None:
        with pytest.raises(DBAPIError):
            fail(db)

    with pytest.raises(NotCommittedError, match="ROLLBACK"):
        await dedicated.run([TENANT], hide)
    assert len(await dedicated.run([TENANT], look)) == 3


async def test_work_that_was_interrupted_takes_its_connection_with_it(task: AsyncDedicated) -> None:
    before = await backend(task)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await task.run([TENANT], fetch, SLEEP, {"seconds": 5})
    assert await backend(task) != before


@pytest.mark.parametrize("kind", ["fetch", "execute"])
async def test_a_connection_that_is_lost_is_replaced(dedicated: Kept, database: DatabaseUrls, kind: str) -> None:
    def end_and_look(db: Session) -> None:
        end(database, look(db)[0])
        fetch(db, STATE, {}) if kind == "fetch" else db.execute(STATE)

    before = await backend(dedicated)
    with pytest.raises(DBAPIError) as error:
        await dedicated.run([TENANT], end_and_look)
    assert error.value.connection_invalidated
    assert await backend(dedicated) != before


async def test_a_connection_that_was_lost_in_between_is_found_out_at_the_beginning(
    dedicated: Kept, database: DatabaseUrls
) -> None:
    before = await backend(dedicated)
    end(database, before)
    with pytest.raises(DBAPIError) as error:
        await backend(dedicated)
    assert error.value.connection_invalidated
    assert await backend(dedicated) != before


@pytest.mark.parametrize("kind", ["fetch", "execute"])
async def test_who_leads_no_more_is_left_for_the_one_that_does(
    dedicated: Kept, database: DatabaseUrls, kind: str
) -> None:
    def write(db: Session) -> int:
        fetch(db, WRITE, {}) if kind == "fetch" else db.execute(WRITE)
        return look(db)[0]

    # A server that follows another one refuses in the same words.
    with whoever_comes_may_only_read(database):
        before = await backend(dedicated)
    with pytest.raises(DBAPIError, match="read-only transaction") as error:
        await dedicated.run([TENANT], write)
    assert error.value.connection_invalidated
    assert await dedicated.run([TENANT], write) != before


async def test_those_who_wait_for_the_commit_are_told_after_it_and_of_no_rollback(dedicated: Kept) -> None:
    told: list[str] = []

    def work(db: Session, name: str, number: int) -> None:
        db.execute(STATE)
        event.listen(db, "after_commit", lambda _: told.append(name), once=True)
        fetch(db, FAULT, {"number": number})

    with pytest.raises(DBAPIError):
        await dedicated.run([TENANT], work, "failed", 0)
    await dedicated.run([TENANT], work, "committed", 1)
    assert told == ["committed"]


@contextmanager
def whoever_comes_may_only_read(database: DatabaseUrls) -> Iterator[None]:
    name = sql.Identifier(make_url(database.migrator).database or "")
    with psycopg.connect(database.migrator, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


def end(database: DatabaseUrls, pid: int) -> None:
    """Ends a backend; a role may end its own."""
    with psycopg.connect(database.migrator, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
