"""Group commit: one transaction stores what many requests brought, fairly between organisations.

This is the one named exception to "one transaction per request". A request holds no connection while it waits,
a message that cannot be stored fails its own request only, and a client that goes away does not cancel its message.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from uuid import UUID

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.messages.operations import Accepted, Incoming, Replayed, Result, accept, forget_partitions, too_many
from app.kit.errors import Kind, Problem

Outcome = Result | Exception
Waiting = tuple[Incoming, asyncio.Future[Outcome]]
# Connections, a server that is a replica now, resources, operators, the server's own disk.
OUTAGE = ("08", "25006", "53", "57", "58")
# Deadlocks and conflicts, and a partition that is gone.
REPEATED = ("40", "23514")
RETRIES = 3
PATIENCE_SECONDS = 10.0
logger = logging.getLogger(__name__)


class FairQueue:
    """Messages waiting, first in first out within an organisation, in turns between organisations."""

    def __init__(self, limit: int, limit_per_organisation: int) -> None:
        self._limit = limit
        self._share = limit_per_organisation
        self._length = 0
        self._queues: OrderedDict[UUID, deque[Waiting]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def is_full_for(self, organisation_id: UUID) -> bool:
        """Whether the organisation has as much waiting as may be.

        When everyone together has, that is an even part of the whole: those who fill the queue keep nobody else out.
        """
        mine = len(self._queues.get(organisation_id, ()))
        if mine >= self._share or self._length < self._limit:
            return mine >= self._share
        everyone = len(self._queues) + (organisation_id not in self._queues)
        return mine >= self._limit // everyone

    def put(self, waiting: Waiting) -> None:
        """Adds one; Problem `too_many` when there is no room."""
        organisation_id = waiting[0].organisation_id
        if self.is_full_for(organisation_id):
            detail = "Too many messages of your organisation are waiting to be stored; slow down"
            raise too_many(detail, retry_after=1)
        self._queues.setdefault(organisation_id, deque()).append(waiting)
        self._length += 1

    def take(self, most: int) -> list[Waiting]:
        """Removes up to `most`, one of each organisation in turn."""
        taken: list[Waiting] = []
        while self._queues and len(taken) < most:
            organisation_id, queue = self._queues.popitem(last=False)
            taken.append(queue.popleft())
            if queue:
                self._queues[organisation_id] = queue
        self._length -= len(taken)
        return taken


class Committer:
    """Owns the session that stores messages; one for each process, run by `run`."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        queue: FairQueue,
        *,
        batch: int,
        wake: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._queue = queue
        self._batch = batch
        self._wake = wake
        self._filled = asyncio.Event()
        self._closing = False

    def check_room(self, organisation_id: UUID) -> None:
        """Problem `too_many` when a message of this organisation would be refused; cheap, before it is read."""
        if self._queue.is_full_for(organisation_id):
            raise too_many("Too many messages of your organisation are waiting to be stored; slow down", retry_after=1)

    async def accept(self, incoming: Incoming) -> Accepted | Replayed:
        """Returns when the message is durable; raises the Problem that refused it."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Outcome] = loop.create_future()
        self._queue.put((incoming, result))
        self._filled.set()
        patience = loop.call_later(PATIENCE_SECONDS, _give_up, result)
        try:
            # A request that is cancelled takes the future with it, never the message.
            outcome = await result
        finally:
            patience.cancel()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run(self) -> None:
        """Commits batch after batch until `close`, and what is left then."""
        while not self._closing or len(self._queue):
            if not len(self._queue):
                self._filled.clear()
                await self._filled.wait()
            await self._commit(self._queue.take(self._batch))

    def close(self) -> None:
        """Lets `run` end once the queue is empty."""
        self._closing = True
        self._filled.set()

    async def _commit(self, batch: Sequence[Waiting]) -> None:
        if not batch:
            return
        try:
            results = await self._store([incoming for incoming, _ in batch])
        except Exception as error:  # noqa: BLE001 whatever it is, the next batch must not wait for it
            await self._recover(batch, error)
            return
        for (_, waiting), result in zip(batch, results, strict=True):
            _tell(waiting, result)
        self._wake()

    async def _store(self, batch: Sequence[Incoming]) -> list[Result]:
        for _ in range(RETRIES):
            try:
                return await self._transact(batch)
            except DBAPIError as error:
                if not sqlstate(error).startswith(REPEATED):
                    raise
                forget_partitions()
        return await self._transact(batch)

    async def _transact(self, batch: Sequence[Incoming]) -> list[Result]:
        async with self._sessions.begin() as session:
            return await session.run_sync(accept, batch)

    async def _recover(self, batch: Sequence[Waiting], error: Exception) -> None:
        """One bad message must not fail its neighbours; an outage fails all of them."""
        if len(batch) > 1 and not is_outage(error):
            for one in batch:
                await self._commit([one])
            return
        if not is_outage(error):
            logger.error("a message could not be stored", exc_info=error)
        for _, waiting in batch:
            _tell(waiting, _refusal(error))


def _tell(waiting: asyncio.Future[Outcome], result: Outcome) -> None:
    if not waiting.done():
        waiting.set_result(result)


def _refusal(error: Exception) -> Problem | Exception:
    if is_outage(error):
        return Problem(Kind.unavailable, "unavailable", "The message was not stored; try again", retry_after=1)
    return error


def is_outage(error: Exception) -> bool:
    """Whether the database is out of reach, rather than unwilling."""
    if isinstance(error, DBAPIError):
        state = sqlstate(error)
        return error.connection_invalidated or not state or state.startswith(OUTAGE)
    return isinstance(error, OSError | PoolTimeoutError | asyncpg.PostgresError | asyncpg.InterfaceError)


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's five characters for what went wrong; empty when the server did not say."""
    return str(getattr(error.orig, "sqlstate", "") or "")


def _give_up(waiting: asyncio.Future[Outcome]) -> None:
    _tell(waiting, _late())


def _late() -> Problem:
    detail = (
        "The database is slow to answer; whether the message was stored is unknown. Repeat it with its idempotency key"
    )
    return Problem(Kind.unavailable, "unavailable", detail, retry_after=1)
