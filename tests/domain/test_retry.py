"""Retries: schedules, jitter, Retry-After."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import retry

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DICE = st.floats(0, 1, exclude_max=True)
SCHEDULES = st.lists(st.integers(0, retry.MAX_DELAY), min_size=1, max_size=20)


def test_default_schedule() -> None:
    assert retry.DEFAULT_SCHEDULE == (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600)
    assert retry.validate_schedule(retry.DEFAULT_SCHEDULE) == retry.DEFAULT_SCHEDULE


@pytest.mark.parametrize(
    ("endpoint", "event_type", "organisation", "expected"),
    [
        ((1,), (2,), (3,), (1,)),
        (None, (2,), (3,), (2,)),
        (None, None, [3], (3,)),
        (None, None, None, retry.DEFAULT_SCHEDULE),
    ],
)
def test_nearest_schedule_wins(
    endpoint: tuple[int, ...] | None,
    event_type: tuple[int, ...] | None,
    organisation: list[int] | None,
    expected: tuple[int, ...],
) -> None:
    assert retry.schedule_for(endpoint, event_type, organisation) == expected


@given(SCHEDULES, st.data(), DICE)
def test_jitter_stays_within_a_fifth(schedule: list[int], data: st.DataObject, dice: float) -> None:
    made = data.draw(st.integers(0, len(schedule) - 1))
    delay = retry.next_delay(schedule, made, dice)
    assert delay is not None
    assert delay == pytest.approx(schedule[made], rel=0.2000001)


@given(SCHEDULES, st.integers(0, 5), DICE)
def test_no_try_is_left_after_the_last(schedule: list[int], beyond: int, dice: float) -> None:
    assert retry.next_delay(schedule, len(schedule) + beyond, dice) is None


@pytest.mark.parametrize(("dice", "expected"), [(0.0, 240.0), (0.5, 300.0), (0.75, 330.0)])
def test_dice_moves_the_delay(dice: float, expected: float) -> None:
    assert retry.next_delay(retry.DEFAULT_SCHEDULE, 2, dice) == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad",
    [[], [0] * 21, [-1], [retry.MAX_DELAY + 1], [True]],
    ids=["empty", "long", "negative", "late", "bool"],
)
def test_bad_schedules_are_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="retry schedule"):
        retry.validate_schedule(bad)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 64, 1e64),
        ("9" * 65, None),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sunday, 01-Mar-26 12:01:30 GMT", 90.0),
        ("Sun Mar  1 12:01:30 2026", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 99 Mar 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert retry.parse_retry_after(value, NOW) == (pytest.approx(expected) if expected is not None else None)


@given(st.one_of(st.text(), st.from_regex(r"\w{3}, \d{1,9} \w{3} \d{1,9} \d+:\d+:\d+ \S{0,9}")))
def test_any_retry_after_is_seconds_or_none(value: str) -> None:
    seconds = retry.parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("delay", "asked", "expected"),
    [
        (None, 60.0, None),
        (5.0, None, 5.0),
        (5.0, float("nan"), 5.0),
        (5.0, 60.0, 60.0),
        (300.0, 60.0, 300.0),
        (5.0, 1e64, 86400.0),
        (90000.0, 1e64, 90000.0),
    ],
)
def test_w06_retry_after_is_honoured_within_bounds(
    delay: float | None, asked: float | None, expected: float | None
) -> None:
    """W06: the endpoint may postpone, up to a day, and never hasten or revive."""
    assert retry.honour_retry_after(delay, asked) == expected
