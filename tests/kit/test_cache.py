"""What is remembered for a moment by all processes, and forgotten by all at once."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from app.kit import cache as module
from app.kit.cache import EPOCH, LIFE_SECONDS, Cache, forget_from_outside
from app.kit.circuit import REST_SECONDS
from app.kit.encryption import KeyRing
from tests.kit.rate_limits.own_redis import OwnRedis, own_redis
from tests.servers import Servers

PATIENCE = 20.0
RING = KeyRing.parse({"one": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}, "one")


@pytest_asyncio.fixture
async def caches(servers: Servers) -> AsyncIterator[tuple[Cache, Cache]]:
    """Those of two processes."""
    both = Cache(servers.redis_url, RING, PATIENCE), Cache(servers.redis_url, RING, PATIENCE)
    yield both
    for one in both:
        await one.close()


@pytest_asyncio.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    async with Redis.from_url(servers.redis_url) as client:
        yield client


@pytest.fixture
def key() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def owner() -> UUID:
    return uuid4()


async def test_what_one_process_kept_another_finds(caches: tuple[Cache, Cache], key: str, owner: UUID) -> None:
    one, other = caches
    await one.put(await one.get(key, [owner]), b"value")
    assert (await other.get(key, [owner])).value == b"value"


async def test_what_is_forgotten_by_one_is_forgotten_by_all(caches: tuple[Cache, Cache], key: str, owner: UUID) -> None:
    one, other = caches
    organisation = uuid4()
    for forgotten in (owner, organisation):
        await one.put(await one.get(key, [owner, organisation]), b"value")
        await other.forget(forgotten)
        assert (await one.get(key, [owner, organisation])).value is None


async def test_commands_and_workers_let_it_be_forgotten_too(
    caches: tuple[Cache, Cache], servers: Servers, key: str, owner: UUID
) -> None:
    one, _ = caches
    await one.put(await one.get(key, [owner]), b"value")
    forget_from_outside(servers.redis_url, [owner])
    assert (await one.get(key, [owner])).value is None


async def test_who_asked_before_it_was_forgotten_keeps_nothing(
    caches: tuple[Cache, Cache], key: str, owner: UUID
) -> None:
    one, other = caches
    asked_before = await one.get(key, [owner])
    await other.forget(owner)
    await one.put(asked_before, b"stale")
    assert (await other.get(key, [owner])).value is None


async def test_who_asked_before_everything_was_lost_keeps_nothing(
    caches: tuple[Cache, Cache], redis: Redis, key: str, owner: UUID
) -> None:
    one, other = caches
    asked_before = await one.get(key, [owner])
    await other.forget(owner)
    await redis.delete(EPOCH + owner.hex)
    await one.put(asked_before, b"stale")
    assert (await other.get(key, [owner])).value is None


async def test_nothing_is_older_than_its_life(caches: tuple[Cache, Cache], redis: Redis, key: str, owner: UUID) -> None:
    one, _ = caches
    looked = await one.get(key, [owner])
    await one.put(looked, b"value")
    assert await redis.pttl(module.ENTRY + key) <= LIFE_SECONDS * 1000
    late = module.Looked(key + "late", None, looked.epochs, time.monotonic() - LIFE_SECONDS)
    await one.put(late, b"value")
    assert (await one.get(key + "late", [owner])).value is None


async def test_what_lies_there_is_sealed_for_its_key(
    caches: tuple[Cache, Cache], redis: Redis, key: str, owner: UUID
) -> None:
    one, _ = caches
    await one.put(await one.get(key, [owner]), b"somebody")
    entry = await redis.get(module.ENTRY + key)
    assert isinstance(entry, bytes)
    assert b"somebody" not in entry
    await redis.set(module.ENTRY + key + "other", entry, ex=5)
    assert (await one.get(key + "other", [owner])).value is None
    await redis.set(module.ENTRY + key, b"forged \xff", ex=5)
    assert (await one.get(key, [owner])).value is None


async def test_an_outage_costs_next_to_nothing_and_ends_by_itself(key: str, owner: UUID) -> None:
    with own_redis() as server:
        one = Cache(server.url, RING)
        await one.put(await one.get(key, [owner]), b"value")
        server.stop()
        started = time.monotonic()
        for _ in range(200):
            looked = await one.get(key, [owner])
            assert looked.value is None
            await one.put(looked, b"value")
        await one.forget(owner)
        assert time.monotonic() - started < REST_SECONDS
        await _found_again(server, one, key, owner)
        await one.close()


@pytest.mark.parametrize("refusal", [("CONFIG", "SET", "maxmemory", "1"), ("REPLICAOF", "127.0.0.1", "1")])
async def test_a_server_that_answers_and_keeps_nothing_is_one_outage(
    key: str, owner: UUID, caplog: pytest.LogCaptureFixture, refusal: tuple[str, ...]
) -> None:
    with own_redis() as server:
        one, client = Cache(server.url, RING, PATIENCE), Redis.from_url(server.url)
        await one.put(await one.get(key, [owner]), b"value")
        await client.execute_command(*refusal)  # type: ignore[no-untyped-call]
        until = time.monotonic() + 3 * REST_SECONDS
        while time.monotonic() < until:
            await one.put(await one.get(key, [owner]), b"value")
            await asyncio.sleep(0.05)
        await client.aclose()
        await one.close()
    assert caplog.messages == ["redis_unavailable"]


async def _found_again(server: OwnRedis, one: Cache, key: str, owner: UUID) -> None:
    server.start()
    for _ in range(100):
        looked = await one.get(key, [owner])
        if looked.value is not None:
            return
        await one.put(looked, b"value")
        await asyncio.sleep(0.05)
    pytest.fail("it is still out")
