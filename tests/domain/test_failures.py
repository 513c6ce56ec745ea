"""Who fails waits, the longer the more often."""

from itertools import accumulate

from app.domain.failures import STOP, is_stopped, wait


def test_a_few_failures_cost_nothing() -> None:
    assert [wait(failures).total_seconds() for failures in range(5)] == [0] * 5


def test_after_five_one_waits_and_each_time_longer() -> None:
    waits = [wait(failures) for failures in range(5, 11)]
    assert waits == sorted(set(waits))


def test_no_fifteen_minutes_hold_more_than_ten_failures() -> None:
    moments = list(accumulate((wait(failures).total_seconds() for failures in range(1, 40)), initial=0.0))
    for first in moments:
        assert sum(first <= one < first + 15 * 60 for one in moments) <= 10


def test_a_hundred_failures_are_a_stop() -> None:
    assert [is_stopped(failures) for failures in (STOP - 1, STOP, STOP + 1)] == [False, True, True]
    assert STOP == 100
