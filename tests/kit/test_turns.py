"""Only a little goes on at once; whoever waits too long is told so."""

import asyncio
import time

import pytest

from app.kit.errors import Kind, Problem
from app.kit.turns import Turns


async def test_no_more_go_on_at_once_than_there_are_turns() -> None:
    turns, at_once, most = Turns(3, 5.0), 0, 0

    async def work() -> None:
        nonlocal at_once, most
        async with turns.one():
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.001)
            at_once -= 1

    await asyncio.gather(*(work() for _ in range(30)))
    assert most == 3


async def test_who_waits_too_long_is_refused_and_not_before() -> None:
    turns = Turns(1, 0.1)
    async with turns.one():
        began = time.monotonic()
        with pytest.raises(Problem) as refused:
            async with turns.one():
                pass
        assert time.monotonic() - began >= 0.1
    assert (refused.value.kind, refused.value.retry_after) == (Kind.unavailable, 1.0)
    async with turns.one():
        pass


async def test_a_turn_is_given_back_whatever_happens() -> None:
    turns = Turns(1, 0.1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with turns.one():
                raise ZeroDivisionError


async def test_a_turn_is_followed_by_a_rest_only_while_others_wait() -> None:
    turns, began = Turns(1, 5.0, rest=0.1), time.monotonic()

    async def work() -> float:
        async with turns.one():
            at = time.monotonic() - began
            await asyncio.sleep(0.001)
            return at

    for _ in range(5):
        assert await work() < 0.1
    first, second, third = await asyncio.gather(*(work() for _ in range(3)))
    assert second - first >= 0.09
    assert third - second >= 0.09
