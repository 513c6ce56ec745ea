"""Who may be read and stored now: organisations in turns, decided before anything of a message is looked at.

What is inside is read, and waits for the commit that it shares with the others inside. Small shares keep both short,
so that what one organisation sends is no more than a few messages ahead of what another does.
"""

import asyncio
import time
from collections import deque
from typing import Never
from uuid import UUID

from app.domain.fair_queue import FairQueue
from app.features.messages.operations import too_many
from app.kit.errors import Kind, Problem
from app.kit.presence import Presence

# Two batches have room: one is committed while the next is read.
BATCHES = 2
# So few that a commit of them takes hardly longer than a commit of one; who sends at its leisure never has as many.
SHARE = 8
PRESENT_SECONDS = 2.0
# Timers are no finer than the least; a commit that was held up must not keep a line beyond its patience.
LEAST_REST_SECONDS, LONGEST_REST_SECONDS = 0.001, 0.25
PATIENCE_SECONDS = 5.0
# A client that repeats at once what was refused would cost as much as one whose messages are taken, so that refusals
# are held for a second and 200 a second leave at most. The last of as many as are held waits for six seconds.
PAUSE_SECONDS = 1.0
PAUSED = 1024
TICK_SECONDS, ANSWERED_PER_TICK = 0.01, 2

Ticket = tuple[UUID, asyncio.Future[None]]


class Admission:
    """One for each process, of one event loop. Whoever has entered must leave."""

    def __init__(self, batch: int, presence: Presence) -> None:
        room = BATCHES * batch
        self._queue: FairQueue[UUID, Ticket] = FairQueue(
            room, share=min(SHARE, room), period=PRESENT_SECONDS, longest_rest=LONGEST_REST_SECONDS
        )
        # One organisation may come to this process and a flood to its neighbours, on the same cores and database.
        self._presence = presence
        self._alarm: asyncio.TimerHandle | None = None
        self._pauses = Pauses()

    async def check(self, environment_id: UUID) -> None:
        """Problem `too_many`, after a pause, when too many messages of the organisation wait already."""
        if self._queue.is_full(environment_id):
            await self._refuse()

    async def enter(self, environment_id: UUID) -> None:
        """Returns when a message of the organisation may be read; raises what `check` does."""
        now = time.monotonic()
        self._queue.has_company = self._presence.is_company(environment_id, now)
        if not self._queue.enter(environment_id, now):
            await self._line_up(environment_id)

    def leave(self, environment_id: UUID) -> None:
        """Lets the next one in."""
        self._admit(self._queue.leave(environment_id, time.monotonic()))

    def _admit(self, tickets: list[Ticket]) -> None:
        while tickets:
            owner, called = tickets.pop(0)
            if called.done():  # gave up
                tickets += self._queue.leave(owner, time.monotonic())
            else:
                called.set_result(None)
        if self._alarm is None and (wake_at := self._queue.wake_at) is not None:
            delay = max(LEAST_REST_SECONDS, wake_at - time.monotonic())
            self._alarm = asyncio.get_running_loop().call_later(delay, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self._admit(self._queue.call(time.monotonic()))

    async def _line_up(self, environment_id: UUID) -> None:
        loop = asyncio.get_running_loop()
        called: asyncio.Future[None] = loop.create_future()
        if not self._queue.line_up(environment_id, (environment_id, called)):
            await self._refuse()
        patience = loop.call_later(PATIENCE_SECONDS, _give_up, called)
        try:
            await called
        except asyncio.CancelledError:
            if not called.cancelled():
                self.leave(environment_id)
            raise
        finally:
            patience.cancel()

    async def _refuse(self) -> Never:
        await self._pauses.pause()
        raise too_many("Too many messages of your organisation are waiting to be stored; slow down", retry_after=1)


def _give_up(called: asyncio.Future[None]) -> None:
    if not called.done():
        detail = "The message was not stored, for those before it take too long; try again"
        called.set_exception(Problem(Kind.unavailable, "unavailable", detail, retry_after=1))


class Pauses:
    """Holds refusals back for a moment and lets them go little by little, however many come together."""

    def __init__(self) -> None:
        self._paused: deque[tuple[float, asyncio.Future[None]]] = deque()

    async def pause(self) -> None:
        """Returns after a pause; at once when too many are paused."""
        if len(self._paused) >= PAUSED:
            return
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        if not self._paused:
            loop.call_later(PAUSE_SECONDS, self._tick)
        self._paused.append((loop.time() + PAUSE_SECONDS, over))
        await over

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(ANSWERED_PER_TICK):
            if self._paused and self._paused[0][0] <= loop.time():
                _, over = self._paused.popleft()
                if not over.done():
                    over.set_result(None)
        if self._paused:
            loop.call_later(max(TICK_SECONDS, self._paused[0][0] - loop.time()), self._tick)
