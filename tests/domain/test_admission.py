"""Admission: by value, and that no mixture of wishes gets past the cap, a rate or a share."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.admission import LANE_SHARES, RECHECK, STOPPED_RECHECK, Admission, Facts, lane_cap, lane_share
from app.domain.breaker import HEALTHY, Health

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LEASE = timedelta(seconds=30)
FIRST, RETRY, REPLAY = range(3)
PLENTY = 10_000
LANES = st.integers(0, 2)
ENDPOINTS = st.sampled_from(["a", "b", "c", "d"])
WISHES = st.lists(st.tuples(ENDPOINTS, LANES, st.integers(0, 30)), max_size=30)
RATES = st.one_of(st.none(), st.integers(1, 20))


def test_nothing_goes_where_it_is_stopped_whoever_asks() -> None:
    one = admission(e=Facts("org", "app", stopped=True, rate=5))
    assert one.room("e", FIRST, 5) == one.grant("e", FIRST, 5) == one.grant_by_hand("e", 5) == 0
    assert one.next_look("e", LEASE) == NOW + STOPPED_RECHECK
    assert one.tats == {}


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def admission(cap: int = 8, share: int = PLENTY, **known: Facts[str]) -> Admission[str]:
    return Admission(known, NOW, cap, share)


def facts(**more: object) -> Facts[str]:
    return Facts(**{"tenant": "org", "owner": "app", **more})  # type: ignore[arg-type]


def test_grants_up_to_the_cap_and_counts_what_is_in_flight() -> None:
    one = admission(e=facts(in_flight=3))
    assert one.grant("e", FIRST, 100) == 5
    assert one.grant("e", FIRST, 100) == 0


def test_looking_for_room_counts_nothing() -> None:
    one = admission(e=facts(rate=8, owner_rate=4))
    assert [one.room("e", FIRST, 100) for _ in range(3)] == [4, 4, 4]
    assert not one.tats
    assert not one.owner_tats
    assert one.grant("e", FIRST, 3) == 3
    assert one.room("e", FIRST, 100) == 1


def test_later_lanes_leave_room_in_the_cap_for_fresh_events() -> None:
    one = admission(e=facts())
    assert one.grant("e", REPLAY, 100) == 4
    assert one.grant("e", RETRY, 100) == 2
    assert one.grant("e", FIRST, 100) == 2


def test_later_lanes_leave_room_in_the_share_for_fresh_events() -> None:
    one = admission(cap=100, share=8, a=facts(), b=facts(), c=facts())
    assert one.grant("a", REPLAY, 100) == 4
    assert one.grant("b", RETRY, 100) == 2
    assert one.grant("c", FIRST, 100) == 2


def test_a_share_is_drawn_on_by_all_endpoints_of_the_tenant_and_by_no_other() -> None:
    one = admission(share=10, a=facts(), b=facts(), c=facts(tenant="other"))
    one.used["org"] = 4
    assert [one.grant(name, FIRST, 5) for name in "abc"] == [5, 1, 5]


@pytest.mark.parametrize(("failures", "cap"), [(0, 8), (1, 4), (2, 2), (3, 1), (50, 1)])
def test_failures_in_a_row_halve_the_cap(failures: int, cap: int) -> None:
    assert lane_cap(8, FIRST, Health(consecutive_failures=failures)) == cap


def test_every_lane_may_use_at_least_one() -> None:
    assert [lane_cap(1, lane, HEALTHY) for lane in range(3)] == [1, 1, 1]
    assert [lane_share(0, lane) for lane in range(3)] == [1, 1, 1]


def test_an_open_breaker_grants_nothing_and_is_looked_at_when_it_half_opens() -> None:
    until = NOW + seconds(40)
    one = admission(e=facts(health=Health(open_until=until)))
    assert one.grant("e", FIRST, 5) == 0
    assert one.next_look("e", LEASE) == until


def test_a_half_open_breaker_grants_one_probe() -> None:
    one = admission(e=facts(health=Health(consecutive_failures=9, open_until=NOW)))
    assert one.grant("e", FIRST, 5) == 1
    assert one.grant("e", RETRY, 5) == 0


def test_a_slow_down_is_waited_for() -> None:
    until = NOW + seconds(3)
    one = admission(e=facts(health=Health(slow_until=until)))
    assert one.grant("e", FIRST, 5) == 0
    assert one.next_look("e", LEASE) == until


def test_what_a_person_asked_for_passes_all_but_the_cap() -> None:
    broken = Health(consecutive_failures=9, open_until=NOW + seconds(40), slow_until=NOW + seconds(50))
    one = admission(share=0, e=facts(health=broken, rate=1, rate_tat=NOW + seconds(9), in_flight=6))
    assert one.grant_by_hand("e", 5) == 2
    assert one.grant_by_hand("e", 5) == 0
    assert one.used == Counter(org=2)


def test_a_rate_grants_its_burst_and_then_waits_for_the_next_arrival() -> None:
    one = admission(e=facts(rate=4))
    assert one.grant("e", FIRST, 100) == 4
    assert one.tats == {"e": NOW + seconds(1)}
    assert one.next_look("e", LEASE) == NOW + seconds(0.25)


def test_what_the_owners_rate_refuses_costs_the_endpoints_own_nothing() -> None:
    one = admission(e=facts(rate=8, owner_rate=2))
    assert one.grant("e", FIRST, 8) == 2
    assert one.tats == {"e": NOW + seconds(0.25)}
    assert one.owner_tats == {"app": NOW + seconds(1)}


def test_endpoints_share_their_owners_rate() -> None:
    one = admission(a=facts(owner_rate=5), b=facts(owner_rate=5))
    assert one.grant("a", FIRST, 3) == 3
    assert one.grant("b", FIRST, 3) == 2


def test_a_rate_that_was_not_drawn_on_has_no_state_to_store() -> None:
    one = admission(e=facts(rate=4, in_flight=8))
    assert one.grant("e", FIRST, 5) == 0
    assert not one.tats


def test_a_rate_with_room_left_does_not_say_when_to_look_again() -> None:
    one = admission(e=facts(rate=100, in_flight=8))
    assert one.grant("e", FIRST, 5) == 0
    assert one.next_look("e", LEASE) == NOW + LEASE


def test_the_last_of_several_waits_decides() -> None:
    health = Health(slow_until=NOW + seconds(2))
    one = admission(e=facts(health=health, rate=1, rate_tat=NOW + seconds(5)))
    assert one.next_look("e", LEASE) == NOW + seconds(5)


def test_nothing_in_flight_and_nothing_to_wait_for_is_looked_at_soon() -> None:
    one = admission(share=1, e=facts())
    one.used["org"] = 1
    assert one.grant("e", FIRST, 1) == 0
    assert one.next_look("e", LEASE) == NOW + RECHECK


@given(
    cap=st.integers(1, 20), flying=st.integers(0, 25), wishes=WISHES, by_hand=st.lists(st.integers(0, 9), max_size=5)
)
def test_never_more_in_flight_than_the_cap(
    cap: int, flying: int, wishes: list[tuple[str, int, int]], by_hand: list[int]
) -> None:
    one = Admission({name: facts(in_flight=flying) for name in "abcd"}, NOW, cap, PLENTY)
    for endpoint, lane, wanted in wishes:
        before = flying + one.started[endpoint]
        granted = one.grant(endpoint, lane, wanted)
        assert 0 <= granted <= wanted
        assert before + granted <= max(before, lane_cap(cap, lane, HEALTHY))
    for wanted in by_hand:
        assert 0 <= one.grant_by_hand("a", wanted) <= wanted
    assert all(flying + one.started[name] <= max(flying, cap) for name in "abcd")


@given(share=st.integers(1, 40), used=st.integers(0, 50), wishes=WISHES)
def test_never_more_of_a_tenant_than_its_share(share: int, used: int, wishes: list[tuple[str, int, int]]) -> None:
    tenants = {"a": "one", "b": "one", "c": "two", "d": "two"}
    one = Admission({name: facts(tenant=tenant) for name, tenant in tenants.items()}, NOW, 8, share)
    one.used.update(one=used, two=0)
    for endpoint, lane, wanted in wishes:
        before = one.used[tenants[endpoint]]
        granted = one.grant(endpoint, lane, wanted)
        assert before + granted <= max(before, lane_share(share, lane))
    assert one.used["one"] <= max(used, share)
    assert one.used["two"] <= share


@given(
    rates=st.tuples(RATES, RATES),
    steps=st.lists(st.tuples(st.integers(0, 2_000_000), ENDPOINTS, LANES, st.integers(1, 30)), max_size=30),
)
def test_never_more_than_a_rate_over_any_window(
    rates: tuple[int | None, int | None], steps: list[tuple[int, str, int, int]]
) -> None:
    own, shared = rates
    now, tats, owner_tats, grants = NOW, dict[str, datetime](), dict[str, datetime](), []
    for passed, endpoint, lane, wanted in steps:
        now += timedelta(microseconds=passed)
        known = facts(rate=own, rate_tat=tats.get(endpoint), owner_rate=shared, owner_tat=owner_tats.get("app"))
        one = Admission({endpoint: known}, now, PLENTY, PLENTY)
        grants.append((now, endpoint, one.grant(endpoint, lane, wanted)))
        tats |= one.tats
        owner_tats |= one.owner_tats
    for name in "abcd":
        assert_within(own, [(at, count) for at, endpoint, count in grants if endpoint == name])
    assert_within(shared, [(at, count) for at, _, count in grants])


def assert_within(rate: int | None, grants: list[tuple[datetime, int]]) -> None:
    """Over each window at most the rate, and one burst of a second's worth."""
    if rate is None:
        return
    for first, (start, _) in enumerate(grants):
        total = 0
        for at, count in grants[first:]:
            total += count
            window = (at - start) // timedelta(microseconds=1) + 1
            assert total * 1_000_000 <= rate * window + rate * 1_000_000


@given(rate=st.integers(1, 20), lane=LANES)
def test_waiting_until_the_next_look_lets_at_least_one_more_go(rate: int, lane: int) -> None:
    first = Admission({"e": facts(rate=rate)}, NOW, PLENTY, PLENTY)
    first.grant("e", lane, PLENTY)
    later = first.next_look("e", LEASE)
    again = Admission({"e": facts(rate=rate, rate_tat=first.tats["e"])}, later, PLENTY, PLENTY)
    assert again.grant("e", lane, PLENTY) >= 1


@given(cap=st.integers(2, 64))
def test_a_replay_always_leaves_room_for_a_fresh_event(cap: int) -> None:
    one = admission(cap=cap, share=cap, e=facts())
    for lane in (REPLAY, RETRY):
        one.grant("e", lane, PLENTY)
    assert one.grant("e", FIRST, PLENTY) >= cap - max(1, int(cap * LANE_SHARES[RETRY]))
    assert one.started["e"] == cap
