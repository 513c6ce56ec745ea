"""How many events each organisation has had accepted this month, and whether it may have more.

Each process counts for itself, and adds to the table about once a second; then it learns what the others added. A quota
is exceeded by no more than what other processes accept in the last two seconds, and what is being stored just then.
What a process counted in its last second is lost when it is killed. Redis has no part in it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.organisations import usage_queries as queries
from app.kit.arrays import transpose
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.kit.errors import Kind, Problem
from app.kit.telemetry.logs import get_logger

FLUSH_SECONDS = 1.0
# What was not read for so long is read again before it is relied on.
KNOWN_SECONDS = 5.0
LONGEST_RETRY = timedelta(hours=1)
OUTAGES = (SQLAlchemyError, PostgresError, InterfaceError, OSError)
logger = get_logger(__name__)


@dataclass(slots=True)
class _Known:
    """An organisation's quota and its use as the table had it; `used` says whether anyone asked since."""

    quota: int | None
    events: int
    until: float
    used: bool = True


class Usage:
    """Counts accepted events and refuses those beyond a quota; one for each process, run by `run`."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._known: dict[UUID, _Known] = {}
        self._counted: defaultdict[UUID, int] = defaultdict(int)
        self._adding: Mapping[UUID, int] = {}
        self._reading: dict[UUID, asyncio.Task[None]] = {}
        self._closing = asyncio.Event()

    def count(self, organisation_id: UUID) -> None:
        """Notes one accepted event."""
        self._counted[organisation_id] += 1

    def check(self, organisation_id: UUID) -> bool:
        """Whether it is known that there may be more; where not, `learn` is to be awaited.

        Problem `limit_reached` when the month's events are used up.
        """
        known = self._known.get(organisation_id)
        if known is None or time.monotonic() >= known.until:
            return False
        known.used = True
        if known.quota is not None:
            self._hold_to(known.quota, known.events + self._own(organisation_id))
        return True

    async def learn(self, organisation_id: UUID) -> None:
        """Reads the organisation's quota and use, once for all that wait for it; then raises what `check` does."""
        reading = self._reading.get(organisation_id)
        if reading is None:
            reading = self._reading[organisation_id] = asyncio.create_task(self._learn(organisation_id))
            reading.add_done_callback(lambda _: self._reading.pop(organisation_id))
        await asyncio.shield(reading)
        self.check(organisation_id)

    async def run(self) -> None:
        """Adds what was counted each second until `close`, and what is left then."""
        while not self._closing.is_set():
            try:
                await asyncio.wait_for(self._closing.wait(), FLUSH_SECONDS)
            except TimeoutError:
                await self._try_flush()
        await self._try_flush()

    def close(self) -> None:
        """Lets `run` end."""
        self._closing.set()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except OUTAGES as error:
            logger.warning("usage_not_stored", error=type(error).__name__, effect="it is added later")
        except Exception:
            logger.exception("usage_not_stored", effect="it is added later")

    async def flush(self) -> None:
        """Adds what was counted, and reads back the totals of the organisations in use. Raises what a session does."""
        used = self._take_used()
        self._adding, self._counted = self._counted, defaultdict(int)
        try:
            if used or self._adding:
                async with self._sessions.begin() as db:
                    await self._add(db)
                    await self._read(db, used | self._adding.keys())
        except BaseException:
            for one, events in self._adding.items():
                self._counted[one] += events
            raise
        finally:
            self._adding = {}
        self._known = {one: known for one, known in self._known.items() if known.used or one in used}

    def _take_used(self) -> set[UUID]:
        """The organisations that were asked about since the table was."""
        used = {one for one, known in self._known.items() if known.used}
        for one in used:
            self._known[one].used = False
        return used

    def _own(self, organisation_id: UUID) -> int:
        """What is not in the table yet, as far as this process knows."""
        return self._counted.get(organisation_id, 0) + self._adding.get(organisation_id, 0)

    def _hold_to(self, quota: int, events: int) -> None:
        if events >= quota:
            raise _exceeded(quota, utc_now())

    async def _learn(self, organisation_id: UUID) -> None:
        async with self._sessions.begin() as db:
            await self._read(db, [organisation_id])

    async def _add(self, db: AsyncSession) -> None:
        if self._adding:
            await db.run_sync(enter_tenants, self._adding)
            rows = sorted(self._adding.items())
            await db.execute(queries.add(), transpose(rows, "organisation_id", "events"))

    async def _read(self, db: AsyncSession, organisations: Collection[UUID]) -> None:
        await db.run_sync(enter_tenants, organisations)
        rows = [(one,) for one in organisations]
        until = time.monotonic() + KNOWN_SECONDS
        for row in await db.execute(queries.standings(), transpose(rows, "organisation_id")):
            known = self._known.get(row.id)
            self._known[row.id] = _Known(row.monthly_events, row.events, until, known is None or known.used)


def _exceeded(quota: int, now: datetime) -> Problem:
    next_month = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    wait = min(next_month - now, LONGEST_RETRY)
    detail = f"The {quota} events of this month are used up; ask for a larger quota, or try again next month"
    return Problem(Kind.too_many, "limit_reached", detail, retry_after=wait.total_seconds(), word="quota_exceeded")
