"""Work of which only a little may go on at once: whoever comes waits for a turn, and not for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.kit.errors import Kind, Problem

BUSY = "Too many people are signing in at once; try again"


class Turns:
    """So many at once. Who waited for so many seconds is refused, and so takes a connection, but no processor."""

    def __init__(self, most: int, seconds: float) -> None:
        self._seconds = seconds
        self._free = asyncio.Semaphore(most)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A turn. Raises Problem `unavailable` where none came in time."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise Problem(Kind.unavailable, "busy", BUSY, retry_after=1.0) from None
        try:
            yield
        finally:
            self._free.release()
