"""What is collected in memory is handed over, whatever fails in between, and takes a bounded room."""

import asyncio
import logging
from collections.abc import Mapping

import pytest

from app.kit.batches import Batches
from tests.lines import fields_of


class Store:
    """Keeps what it is given, unless it is away."""

    def __init__(self) -> None:
        self.kept: list[dict[str, int]] = []
        self.away = False
        self.came = asyncio.Event()

    async def take(self, items: Mapping[str, int]) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise ConnectionError("away")
        self.kept.append(dict(items))
        self.came.set()


def collecting(store: Store, **options: float) -> Batches[str, int]:
    seconds, most = options.get("seconds", 3600.0), int(options.get("most", 10))
    return Batches(store.take, lambda one, other: one + other, seconds=seconds, most=most)


async def test_items_of_a_key_are_joined() -> None:
    store = Store()
    batches = collecting(store)
    for key in "aab":
        batches.add(key, 1)
    await batches.flush()
    await batches.flush()
    assert store.kept == [{"a": 2, "b": 1}]


async def test_what_is_there_is_handed_over_every_so_often_and_at_the_end() -> None:
    store = Store()
    batches = collecting(store, seconds=0.01)
    async with batches.running():
        batches.add("a", 1)
        await asyncio.wait_for(store.came.wait(), 5)
        batches.add("b", 1)
    assert store.kept == [{"a": 1}, {"b": 1}]


async def test_what_could_not_be_stored_is_kept_for_the_next_time() -> None:
    store = Store()
    batches = collecting(store)
    batches.add("a", 1)
    store.away = True
    with pytest.raises(ConnectionError):
        await batches.flush()
    batches.add("a", 1)
    store.away = False
    await batches.flush()
    assert store.kept == [{"a": 2}]


async def test_what_comes_while_a_batch_fails_is_kept_too() -> None:
    store = Store()
    batches = collecting(store)
    batches.add("a", 1)
    store.away = True
    failing = asyncio.create_task(batches.flush())
    await asyncio.sleep(0)
    batches.add("b", 1)
    with pytest.raises(ConnectionError):
        await failing
    store.away = False
    await batches.flush()
    assert store.kept == [{"a": 1, "b": 1}]


async def test_beyond_the_room_new_keys_are_refused_and_known_ones_are_not() -> None:
    batches = collecting(Store(), most=2)
    assert [batches.add(key, 1) for key in "abca"] == [True, True, False, True]
    assert batches.add("c", 1, beyond=True)
    assert len(batches) == 3


async def test_the_timer_outlives_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    batches = collecting(store, seconds=0.01)
    store.away = True
    async with batches.running():
        batches.add("a", 1)
        while "batch_not_stored" not in caplog.messages:  # noqa: ASYNC110 a log has no event
            await asyncio.sleep(0.01)
        store.away = False
        await asyncio.wait_for(store.came.wait(), 5)
    assert store.kept == [{"a": 1}]


async def test_what_is_lost_at_the_end_is_said(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.away = True
    with caplog.at_level(logging.ERROR):
        async with collecting(store).running():
            pass
        assert not caplog.text
        batches = collecting(store)
        async with batches.running():
            batches.add("a", 1)
    (line,) = [one for one in caplog.records if one.msg == "batch_lost"]
    assert fields_of(line) == {"items": 1}
