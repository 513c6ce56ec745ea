"""What is ended at one process is over at all of them, with Redis, without it, and after it forgot everything."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio
from click.testing import CliRunner
from redis.asyncio import Redis

from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from app.kit.cache import ENTRY, LIFE_SECONDS
from tests.api.client import new_tenant
from tests.kit.rate_limits.own_redis import OwnRedis, own_redis
from tests.people.visitor import Known, Visitor, new_person
from tests.servers import process_environment
from tests.system import System, prepared_system

PROCESSES = 3
ROUNDS = 24
"""So many new connections are taken by all processes, as good as always."""


@pytest.fixture(scope="module")
def redis_server() -> Iterator[OwnRedis]:
    with own_redis() as server:
        yield server


@pytest.fixture(scope="module")
def api(database: DatabaseUrls, redis_server: OwnRedis) -> Iterator[System]:
    """Several processes of the API and nothing else."""
    # On a busy machine an answer of Redis may take longer than anybody would wait.
    patient = {"POSTRIDER_LIMITS__PATIENCE_SECONDS": "1.0"}
    with prepared_system({**process_environment(database, redis_server.url), **patient}) as system:
        system.start_api(PROCESSES)
        yield system


@pytest_asyncio.fixture
async def redis(redis_server: OwnRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        yield client


@pytest_asyncio.fixture
async def lines() -> AsyncIterator[aiohttp.ClientSession]:
    """A new connection for each request."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        yield http


@pytest.fixture
def known(api: System) -> Known:
    return new_person(api.sessions, new_tenant(api.sessions).organisation_id)


@pytest_asyncio.fixture
async def browsers(api: System, lines: aiohttp.ClientSession, known: Known) -> tuple[Visitor, Visitor]:
    """The same person twice."""
    both = Visitor(lines, api.url), Visitor(lines, api.url)
    for one in both:
        assert (await one.sign_in(known.email)).status == 303
    return both


async def answers(visitor: Visitor) -> set[int]:
    """How all the processes answer."""
    return {(await visitor.get("/account")).status for _ in range(ROUNDS)}


async def end_others(visitor: Visitor) -> None:
    assert (await visitor.submit("/account/sessions/others", at="/account/sessions")).status == 303


@pytest.mark.acceptance("S02")
async def test_every_process_refuses_it_from_the_next_request_on(browsers: tuple[Visitor, Visitor]) -> None:
    one, other = browsers
    assert (await answers(one), await answers(other)) == ({200}, {200})
    await end_others(one)
    assert (await answers(other), await answers(one)) == ({303}, {200})


@pytest.mark.acceptance("S02")
async def test_what_redis_forgets_is_still_known(browsers: tuple[Visitor, Visitor], redis: Redis) -> None:
    one, other = browsers
    await end_others(one)
    await redis.flushall()
    assert (await answers(other), await answers(one)) == ({303}, {200})


@pytest.mark.acceptance("S05")
async def test_whoever_a_command_locks_out_is_out_at_every_process(
    browsers: tuple[Visitor, Visitor], api: System, known: Known
) -> None:
    for one in browsers:
        assert await answers(one) == {200}
    done = CliRunner(env=api.environment).invoke(main, ["users", "disable", known.email])
    assert done.exit_code == 0, done.output
    for one in browsers:
        assert await answers(one) == {303}


async def test_sessions_are_found_in_redis(browsers: tuple[Visitor, Visitor], redis: Redis, known: Known) -> None:
    assert await answers(browsers[0]) == {200}
    assert await redis.keys(f"{ENTRY}session/{known.id.hex}/*")


@pytest.mark.acceptance("S02")
async def test_a_redis_that_hangs_while_it_is_ended_delays_that_by_seconds(
    browsers: tuple[Visitor, Visitor], redis: Redis
) -> None:
    one, other = browsers
    assert await answers(other) == {200}
    assert (await one.get("/account/sessions")).status == 200
    await redis.client_pause(3500)
    ended_at = time.monotonic()
    await end_others(one)
    await asyncio.sleep(max(0.0, LIFE_SECONDS - (time.monotonic() - ended_at)))
    assert (await answers(other), await answers(one)) == ({303}, {200})


@pytest.mark.acceptance("S02")
async def test_without_redis_it_is_over_at_once_and_stays_so(
    browsers: tuple[Visitor, Visitor], redis_server: OwnRedis
) -> None:
    one, other = browsers
    assert await answers(other) == {200}
    redis_server.stop()
    try:
        assert await answers(other) == {200}
        await end_others(one)
        assert (await answers(other), await answers(one)) == ({303}, {200})
    finally:
        redis_server.start()
    assert (await answers(other), await answers(one)) == ({303}, {200})
