"""The group commit: durable before it answers, and nobody's fault is another's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cli.dev.ports import any_free
from app.cli.dev.roles import DatabaseUrls
from app.features.messages.committer import Committer
from app.features.messages.operations import Accepted, Once, Replayed
from app.kit.clock import new_id
from app.kit.db import make_async_engine, table_of
from app.kit.dedicated import AsyncDedicated
from app.kit.errors import Kind, Problem
from app.models import IdempotencyKey, Message
from tests.servers import Servers
from tests.worker.house import App, House
from tests.worker.quarrel import quarrelling

Running = Callable[..., Any]


@pytest.fixture
def app(house: House) -> App:
    return house.app()


@asynccontextmanager
async def running(
    engine: AsyncEngine,
    *,
    batch: int = 128,
    wake: Callable[[Sequence[bytes]], None] = lambda _: None,
    count: Callable[[UUID], None] = lambda _: None,
) -> AsyncIterator[Committer]:
    """A committer as a process of the API runs it."""
    connection = AsyncDedicated(engine)
    committer = Committer(connection, batch=batch, wake=wake, count=count)
    task = asyncio.create_task(committer.run())
    try:
        yield committer
    finally:
        committer.close()
        await asyncio.wait_for(task, 10)
        await connection.close()


async def outcomes(*waiting: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*waiting, return_exceptions=True)


class TestCommitting:
    async def test_it_answers_when_the_message_is_committed(
        self, house: House, api_engine: AsyncEngine, app: App
    ) -> None:
        async with running(api_engine) as committer:
            one = app.incoming()
            assert await committer.accept(one) == Accepted(one.message_id, 0)
            assert [message.id for message in house.messages(app)] == [one.message_id]

    async def test_what_comes_together_is_committed_together(
        self, house: House, api_engine: AsyncEngine, app: App
    ) -> None:
        wakes: list[int] = []
        async with running(api_engine, wake=lambda _causes: wakes.append(1)) as committer:
            await outcomes(*(committer.accept(app.incoming()) for _ in range(100)))
        assert len(wakes) <= 3
        with house.sessions() as db:
            transactions = db.scalars(select(text("DISTINCT xmin::text")).select_from(table_of(Message))).all()
        assert len(transactions) <= 3
        assert len(house.messages(app)) == 100

    async def test_a_repeated_request_is_answered_as_before(self, api_engine: AsyncEngine, app: App) -> None:
        key = Once(new_id().bytes, b"body", 202)
        async with running(api_engine) as committer:
            await committer.accept(app.incoming(once=key, response=b"first"))
            assert await committer.accept(app.incoming(once=key)) == Replayed(202, b"first")

    async def test_what_is_refused_fails_its_own_request(self, api_engine: AsyncEngine, app: App) -> None:
        nowhere = App(app.environment_id, new_id())
        async with running(api_engine) as committer:
            results = await outcomes(*(committer.accept(one.incoming()) for one in (app, nowhere, app)))
        assert isinstance(results[1], Problem)
        assert results[1].kind == Kind.not_found
        assert [type(one) for one in results[::2]] == [Accepted, Accepted]

    async def test_what_the_database_refuses_fails_its_own_request(
        self, house: House, api_engine: AsyncEngine, app: App
    ) -> None:
        bad = app.incoming(event_type="nul \0")
        async with running(api_engine) as committer:
            results = await outcomes(*(committer.accept(one) for one in (app.incoming(), bad, app.incoming())))
        assert [isinstance(one, Accepted) for one in results] == [True, False, True]
        assert isinstance(results[1], Exception)
        assert len(house.messages(app)) == 2

    async def test_what_breaks_the_code_fails_its_own_request_and_not_the_next(
        self, api_engine: AsyncEngine, app: App
    ) -> None:
        broken: Any = None
        bad = app.incoming(expires_at=broken)
        async with running(api_engine) as committer:
            results = await outcomes(*(committer.accept(one) for one in (app.incoming(), bad)))
            assert [type(one) for one in results] == [Accepted, AttributeError]
            assert isinstance(await committer.accept(app.incoming()), Accepted)

    async def test_a_client_that_goes_away_does_not_cancel_its_message(
        self, house: House, api_engine: AsyncEngine, app: App
    ) -> None:
        async with running(api_engine) as committer:
            gone = asyncio.create_task(committer.accept(app.incoming()))
            stays = asyncio.create_task(committer.accept(app.incoming()))
            await asyncio.sleep(0)
            gone.cancel()
            assert isinstance(await stays, Accepted)
        assert gone.cancelled()
        assert len(house.messages(app)) == 2

    async def test_closing_commits_what_waits(self, house: House, api_engine: AsyncEngine, app: App) -> None:
        async with running(api_engine, batch=5) as committer:
            waiting = [asyncio.create_task(committer.accept(app.incoming())) for _ in range(23)]
            await asyncio.sleep(0)
        assert all(isinstance(one, Accepted) for one in await asyncio.gather(*waiting))
        assert len(house.messages(app)) == 23


class TestOutage:
    async def test_an_unreachable_database_is_said_to_all(self, database: DatabaseUrls, app: App) -> None:
        port = str(any_free())
        there = psycopg.conninfo.conninfo_to_dict(database.api)["port"]
        engine = make_async_engine(database.api.replace(f":{there}/", f":{port}/"), pool_size=1)
        async with running(engine) as committer:
            results = await outcomes(*(committer.accept(app.incoming()) for _ in range(3)))
        await engine.dispose()
        assert [(one.kind, one.retry_after) for one in results] == [(Kind.unavailable, 1)] * 3

    async def test_when_the_server_ends_its_connections_nothing_is_half_stored_and_it_goes_on(
        self, house: House, api_engine: AsyncEngine, app: App, servers: Servers, database: DatabaseUrls
    ) -> None:
        house.endpoint(app)
        async with running(api_engine) as committer:
            await committer.accept(app.incoming())
            terminate(servers, database)
            results = await outcomes(*(committer.accept(app.incoming()) for _ in range(5)))
            assert {one.kind for one in results} == {Kind.unavailable}
            assert len(house.messages(app)) == len(house.due()) == 1
            assert isinstance(await committer.accept(app.incoming()), Accepted)

    async def test_a_deadlock_is_tried_again(self, house: House, api_engine: AsyncEngine, app: App) -> None:
        keys = [Once(bytes([number]) * 32, b"body", 202) for number in (1, 2)]
        async with running(api_engine) as committer:
            with house.sessions() as other:
                other.execute(self.taking(app, keys[1]))
                waiting = [asyncio.create_task(committer.accept(app.incoming(once=key))) for key in keys]
                await self.until_somebody_waits(house)
                await asyncio.to_thread(other.execute, self.taking(app, keys[0]))
                other.rollback()
            assert all(isinstance(one, Accepted) for one in await asyncio.gather(*waiting))

    async def test_a_conflict_that_does_not_end_is_no_fault_of_ours(
        self, house: House, api_engine: AsyncEngine, app: App, database: DatabaseUrls
    ) -> None:
        with quarrelling(database, "messages"):
            async with running(api_engine) as committer:
                results = await outcomes(*(committer.accept(app.incoming()) for _ in range(2)))
        assert [(one.kind, one.retry_after) for one in results] == [(Kind.unavailable, 1)] * 2
        assert house.messages(app) == []

    @staticmethod
    def taking(app: App, once: Once) -> Any:  # noqa: ANN401 a statement
        values = {
            "environment_id": app.environment_id,
            "key": once.key,
            "body_digest": b"",
            "status": 1,
            "response": b"",
        }
        return insert(table_of(IdempotencyKey)).values(values)

    @staticmethod
    async def until_somebody_waits(house: House) -> None:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
        for _ in range(200):
            with house.sessions() as db:
                if db.scalar(waiting):
                    return
            await asyncio.sleep(0.01)
        pytest.fail("nobody waits for the lock")

    async def test_a_partition_that_was_dropped_is_made_again(
        self, house: House, api_engine: AsyncEngine, app: App
    ) -> None:
        noon = datetime.combine(date(2034, 5, 6), time(12), UTC)
        async with running(api_engine) as committer:
            await committer.accept(app.incoming(expires_at=noon))
            with house.sessions.begin() as db:
                assert db.scalar(text("SELECT drop_partition('payloads', '2034-05-06')"))
            assert isinstance(await committer.accept(app.incoming(expires_at=noon)), Accepted)


def terminate(servers: Servers, database: DatabaseUrls) -> None:
    """Ends the API's connections to the module's database."""
    named = psycopg.conninfo.conninfo_to_dict(database.api)
    statement = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND usename = %s"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(statement, [named["dbname"], named["user"]])
