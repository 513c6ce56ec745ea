"""Ids: they rise, also when the clock does not, and no process makes those of another."""

import os

import pytest

from app.domain.ids import timestamp
from app.kit.clock import IdSource, utc_now

MANY = 10_000


def test_ids_rise_and_tell_when_they_were_made() -> None:
    new_id = IdSource()
    before = utc_now()
    made = [new_id() for _ in range(MANY)]
    assert made == sorted(set(made))
    assert abs((timestamp(made[0]) - before).total_seconds()) < 1
    assert len({one.bytes[8:] for one in made}) == MANY


def test_they_rise_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    new_id, moments = IdSource(), iter([2_000_000_000, 1_000_000_000, 3_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(moments))
    made = [new_id() for _ in range(3)]
    assert made == sorted(set(made))


def test_a_forked_process_makes_others() -> None:
    new_id = IdSource()
    new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, new_id().bytes)
        finally:
            # Whatever happens, the child must not go on with the tests.
            os._exit(0)
    os.waitpid(child, 0)
    its = os.read(reading, 16)
    os.close(reading)
    os.close(writing)
    assert its[8:] != new_id().bytes[8:]
