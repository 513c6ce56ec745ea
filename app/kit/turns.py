"""Work of which only a little may go on at once: whoever comes waits for a turn, and not for long."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.kit.errors import Kind, Problem

BUSY = "Too many people are signing in at once; try again"


class Turns:
    """So many at once. Who waited for so many seconds is refused, and so takes a connection, but no processor.

    Half as long again is waited at most, by chance, so that a crowd that came together does not leave together.
    While others wait, a turn is followed by a rest, which leaves the process to what else it has to do.
    """

    def __init__(self, most: int, seconds: float, rest: float = 0.0) -> None:
        self._seconds = seconds
        self._rest = rest
        self._waiting = 0
        self._free = asyncio.Semaphore(most)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A turn. Raises Problem `unavailable` where none came in time."""
        await self._wait()
        try:
            yield
        finally:
            if self._waiting:
                asyncio.get_running_loop().call_later(self._rest, self._free.release)
            else:
                self._free.release()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            patience = self._seconds * random.uniform(1, 1.5)  # noqa: S311 nobody gains by guessing it
            async with asyncio.timeout(patience):
                await self._free.acquire()
        except TimeoutError:
            raise Problem(Kind.unavailable, "busy", BUSY, retry_after=1.0) from None
        finally:
            self._waiting -= 1
