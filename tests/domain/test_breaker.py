"""The breaker: by value, and as a state machine against a plain model."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.domain import breaker
from app.domain.breaker import HEALTHY, Health
from app.domain.outcome import Failure, Verdict, judge

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OK = judge(200, None)
FAIL = judge(500, None)
SLOW = judge(503, None)
OURS = judge(None, Failure.LOCAL)
DICE = st.floats(0, 1, exclude_max=True)
MIDDLE = 0.5


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def failed(times: int, health: Health = HEALTHY, now: datetime = NOW) -> Health:
    for _ in range(times):
        health = breaker.after(health, FAIL, now, MIDDLE, None)
    return health


def test_opens_at_the_fifth_failure() -> None:
    assert failed(4) == Health(consecutive_failures=4, fail_since=NOW)
    assert failed(5) == Health(consecutive_failures=5, open_until=NOW + seconds(30), opened_times=1, fail_since=NOW)


def test_failures_in_flight_at_opening_do_not_prolong_it() -> None:
    late = failed(3, failed(5), NOW + seconds(10))
    assert late.open_until == NOW + seconds(30)
    assert late.consecutive_failures == 8


def test_back_off_doubles_to_a_quarter_of_an_hour() -> None:
    health, waits = failed(5), []
    for _ in range(8):
        assert health.open_until is not None
        moment = health.open_until
        health = breaker.after(health, FAIL, moment, MIDDLE, None)
        assert health.open_until is not None
        waits.append((health.open_until - moment).total_seconds())
    assert waits == [60, 120, 240, 480, 900, 900, 900, 900]


def test_half_open_lets_one_probe_through() -> None:
    health = failed(5)
    assert health.open_until is not None
    assert breaker.allowance(health, NOW + seconds(29), 0, 8) == 0
    probing = breaker.probe(health, health.open_until)
    assert probing.probing
    assert breaker.allowance(health, health.open_until, 0, 8) == 1
    assert breaker.allowance(probing, health.open_until, 1, 8) == 0
    assert breaker.after(probing, OK, health.open_until, MIDDLE, None) == HEALTHY


def test_a_probe_that_died_with_its_worker_is_replaced() -> None:
    health = replace(failed(5), probing=True)
    assert breaker.allowance(health, NOW + seconds(60), 0, 8) == 1


def test_only_a_half_open_breaker_probes() -> None:
    assert breaker.probe(HEALTHY, NOW) == HEALTHY
    assert breaker.probe(failed(5), NOW) == failed(5)


def test_our_own_fault_changes_nothing_but_the_probe() -> None:
    health = replace(failed(5), probing=True)
    assert breaker.after(health, OURS, NOW + seconds(60), MIDDLE, None) == failed(5)


@pytest.mark.parametrize(("in_flight", "expected"), [(0, 8), (3, 5), (8, 0), (9, 0)])
def test_closed_fills_the_cap(in_flight: int, expected: int) -> None:
    assert breaker.allowance(HEALTHY, NOW, in_flight, 8) == expected


@pytest.mark.parametrize(("retry_after", "wait"), [(None, 5.0), (0.0, 1.0), (20.0, 20.0), (1e64, 3600.0)])
def test_w06_slow_down_waits_within_bounds(retry_after: float | None, wait: float) -> None:
    """W06: what slows an endpoint down is honoured, capped."""
    health = breaker.after(HEALTHY, SLOW, NOW, MIDDLE, retry_after)
    assert health.slow_until == NOW + seconds(wait)
    assert breaker.next_check(health, NOW) == health.slow_until
    assert breaker.allowance(health, NOW, 0, 8) == 0
    assert breaker.allowance(health, NOW + seconds(wait), 0, 8) == 8


def test_a_shorter_slow_down_does_not_replace_a_longer_one() -> None:
    health = breaker.after(HEALTHY, SLOW, NOW, MIDDLE, 60)
    assert breaker.after(health, SLOW, NOW, MIDDLE, 2).slow_until == NOW + seconds(60)


def test_success_keeps_a_slow_down_that_lasts_and_drops_one_that_passed() -> None:
    health = breaker.after(HEALTHY, SLOW, NOW, MIDDLE, 60)
    assert breaker.after(health, OK, NOW, MIDDLE, None) == Health(slow_until=NOW + seconds(60))
    assert breaker.after(health, OK, NOW + seconds(60), MIDDLE, None) == HEALTHY


def test_next_check_is_the_later_of_both_waits() -> None:
    health = replace(failed(5), slow_until=NOW + seconds(90))
    assert breaker.next_check(health, NOW) == NOW + seconds(90)
    assert breaker.next_check(failed(5), NOW) == NOW + seconds(30)
    assert breaker.next_check(failed(5), NOW + seconds(30)) is None
    assert breaker.next_check(HEALTHY, NOW) is None


@pytest.mark.parametrize(
    ("since", "expected"), [(None, False), (NOW, False), (NOW - timedelta(days=5) + seconds(1), False),
                            (NOW - timedelta(days=5), True)],
)  # fmt: skip
def test_disables_after_five_days(since: datetime | None, expected: bool) -> None:  # noqa: FBT001
    assert breaker.should_disable(Health(fail_since=since), NOW) is expected


@given(DICE, st.integers(0, 10**6))
def test_jitter_stays_within_a_fifth(dice: float, opened: int) -> None:
    health = replace(failed(4), opened_times=opened)
    until = breaker.after(health, FAIL, NOW, dice, None).open_until
    assert until is not None
    base = min(30 * 2 ** min(opened, 10), 900)
    assert base * 0.8 <= (until - NOW).total_seconds() <= base * 1.2


class BreakerMachine(RuleBasedStateMachine):
    """Attempts start as allowed and end as they please, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.health = HEALTHY
        self.now = NOW
        self.in_flight = 0
        self.run: list[datetime] = []

    @rule(passed=st.floats(0, 2000))
    def time_passes(self, passed: float) -> None:
        self.now += seconds(passed)

    @precondition(lambda self: breaker.allowance(self.health, self.now, self.in_flight, 8) > 0)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        allowed = breaker.allowance(self.health, self.now, self.in_flight, 8)
        self.health = breaker.probe(self.health, self.now)
        self.in_flight += data.draw(st.integers(1, allowed))

    @precondition(lambda self: self.in_flight > 0)
    @rule(
        verdict=st.sampled_from([OK, FAIL, SLOW, OURS]),
        dice=DICE,
        retry_after=st.one_of(st.none(), st.floats(0, 10**6)),
    )
    def end(self, verdict: Verdict, dice: float, retry_after: float | None) -> None:
        self.in_flight -= 1
        was_open = self.health.open_until is not None and self.health.open_until > self.now
        was_half_open = breaker.is_half_open(self.health, self.now)
        before = self.health
        self.health = breaker.after(before, verdict, self.now, dice, retry_after)
        if verdict is OURS:
            return
        self.run = [] if verdict.success else [*self.run, self.now]
        if was_open and not verdict.success:
            assert self.health.open_until == before.open_until
        if was_half_open and not verdict.success:
            assert self.health.opened_times == before.opened_times + 1

    @precondition(lambda self: self.in_flight > 0)
    @rule()
    def worker_dies(self) -> None:
        self.in_flight = 0

    @invariant()
    def it_remembers_the_unbroken_run(self) -> None:
        assert self.health.consecutive_failures == len(self.run)
        assert self.health.fail_since == (self.run[0] if self.run else None)

    @invariant()
    def it_is_closed_exactly_below_five_failures(self) -> None:
        assert (self.health.open_until is None) == (len(self.run) < breaker.OPEN_AFTER)
        assert (self.health.open_until is None) == (self.health.opened_times == 0)

    @invariant()
    def it_never_allows_more_than_the_cap_or_a_second_probe(self) -> None:
        allowed = breaker.allowance(self.health, self.now, self.in_flight, 8)
        assert 0 <= allowed <= max(0, 8 - self.in_flight)
        if self.health.open_until:
            assert allowed <= max(0, 1 - self.in_flight)

    @invariant()
    def it_always_opens_again_at_the_next_check(self) -> None:
        moment = breaker.next_check(self.health, self.now)
        assert (moment is None) == (breaker.allowance(self.health, self.now, 0, 8) > 0)
        if moment:
            assert self.now < moment <= self.now + seconds(3600)
            assert breaker.allowance(self.health, moment, 0, 8) > 0


TestBreakerMachine = BreakerMachine.TestCase
