"""The counters that all processes share, in Redis; nobody waits for a server that does not answer."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.kit.circuit import CONNECTIONS, PATIENCE_SECONDS, TRIAL_MILLISECONDS, Circuit, pool_of

T = TypeVar("T")
KEYS = "postrider:limits"
TRIAL = "postrider:trial:limits"
OUT = (
    "sign-in and administration are limited by each process alone, ingest, reads and writes are not limited",
    "limits are shared by all processes",
)


class Store:
    """The counters, behind a circuit. A question takes `patience` seconds at most."""

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        self._pool = pool_of(url, patience)
        self.counters = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix=KEYS,
            connection_pool=self._pool,  # type: ignore[arg-type] # it is documented beside the options
        )
        self.windows = MovingWindowRateLimiter(self.counters)
        redis = Redis(connection_pool=self._pool, retry=Retry(NoBackoff(), 0))
        trial = partial(redis.set, TRIAL, 1, px=TRIAL_MILLISECONDS)
        self._circuit = Circuit(patience, CONNECTIONS, *OUT, use="limits", trial=trial)

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None while Redis is out."""
        return await self._circuit.ask(question)

    async def close(self) -> None:
        """Gives the connections back."""
        self._circuit.stop()
        await self._pool.disconnect()
