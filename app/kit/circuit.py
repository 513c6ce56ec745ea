"""A circuit around Redis: nobody waits for a server that does not answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import REDIS_AWAY

T = TypeVar("T")
PATIENCE_SECONDS = 0.2
REST_SECONDS = 1.0
TRIAL_MILLISECONDS = 1000
CONNECTIONS = 16
logger = get_logger(__name__)


def pool_of(url: str, patience: float) -> BlockingConnectionPool:
    """Connections that nobody waits for longer than for an answer."""
    return BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=patience,
        socket_timeout=patience,
        socket_connect_timeout=patience,
        retry=Retry(NoBackoff(), 0),
    )


class Circuit:
    """After a failure nothing is asked until a `trial`, which is made each second, has gone well.

    A trial writes: a server that is full or a replica answers what only reads. An outage is logged once with what it
    means (`without`), and so is its end (`again`), for what Redis is asked for (`use`). A question takes `patience`
    seconds at most, from when it is its turn: a crowd of questions, of which `turns` are asked at once, is no outage.
    """

    def __init__(
        self, patience: float, turns: int, without: str, again: str, *, use: str, trial: Callable[[], Awaitable[object]]
    ) -> None:
        self._patience = patience
        self._use = use
        self._away = REDIS_AWAY.labels(use)
        self._without, self._again = without, again
        self._turns = asyncio.Semaphore(turns)
        self._is_out = False
        self._trial = trial
        self._looking: asyncio.Task[None] | None = None

    async def ask(self, question: Callable[[], Awaitable[T]], *, insist: bool = False) -> T | None:
        """The answer; None while Redis is out. Who insists is heard also then."""
        if self._is_out and not insist:
            return None
        async with self._turns:
            if self._is_out and not insist:
                return None
            try:
                async with asyncio.timeout(self._patience):
                    return await question()
            except (RedisError, OSError, TimeoutError) as error:
                self._fail(error)
                return None

    def stop(self) -> None:
        """Looks no more whether an outage has ended."""
        if self._looking is not None:
            self._looking.cancel()

    def _fail(self, error: Exception) -> None:
        if not self._is_out:
            self._is_out = True
            self._away.set(1)
            logger.warning("redis_unavailable", use=self._use, error=type(error).__name__, effect=self._without)
            if self._looking is None or self._looking.done():
                # It belongs to no request, least of all to the one that failed.
                name = f"looking for Redis ({self._use})"
                self._looking = asyncio.create_task(self._look(), name=name, context=Context())

    async def _look(self) -> None:
        while self._is_out:
            await asyncio.sleep(REST_SECONDS)
            try:
                is_back = await self.ask(self._trial, insist=True) is not None
            except Exception:
                logger.exception("redis_trial_failed", use=self._use, effect="it is tried again")
            else:
                self._is_out = not is_back
        self._away.set(0)
        logger.warning("redis_available", use=self._use, effect=self._again)
