"""How long an answer takes does not tell what was done for it."""

import asyncio
import time

import pytest

from app.kit.pace import lasting


@pytest.mark.parametrize("work", [0.0, 0.05])
async def test_it_takes_as_long_whatever_is_done(work: float) -> None:
    began = time.monotonic()
    async with lasting(0.1):
        await asyncio.sleep(work)
    assert 0.1 <= time.monotonic() - began < 0.4


async def test_failing_takes_as_long() -> None:
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        async with lasting(0.1):
            raise ZeroDivisionError
    assert time.monotonic() - began >= 0.1
