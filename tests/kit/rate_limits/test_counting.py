"""Exact limits hold to the request over processes, blocks to their bound, and both know what to do without Redis."""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from app.kit.circuit import CONNECTIONS, REST_SECONDS
from app.kit.rate_limits import blocks as block_limits
from app.kit.rate_limits import exact as exact_limits
from app.kit.rate_limits.blocks import PARTS, Blocks, Meter, block_of
from app.kit.rate_limits.exact import Exact, OwnWindows
from app.kit.rate_limits.policy import Identity, Policy
from app.kit.rate_limits.store import Store
from tests.kit.rate_limits.own_redis import own_redis
from tests.kit.rate_limits.spenders import PATIENT, spend_blocks, spend_exactly, together
from tests.servers import Servers

DAY = 86_400
HUNDRED = Policy("test-key", 100, DAY)
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def somebody() -> Identity:
    return Identity("key", secrets.token_hex(8))


@pytest_asyncio.fixture
async def store(servers: Servers) -> AsyncIterator[Store]:
    opened = Store(servers.redis_url, PATIENT)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def no_store() -> AsyncIterator[Store]:
    opened = Store(NOWHERE)
    yield opened
    await opened.close()


def meter(store: Store, *policies: Policy, identity: Identity) -> Meter:
    kinds = [f"{identity.kind}{number}" for number in range(len(policies))]
    blocks = Blocks(store, list(zip(kinds, policies, strict=True)))
    return blocks.make((identity.text,), [Identity(kind, identity.text) for kind in kinds])


async def spent(one: Meter, tries: int) -> int:
    return sum([await one.wait() is None for _ in range(tries)])


def a_crowd() -> list[Identity]:
    return [Identity("ip", secrets.token_hex(8)) for _ in range(30)]


async def nobody_asks(_: object) -> None:
    pytest.fail("Redis was asked")


