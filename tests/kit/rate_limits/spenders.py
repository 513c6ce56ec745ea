"""Processes that spend one limit together; each says how many of its requests were allowed."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from app.kit.rate_limits.blocks import Blocks
from app.kit.rate_limits.exact import Exact
from app.kit.rate_limits.policy import Identity, Policy
from app.kit.rate_limits.store import Store

# On a busy machine an answer may take longer than anybody would wait in a request.
PATIENT = 20.0
Spend = Callable[[], Awaitable[bool]]


def spend_exactly(url: str, policy: Policy, identity: Identity, requests: int, at_once: int) -> int:
    return asyncio.run(_spend_exactly(url, policy, identity, requests, at_once))


def spend_blocks(url: str, policy: Policy, identity: Identity, requests: int, at_once: int) -> int:
    return asyncio.run(_spend_blocks(url, policy, identity, requests, at_once))


def together(
    spend: Callable[[str, Policy, Identity, int, int], int],
    url: str,
    policy: Policy,
    identity: Identity,
    requests: list[int],
    at_once: int = 16,
) -> list[int]:
    """How many of its requests each of as many processes was allowed."""
    # Forked from here they would share this process's event loop and connections.
    context = get_context("spawn")
    meet = context.Barrier(len(requests)).wait
    with ProcessPoolExecutor(len(requests), context, initializer=meet) as pool:
        running = [pool.submit(spend, url, policy, identity, number, at_once) for number in requests]
        return [one.result(timeout=60) for one in running]


async def _spend_exactly(url: str, policy: Policy, identity: Identity, requests: int, at_once: int) -> int:
    store = Store(url, PATIENT)
    exact = Exact(store)

    async def spend() -> bool:
        return (await exact.take(policy, identity)).allowed

    try:
        return await _allowed(spend, requests, at_once)
    finally:
        await store.close()


async def _spend_blocks(url: str, policy: Policy, identity: Identity, requests: int, at_once: int) -> int:
    store = Store(url, PATIENT)
    meter = Blocks(store, [(identity.kind, policy)]).make((identity.text,), [identity])

    async def spend() -> bool:
        return await meter.wait() is None

    try:
        return await _allowed(spend, requests, at_once)
    finally:
        await asyncio.gather(*(one for one in asyncio.all_tasks() if one is not asyncio.current_task()))
        await store.close()


async def _allowed(spend: Spend, requests: int, at_once: int) -> int:
    left = iter(range(requests))

    async def run() -> int:
        return sum([await spend() for _ in left])

    return sum(await asyncio.gather(*(run() for _ in range(at_once))))
