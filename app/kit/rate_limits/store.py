"""The counters that all processes share, in Redis; nobody waits for a server that does not answer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

T = TypeVar("T")
PATIENCE_SECONDS = 0.2
REST_SECONDS = 1.0
CONNECTIONS = 16
KEYS = "postrider:limits"
logger = logging.getLogger(__name__)


class Store:
    """A circuit around Redis: after a failure nothing is asked for a second, and then one question first.

    An outage is logged once, and so is its end. A question takes `patience` seconds at most, from when it is its turn:
    a crowd of questions is no outage.
    """

    def __init__(self, url: str, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=patience,
            socket_timeout=patience,
            socket_connect_timeout=patience,
            retry=Retry(NoBackoff(), 0),
        )
        self.counters = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix=KEYS,
            connection_pool=self._pool,  # type: ignore[arg-type] # it is documented beside the options
        )
        self.windows = MovingWindowRateLimiter(self.counters)
        self._turns = asyncio.Semaphore(CONNECTIONS)
        self._is_out = False
        self._ask_at = 0.0

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None while Redis is out."""
        if self._rests():
            return None
        async with self._turns:
            if self._rests():
                return None
            self._ask_at = time.monotonic() + REST_SECONDS
            try:
                async with asyncio.timeout(self._patience):
                    answer = await question()
            except (RedisError, OSError, TimeoutError) as error:
                self._fail(error)
                return None
        self._recover()
        return answer

    async def close(self) -> None:
        """Gives the connections back."""
        await self._pool.disconnect()

    def _rests(self) -> bool:
        return self._is_out and time.monotonic() < self._ask_at

    def _fail(self, error: Exception) -> None:
        self._ask_at = time.monotonic() + REST_SECONDS
        if not self._is_out:
            self._is_out = True
            logger.warning(
                "Redis is out of reach (%s): sign-in and administration are limited by each process alone,"
                " ingest, reads and writes are not limited",
                type(error).__name__,
            )

    def _recover(self) -> None:
        if self._is_out:
            self._is_out = False
            logger.warning("Redis answers again: limits are shared by all processes")
