"""Answers that take the same time, whatever they found."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def lasting(seconds: float) -> AsyncIterator[None]:
    """A block that takes so long, also when it fails: what is done in it does not show in the time it took."""
    until = time.monotonic() + seconds
    try:
        yield
    finally:
        await asyncio.sleep(until - time.monotonic())
