"""Collects in memory what need not be stored at once, and hands it over together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from app.kit.telemetry.logs import get_logger

FLUSH_SECONDS = 5.0
# What is handed over together must not hold up the loop for long.
MOST = 1000
Key = TypeVar("Key")
Item = TypeVar("Item")
logger = get_logger(__name__)


class Batches(Generic[Key, Item]):
    """Items by key, handed to `flush` every few seconds and at the end; what cannot be flushed is kept for next time.

    There are at most `most` keys. For one event loop.
    """

    def __init__(
        self,
        flush: Callable[[Mapping[Key, Item]], Awaitable[None]],
        merge: Callable[[Item, Item], Item],
        *,
        most: int = MOST,
        seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._flush = flush
        self._merge = merge
        self._most = most
        self._seconds = seconds
        self._items: dict[Key, Item] = {}
        self._turn = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, key: Key, item: Item, *, beyond: bool = False) -> bool:
        """Takes an item, joined to the one of its key; False when there is no room, unless it may go `beyond`."""
        known = self._items.get(key)
        if known is None and len(self._items) >= self._most and not beyond:
            return False
        self._items[key] = item if known is None else self._merge(known, item)
        return True

    async def flush(self) -> None:
        """Hands over what is there. Raises what `flush` raised; then all of it is kept."""
        async with self._turn:
            items, self._items = self._items, {}
            try:
                if items:
                    await self._flush(items)
            except BaseException:
                newer, self._items = self._items, items
                for key, item in newer.items():
                    self.add(key, item, beyond=True)
                raise

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Flushes every few seconds within the block, and at its end."""
        ended = asyncio.Event()
        task = asyncio.create_task(self._run(ended), name="batches")
        try:
            yield
        finally:
            # It is not cancelled: what was stored in that moment would be stored again.
            ended.set()
            await task
            if self._items:
                logger.error("batch_lost", items=len(self._items))

    async def _run(self, ended: asyncio.Event) -> None:
        is_last = False
        while not is_last:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), self._seconds)
            is_last = ended.is_set()
            try:
                await self.flush()
            except Exception:
                logger.exception("batch_not_stored", effect="it is kept and tried again")