class TestExact:
    @pytest.mark.acceptance("L01")
    def test_exactly_as_many_are_allowed_as_processes_ask_at_once(self, servers: Servers, somebody: Identity) -> None:
        allowed = together(spend_exactly, servers.redis_url, HUNDRED, somebody, [80, 80, 80, 80], at_once=16)
        assert sum(allowed) == 100

    async def test_what_remains_is_told_and_when_there_is_more(self, store: Store, somebody: Identity) -> None:
        exact, policy = Exact(store), Policy("test-key", 3, 60)
        standings = [await exact.take(policy, somebody) for _ in range(4)]
        assert [(one.allowed, one.remaining) for one in standings] == [(True, 2), (True, 1), (True, 0), (False, 0)]
        assert all(55 < one.reset <= 60 for one in standings)

    async def test_the_window_moves(self, store: Store, somebody: Identity) -> None:
        exact, policy = Exact(store), Policy("test-key", 1, 1)
        assert (await exact.take(policy, somebody)).allowed
        refused = await exact.take(policy, somebody)
        assert not refused.allowed
        await asyncio.sleep(refused.reset + 0.01)
        assert (await exact.take(policy, somebody)).allowed

    async def test_identities_do_not_spend_for_each_other(self, store: Store, somebody: Identity) -> None:
        exact, policy = Exact(store), Policy("test-key", 1, DAY)
        for identity in (somebody, Identity("ip", somebody.text), Identity("key", somebody.text + "2")):
            assert (await exact.take(policy, identity)).allowed
            assert not (await exact.take(policy, identity)).allowed

    async def test_what_is_full_is_refused_without_asking(
        self, store: Store, somebody: Identity, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exact, policy = Exact(store), Policy("test-key", 1, DAY)
        for _ in range(2):
            await exact.take(policy, somebody)
        monkeypatch.setattr(store, "ask", nobody_asks)
        refused = await exact.take(policy, somebody)
        assert (refused.allowed, refused.remaining) == (False, 0)
        assert DAY - 60 < refused.reset <= DAY

    async def test_looking_spends_nothing_and_sees_what_others_spent(self, store: Store, somebody: Identity) -> None:
        exact, other, two = Exact(store), Exact(store), Policy("test-look", 2, DAY)
        assert [(await exact.look(two, somebody)).remaining for _ in range(3)] == [2, 2, 2]
        await other.take(two, somebody)
        assert (await exact.look(two, somebody)).remaining == 1
        await other.take(two, somebody)
        standing = await exact.look(two, somebody)
        assert (standing.allowed, standing.remaining) == (False, 0)
        assert 0 < standing.reset <= DAY

    @pytest.mark.acceptance("L03")
    async def test_looking_without_redis_sees_the_own_count(self, no_store: Store, somebody: Identity) -> None:
        exact, two = Exact(no_store), Policy("test-look", 2, DAY)
        assert (await exact.look(two, somebody)).remaining == 2
        for _ in range(2):
            await exact.take(two, somebody)
        assert not (await exact.look(two, somebody)).allowed

    @pytest.mark.acceptance("L03")
    async def test_without_redis_a_process_counts_exactly_by_itself(self, no_store: Store, somebody: Identity) -> None:
        exact = Exact(no_store)
        assert sum([(await exact.take(HUNDRED, somebody)).allowed for _ in range(150)]) == 100

    @pytest.mark.acceptance("L03")
    async def test_what_was_spent_before_an_outage_counts_in_it(self, somebody: Identity) -> None:
        with own_redis() as server:
            store = Store(server.url, PATIENT)
            exact = Exact(store)
            before = sum([(await exact.take(HUNDRED, somebody)).allowed for _ in range(60)])
        after = sum([(await exact.take(HUNDRED, somebody)).allowed for _ in range(60)])
        await store.close()
        assert (before, after) == (60, 40)

    async def test_those_who_are_too_many_to_remember_are_limited_too(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exact_limits, "REMEMBERED", 10)
        exact, policy, crowd = Exact(store), Policy("test-ip", 2, DAY), a_crowd()
        rounds = [[(await exact.take(policy, one)).allowed for one in crowd] for _ in range(4)]
        assert rounds == [[True] * 30] * 2 + [[False] * 30] * 2


class TestOwnWindows:
    def test_they_move(self) -> None:
        windows, policy = OwnWindows(), Policy("p", 2, 10)
        taken = [windows.take(policy, "key", now).allowed for now in (0.0, 6.0, 9.9, 10.0, 10.1, 16.0)]
        assert taken == [True, True, False, True, False, True]

    def test_whoever_was_silent_longest_is_forgotten(self) -> None:
        windows, policy = OwnWindows(most=2), Policy("p", 1, 10)
        for key in ("a", "b", "c"):
            assert windows.take(policy, key, 0).allowed
        assert not windows.take(policy, "c", 1).allowed
        assert windows.take(policy, "a", 1).allowed


class TestBlocks:
    def test_a_block_is_a_twentieth_and_at_least_one(self) -> None:
        assert [block_of(Policy("p", amount, 60)) for amount in (1, 19, 20, 100, 6000)] == [1, 1, 1, 5, 300]

    @pytest.mark.parametrize("amount", [1, 7, 100, 1009])
    async def test_one_process_lets_through_exactly_the_limit(
        self, store: Store, somebody: Identity, amount: int
    ) -> None:
        assert await spent(meter(store, Policy("p", amount, DAY), identity=somebody), amount + 30) == amount

    @pytest.mark.acceptance("L01")
    def test_processes_let_through_no_more_than_the_limit_and_at_most_a_block_each_less(
        self, servers: Servers, somebody: Identity
    ) -> None:
        policy = Policy("p", 2000, DAY)
        modest = together(spend_blocks, servers.redis_url, policy, somebody, [1, 1, 1])
        (greedy,) = together(spend_blocks, servers.redis_url, policy, somebody, [2500])
        assert modest == [1, 1, 1]
        assert 2000 - len(modest) * block_of(policy) <= greedy + sum(modest) < 2000

    def test_processes_that_all_want_more_let_through_the_limit(self, servers: Servers, somebody: Identity) -> None:
        policy = Policy("p", 1000, DAY)
        assert sum(together(spend_blocks, servers.redis_url, policy, somebody, [1000, 1000, 1000])) == 1000

    async def test_who_has_spent_no_more_is_asked_for_ahead_of_need(self, store: Store, somebody: Identity) -> None:
        one = meter(store, Policy("p", 100_000, DAY), identity=somebody)
        assert not one.take(time.time())
        assert await one.wait() is None
        waited = 0
        for _ in range(50_000):
            if not one.take(time.time()):
                waited += 1
                assert await one.wait() is None
            await asyncio.sleep(0)
        assert waited < 50_000 / block_of(Policy("p", 100_000, DAY)) * 2

    async def test_the_narrowest_of_several_limits_decides_and_the_others_are_not_spent(
        self, store: Store, somebody: Identity
    ) -> None:
        wide, narrow = Policy("wide", 100, DAY), Policy("narrow", 20, DAY)
        one = meter(store, wide, narrow, identity=somebody)
        assert await spent(one, 50) == 20
        refused = await one.wait()
        assert refused is not None
        assert (refused.policy, refused.remaining) == (narrow, 0)
        assert b'"wide";r=80;' in one.fields(time.time() + 1)[1][1]

    async def test_those_who_are_too_many_to_remember_are_limited_too(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(block_limits, "REMEMBERED", 10)
        blocks, crowd = Blocks(store, [("ip", Policy("p", 2, DAY))]), a_crowd()
        rounds = [[await blocks.make((one.text,), [one]).wait() is None for one in crowd] for _ in range(4)]
        assert rounds == [[True] * 30] * 2 + [[False] * 30] * 2

    async def test_a_new_window_is_a_new_start(self, store: Store, somebody: Identity) -> None:
        one = meter(store, Policy("p", 5, 1), identity=somebody)
        refused = None
        while refused is None:
            refused = await one.wait()
        await asyncio.sleep(refused.reset + 0.01)
        assert await one.wait() is None

    @pytest.mark.acceptance("L03")
    async def test_without_redis_everything_is_let_through_and_told_no_remainder(
        self, no_store: Store, somebody: Identity
    ) -> None:
        one = meter(no_store, Policy("p", 5, DAY), identity=somebody)
        assert await spent(one, 100) == 100
        assert [name for name, _ in one.fields(time.time())] == [b"ratelimit-policy"]

    def test_a_process_holds_no_more_than_a_block(self) -> None:
        for amount in range(1, 5000):
            policy = Policy("p", amount, 60)
            portion = max(1, block_of(policy) * 2 // 3)
            assert max(0, portion // 2 - 1) + portion <= block_of(policy), amount
        assert PARTS == 20


@pytest.mark.acceptance("L03")
async def test_an_outage_is_short_for_each_request_and_logged_once_as_is_its_end(
    somebody: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="app.kit.circuit")
    with own_redis() as server:
        store = Store(server.url, PATIENT)
        exact = Exact(store)
        assert (await exact.take(HUNDRED, somebody)).allowed
        server.stop()
        started = time.monotonic()
        for _ in range(50):
            await exact.take(HUNDRED, somebody)
        assert time.monotonic() - started < REST_SECONDS
        assert caplog.messages == ["redis_unavailable"]
        server.start()
        await asyncio.sleep(2 * REST_SECONDS)
        for _ in range(10):
            await exact.take(HUNDRED, somebody)
        assert caplog.messages == ["redis_unavailable", "redis_available"]
        await store.close()


async def test_the_end_of_an_outage_is_seen_where_nobody_asks(somebody: Identity) -> None:
    with own_redis() as server:
        store = Store(server.url, PATIENT)
        server.stop()
        assert await store.ask(lambda: store.counters.incr(somebody.text, DAY)) is None
        assert away() == 1
        server.start()
        for _ in range(10):
            await asyncio.sleep(REST_SECONDS / 2)
            if away() == 0:
                break
        assert away() == 0
        await store.close()


def away() -> float | None:
    """What is told of Redis, as far as limits need it."""
    return REGISTRY.get_sample_value("postrider_redis_unavailable", {"use": "limits"})


async def test_a_crowd_is_no_outage(store: Store, somebody: Identity, caplog: pytest.LogCaptureFixture) -> None:
    exact = Exact(store)
    found = await asyncio.gather(*(exact.take(HUNDRED, somebody) for _ in range(500)))
    assert sum(one.allowed for one in found) == 100
    assert caplog.records == []


async def test_an_answer_that_comes_too_late_is_nobody_elses(
    somebody: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is late is so by the loop's clock, which the test puts forward once the server has every question."""
    with own_redis() as server:
        store, other = Store(server.url, PATIENT), Store(server.url, PATIENT)
        await asyncio.gather(*(store.ask(lambda: store.counters.incr("warm", DAY)) for _ in range(20)))
        client = Redis.from_url(server.url)
        await client.client_pause(600_000, all=False)
        late = [asyncio.create_task(store.ask(lambda: store.counters.incr("late", DAY, 1000))) for _ in range(20)]
        await until(lambda: kept_waiting(client), CONNECTIONS)
        put_forward(PATIENT, monkeypatch)
        assert await asyncio.gather(*late) == [None] * 20
        await client.client_unpause()
        assert await other.ask(lambda: other.counters.incr("other", DAY)) == 1
        put_forward(REST_SECONDS, monkeypatch)
        await until(is_away, 0)
        for number in range(1, 50):
            assert await store.ask(lambda: store.counters.incr(somebody.text, DAY)) == number
        for one in (store, other):
            await one.close()
        await client.aclose()


async def kept_waiting(client: Redis) -> int:
    """How many clients of the server have asked something that it does not do yet."""
    return sum("b" in one["flags"] for one in await client.client_list())


async def is_away() -> float | None:
    return away()


async def until(look: Callable[[], Awaitable[float | None]], wanted: float) -> None:
    for _ in range(3000):
        if await look() == wanted:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


def put_forward(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes it so much later for whatever waits in this loop."""
    loop = asyncio.get_running_loop()
    before = loop.time
    monkeypatch.setattr(loop, "time", lambda: before() + seconds)


async def test_a_server_that_says_nothing_is_waited_for_only_once_a_second(somebody: Identity) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = Store(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        exact, started = Exact(store), time.monotonic()
        assert sum([(await exact.take(HUNDRED, somebody)).allowed for _ in range(150)]) == 100
        assert time.monotonic() - started < REST_SECONDS
        await store.close()
