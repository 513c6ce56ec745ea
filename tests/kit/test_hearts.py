"""Loops that stand still are found out; those that have ended, or not begun, are not missed."""

import os
import time

from app.kit.telemetry.hearts import Ward, own_hearts

LIMIT = 0.05


def test_a_loop_that_turns_is_well_and_one_that_stands_still_is_named() -> None:
    hearts = own_hearts(("engine", "transport"))
    assert hearts.fault(LIMIT) is None, "nothing has begun"
    hearts.beat("engine")
    hearts.beat("transport")
    assert hearts.fault(LIMIT) is None
    time.sleep(2 * LIMIT)
    hearts.beat("transport")
    assert hearts.fault(LIMIT) == "the engine has stood still for 0 s"
    hearts.rest("engine")
    assert hearts.fault(LIMIT) is None


def test_a_parent_sees_the_hearts_of_its_children_and_forgets_those_that_are_gone() -> None:
    ward = Ward(("engine",), places=2)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        ward.take(1).beat("engine")
        os.write(writing, b"!")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(reading, 1)
        assert ward.fault(60) is None
        time.sleep(2 * LIMIT)
        assert ward.fault(LIMIT) == f"process {child}: the engine has stood still for 0 s"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    assert ward.fault(LIMIT) is None


def test_whoever_takes_a_place_is_not_judged_by_who_had_it() -> None:
    ward = Ward(("engine",), places=1)
    ward.take(0).beat("engine")
    time.sleep(2 * LIMIT)
    assert ward.fault(LIMIT)
    ward.take(0)
    assert ward.fault(LIMIT) is None
