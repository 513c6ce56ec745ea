"""What is looked at, rather than counted: pools of connections, and how late an event loop comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import Engine, QueuePool

from app.kit.telemetry.metrics import BUILD, LOOP_LAG, POOL_CONNECTIONS, POOL_LIMIT

LOOK_SECONDS = 0.25


def watch_pool(name: str, engine: Engine) -> None:
    """Has it seen, whenever somebody looks, how many connections of the engine's pool are in use, and of how many."""
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    POOL_CONNECTIONS.labels(name).set_function(pool.checkedout)
    POOL_LIMIT.labels(name).set(pool.size() + max(0, pool._max_overflow))  # noqa: SLF001 it is told to nobody


@asynccontextmanager
async def watched_loop() -> AsyncIterator[None]:
    """Measures within the block how much later than it asked the event loop wakes somebody."""
    watching = asyncio.create_task(watch_loop(), name="loop lag")
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def watch_loop() -> None:
    """Measures it for ever."""
    loop = asyncio.get_running_loop()
    while True:
        asked = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        LOOP_LAG.observe(max(0.0, loop.time() - asked))


def say_build(revision: str, component: str) -> None:
    """Says what this process is."""
    BUILD.labels(revision, component).set(1)
