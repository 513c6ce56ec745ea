"""Whether somebody is alone, as one process and as several know it."""

import mmap
import multiprocessing

import pytest

from app.kit.clock import new_id
from app.kit.presence import Presence

PERIOD, NOTED = 2.0, 0.1
ONE, OTHER, THIRD = new_id(), new_id(), new_id()


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, mmap.PAGESIZE)


def test_one_party_is_alone(memory: mmap.mmap) -> None:
    presence = Presence(PERIOD, memory)
    assert [presence.is_company(ONE, 100 + NOTED * turn) for turn in range(50)] == [False] * 50


def test_two_are_company_until_one_stays_away_for_the_period(memory: mmap.mmap) -> None:
    here, there = Presence(PERIOD, memory), Presence(PERIOD, memory)
    assert not here.is_company(ONE, 100)
    assert there.is_company(OTHER, 100)
    assert here.is_company(ONE, 100 + NOTED)
    assert here.is_company(ONE, 100 + PERIOD - NOTED)
    assert not here.is_company(ONE, 100 + PERIOD)


def test_of_many_the_latest_two_are_known(memory: mmap.mmap) -> None:
    presence = Presence(PERIOD, memory)
    for turn, party in enumerate([ONE, OTHER, THIRD, ONE, OTHER, THIRD]):
        presence.is_company(party, 100 + NOTED * turn)
    assert presence.is_company(THIRD, 101)
    assert not presence.is_company(THIRD, 103)


def test_a_process_knows_whom_its_siblings_see(memory: mmap.mmap) -> None:
    here = Presence(PERIOD, memory)
    sibling = multiprocessing.get_context("fork").Process(target=Presence(PERIOD, memory).is_company, args=(OTHER, 100))
    sibling.start()
    sibling.join(10)
    assert sibling.exitcode == 0
    assert here.is_company(ONE, 100)
