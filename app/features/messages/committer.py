"""Group commit: one transaction stores what many requests brought, in the order in which they were admitted.

This is the one named exception to "one transaction per request". A request holds no connection while it waits,
a message that cannot be stored fails its own request only, and a client that goes away does not cancel its message.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.features.messages.operations import Accepted, Incoming, Replayed, Result, accept, forget_partitions
from app.features.messages.tracing import trace_commit
from app.kit.db import is_conflict, sqlstate
from app.kit.dedicated import AsyncDedicated
from app.kit.errors import Kind, Problem
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import (
    ACCEPT_SECONDS,
    COMMIT_BATCH,
    COMMIT_SECONDS,
    COMMIT_WAITING,
    MESSAGES,
    exemplar,
)
from app.kit.telemetry.trace_context import Carried

Outcome = Result | Exception
Waiting = tuple[Incoming, asyncio.Future[Outcome]]
# Connections, resources, operators, the server's own disk.
OUTAGE = ("08", "53", "57", "58")
PARTITION_GONE = "23514"
RETRIES = 8
PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 1.0
logger = get_logger(__name__)
_ACCEPTED, _REPEATED = MESSAGES.labels("accepted"), MESSAGES.labels("repeated")


class Committer:
    """Owns the connection that stores messages; one for each process, run by `run`.

    `wake` is called for each batch, with the spans that are recorded of it, `count` with the organisation of each
    message that was accepted.
    """

    def __init__(
        self,
        connection: AsyncDedicated,
        *,
        batch: int,
        wake: Callable[[Sequence[Carried]], None],
        count: Callable[[UUID], None],
    ) -> None:
        self._connection = connection
        self._queue: deque[Waiting] = deque()
        self._unanswered: deque[tuple[float, asyncio.Future[Outcome]]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._batch = batch
        self._wake = wake
        self._count = count
        self._filled = asyncio.Event()
        self._closing = False
        COMMIT_WAITING.set_function(lambda: len(self._queue))

    async def accept(self, incoming: Incoming) -> Accepted | Replayed:
        """Returns when the message is durable; raises the Problem that refused it."""
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        result: asyncio.Future[Outcome] = loop.create_future()
        self._queue.append((incoming, result))
        self._filled.set()
        self._unanswered.append((loop.time() + PATIENCE_SECONDS, result))
        if self._alarm is None:
            self._alarm = loop.call_later(LOOK_SECONDS, self._look)
        # A request that is cancelled takes the future with it, never the message.
        outcome = await result
        if isinstance(outcome, Exception):
            raise outcome
        ACCEPT_SECONDS.observe(time.perf_counter() - began, exemplar(incoming.traceparent))
        return outcome

    async def run(self) -> None:
        """Commits batch after batch until `close`, and what is left then."""
        while not self._closing or self._queue:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
            await self._commit([self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))])

    def _look(self) -> None:
        """Gives up on those who have waited too long; a timer for each would cost more than the waiting."""
        loop = asyncio.get_running_loop()
        while self._unanswered and (self._unanswered[0][1].done() or self._unanswered[0][0] <= loop.time()):
            _tell(self._unanswered.popleft()[1], _late())
        self._alarm = loop.call_later(LOOK_SECONDS, self._look) if self._unanswered else None

    def close(self) -> None:
        """Lets `run` end once the queue is empty."""
        self._closing = True
        self._filled.set()

    async def _commit(self, batch: Sequence[Waiting]) -> None:
        if not batch:
            return
        began, incomings = time.time_ns(), [incoming for incoming, _ in batch]
        try:
            results = await self._store(incomings)
        except Exception as error:  # noqa: BLE001 whatever it is, the next batch must not wait for it
            trace_commit(incomings, began, error)
            await self._recover(batch, error)
            return
        _measure(results, (time.time_ns() - began) / 1e9)
        for (incoming, waiting), result in zip(batch, results, strict=True):
            if isinstance(result, Accepted) and incoming.organisation_id is not None:
                self._count(incoming.organisation_id)
            _tell(waiting, result)
        self._wake(trace_commit(incomings, began))

    async def _store(self, batch: Sequence[Incoming]) -> list[Result]:
        for _ in range(RETRIES):
            try:
                return await self._transact(batch)
            except DBAPIError as error:
                if not is_conflict(error) and sqlstate(error) != PARTITION_GONE:
                    raise
                forget_partitions()
        return await self._transact(batch)

    async def _transact(self, batch: Sequence[Incoming]) -> list[Result]:
        return await self._connection.run({one.environment_id for one in batch}, accept, batch)

    async def _recover(self, batch: Sequence[Waiting], error: Exception) -> None:
        """One bad message must not fail its neighbours; an outage fails all of them."""
        if len(batch) > 1 and not is_outage(error):
            for one in batch:
                await self._commit([one])
            return
        if not is_outage(error) and not is_conflict(error):
            logger.error("message_not_stored", exc_info=error)
        for _, waiting in batch:
            _tell(waiting, _refusal(error))


def _measure(results: Sequence[Result], seconds: float) -> None:
    """Of a commit; what it refused is counted with all that was refused, by its answer."""
    COMMIT_BATCH.observe(len(results))
    COMMIT_SECONDS.observe(seconds)
    _ACCEPTED.inc(sum(isinstance(one, Accepted) for one in results))
    _REPEATED.inc(sum(isinstance(one, Replayed) for one in results))


def _tell(waiting: asyncio.Future[Outcome], result: Outcome) -> None:
    if not waiting.done():
        waiting.set_result(result)


def _refusal(error: Exception) -> Problem | Exception:
    if is_outage(error) or is_conflict(error):
        return Problem(Kind.unavailable, "unavailable", "The message was not stored; try again", retry_after=1)
    return error


def is_outage(error: Exception) -> bool:
    """Whether the database is out of reach, rather than unwilling."""
    if isinstance(error, DBAPIError):
        state = sqlstate(error)
        return error.connection_invalidated or not state or state.startswith(OUTAGE)
    return isinstance(error, OSError | PoolTimeoutError | asyncpg.PostgresError | asyncpg.InterfaceError)


def _late() -> Problem:
    detail = (
        "The database is slow to answer; whether the message was stored is unknown. Repeat it with its idempotency key"
    )
    return Problem(Kind.unavailable, "unavailable", detail, retry_after=1)
