"""Throttling: the bound over every window, and that nothing starves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.throttle import admit

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RATES = st.integers(1, 2000)
BURSTS = st.one_of(st.none(), st.integers(1, 3000))
STEPS = st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(0, 4000)), min_size=1, max_size=30)


@given(RATES, BURSTS, STEPS)
def test_no_window_gets_more_than_its_share(rate: int, burst: int | None, steps: list[tuple[int, int]]) -> None:
    tat, now, grants = None, NOW, []
    for passed, wanted in steps:
        now += timedelta(microseconds=passed)
        admission = admit(tat, rate, now, wanted, burst)
        tat = admission.tat
        grants.append((now, admission.granted))
    for first, (start, _) in enumerate(grants):
        for last in range(first, len(grants)):
            window = (grants[last][0] - start) // timedelta(microseconds=1) + 1
            total = sum(granted for _, granted in grants[first : last + 1])
            assert total * 1_000_000 <= rate * window + (burst or rate) * 1_000_000


@given(RATES, BURSTS, STEPS)
def test_waiting_until_next_at_is_enough_and_needed(rate: int, burst: int | None, steps: list[tuple[int, int]]) -> None:
    tat, now = None, NOW
    for passed, wanted in steps:
        now += timedelta(microseconds=passed)
        admission = admit(tat, rate, now, wanted, burst)
        tat = admission.tat
        assert now <= admission.next_at
        assert admit(tat, rate, admission.next_at, 1, burst).granted == 1
        if admission.next_at > now:
            earlier = admission.next_at - timedelta(microseconds=1)
            assert admit(tat, rate, max(now, earlier), 1, burst).granted == 0


@given(RATES, BURSTS, st.integers(0, 5000))
def test_an_idle_endpoint_gets_its_whole_burst(rate: int, burst: int | None, wanted: int) -> None:
    size = burst or rate
    assert admit(None, rate, NOW, wanted, burst).granted == min(wanted, size)
    assert admit(NOW - timedelta(days=1), rate, NOW, wanted, burst).granted == min(wanted, size)


def test_a_steady_stream_reaches_the_rate() -> None:
    tat, now, total = None, NOW, 0
    while now < NOW + timedelta(seconds=10):
        admission = admit(tat, 3, now, 5, burst=1)
        tat, now, total = admission.tat, admission.next_at, total + admission.granted
    assert total == 30


def test_asking_for_nothing_spends_nothing() -> None:
    spent = admit(None, 10, NOW, 10)
    asked = admit(spent.tat, 10, NOW, 0)
    assert asked.granted == 0
    assert asked.tat == spent.tat
    assert asked.next_at == NOW + timedelta(milliseconds=100)


@pytest.mark.parametrize(("rate", "burst"), [(0, None), (-1, None), (5, 0)])
def test_a_rate_of_nothing_is_refused(rate: int, burst: int | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        admit(None, rate, NOW, 1, burst)
