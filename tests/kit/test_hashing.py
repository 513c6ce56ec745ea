"""Passwords are hashed beside the event loop, a few at a time, and unknown people take as long as known ones."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from app.kit.errors import Kind, Problem
from app.kit.hashing import Hasher


@pytest.fixture
def hasher() -> Iterator[Hasher]:
    with closing(Hasher(threads=1)) as made:
        yield made


async def test_a_password_is_the_whole_of_its_characters(hasher: Hasher) -> None:
    password = "ä" * 100 + "-the end"
    stored = await hasher.hash(password)
    assert stored.startswith("$argon2id$")
    assert not hasher.is_outdated(stored)
    assert await hasher.verify(stored, password)
    assert not await hasher.verify(stored, password[:73])


async def test_where_nothing_is_stored_nothing_is_right(hasher: Hasher) -> None:
    assert not await hasher.verify(None, "")
    assert not await hasher.verify("no hash", "no hash")


async def test_the_loop_goes_on_meanwhile(hasher: Hasher) -> None:
    hashing = asyncio.create_task(hasher.hash("a password"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 3


async def test_who_waits_too_long_is_told_to_come_back(hasher: Hasher) -> None:
    stored = await hasher.hash("a password")
    began = time.monotonic()
    tried = await asyncio.gather(*(hasher.verify(stored, "another") for _ in range(200)), return_exceptions=True)
    busy = [one for one in tried if isinstance(one, Problem)]
    assert busy
    assert {(one.kind, one.retry_after) for one in busy} == {(Kind.unavailable, 1.0)}
    assert time.monotonic() - began < 5
    assert await hasher.verify(stored, "a password")
