"""What makes a sign-in unusual, and how much."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.places import EARTH_KM, Place, distance_km
from app.domain.risk import (
    BURST_BEGINNINGS,
    BURST_FAILURES,
    FASTEST_KM_PER_HOUR,
    KNOWN_HABIT,
    MOST,
    SPRAYED,
    WEIGHTS,
    Attempt,
    Reason,
    Sighting,
    judge,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOME = Place("AT", "Vienna", 48.2, 16.37, 8447)
SYDNEY = Place("AU", "Sydney", -33.87, 151.2, 1221)
GRAZ = Place("AT", "Graz", 47.07, 15.44, 8447)
DEFAULT_THRESHOLD = 50

moments = st.integers(0, 60 * 24 * 90).map(lambda minutes: NOON - timedelta(minutes=minutes))
addresses = st.none() | st.ip_addresses(v=4) | st.ip_addresses(v=6)
places = st.builds(
    Place,
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
    network=st.none() | st.integers(1, 5),
)
sightings = st.builds(Sighting, moments, addresses, places)
histories = st.lists(sightings, max_size=25)
attempts = st.builds(
    Attempt,
    st.builds(Sighting, st.just(NOON), addresses, places),
    st.booleans(),
    st.integers(0, 20),
    st.integers(0, 40),
)


def seen(hours_ago: float, place: Place = HOME, address: IPv4Address | IPv6Address | None = None) -> Sighting:
    return Sighting(NOON - timedelta(hours=hours_ago), address, place)


def reasons(history: list[Sighting], place: Place = HOME, **given: int) -> tuple[Reason, ...]:
    return judge(Attempt(Sighting(NOON, None, place), True, **given), history).reasons  # noqa: FBT003 a known device


@given(attempts, histories)
def test_the_score_is_what_the_reasons_weigh_and_never_more_than_all(attempt: Attempt, history: list[Sighting]) -> None:
    found = judge(attempt, history)
    assert len(set(found.reasons)) == len(found.reasons)
    assert found.score == min(MOST, sum(WEIGHTS[one] for one in found.reasons))
    assert (found.score == 0) == (found.reasons == ())


@given(attempts, histories, st.randoms(use_true_random=False))
def test_the_order_of_the_past_does_not_matter(attempt: Attempt, history: list[Sighting], dice: Random) -> None:
    shuffled = list(history)
    dice.shuffle(shuffled)
    assert judge(attempt, shuffled) == judge(attempt, history)


@given(attempts, histories)
def test_more_failures_never_make_it_safer(attempt: Attempt, history: list[Sighting]) -> None:
    worse = Attempt(attempt.now, attempt.is_known_device, attempt.failures + 5, attempt.others + 10)
    assert judge(worse, history).score >= judge(attempt, history).score


@given(attempts, histories)
def test_a_known_device_is_never_worse_than_an_unknown_one(attempt: Attempt, history: list[Sighting]) -> None:
    known, unknown = (Attempt(attempt.now, one, attempt.failures, attempt.others) for one in (True, False))
    assert judge(known, history).score <= judge(unknown, history).score


@given(attempts)
def test_whoever_has_no_past_breaks_no_habit(attempt: Attempt) -> None:
    assert set(judge(attempt, []).reasons) <= {Reason.burst, Reason.spraying}


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_a_way_is_as_long_as_the_way_back_and_never_longer_than_half_around(
    lat1: float, lon1: float, lat2: float, lon2: float
) -> None:
    way = distance_km((lat1, lon1), (lat2, lon2))
    assert way == pytest.approx(distance_km((lat2, lon2), (lat1, lon1)), abs=1e-6)
    assert 0 <= way <= EARTH_KM * 3.14160


def test_the_distance_between_two_cities_is_what_maps_say() -> None:
    assert HOME.point is not None
    assert SYDNEY.point is not None
    assert distance_km(HOME.point, SYDNEY.point) == pytest.approx(15_990, rel=0.01)


class TestTravel:
    def test_the_other_end_of_the_world_within_an_hour_is_impossible(self) -> None:
        assert Reason.impossible_travel in reasons([seen(1)], SYDNEY)

    def test_two_days_are_enough(self) -> None:
        assert Reason.impossible_travel not in reasons([seen(48)], SYDNEY)

    def test_the_next_city_is_never_far(self) -> None:
        assert reasons([seen(0.01)], GRAZ) == ()

    def test_only_the_last_place_counts(self) -> None:
        assert Reason.impossible_travel not in reasons([seen(1, SYDNEY), seen(70)], SYDNEY)

    def test_without_places_nobody_travels(self) -> None:
        assert reasons([seen(1, Place())], SYDNEY) == ()
        assert reasons([seen(1)], Place()) == ()

    @given(st.floats(0.0, 48.0))
    def test_the_speed_decides(self, hours: float) -> None:
        assert HOME.point is not None
        assert SYDNEY.point is not None
        is_too_fast = distance_km(HOME.point, SYDNEY.point) > FASTEST_KM_PER_HOUR * hours
        past = Sighting(NOON - timedelta(hours=hours), None, HOME)
        elapsed = (NOON - past.at) / timedelta(hours=1)
        if abs(elapsed - hours) < 1e-9:
            assert (Reason.impossible_travel in reasons([past], SYDNEY)) == is_too_fast


class TestNetworks:
    def test_another_system_is_new(self) -> None:
        assert Reason.new_network in reasons([seen(100)], SYDNEY)

    def test_without_a_list_of_them_the_block_of_the_address_stands_for_it(self) -> None:
        past = [seen(30, Place(), IPv4Address("198.51.100.7"))]
        near, far = (Attempt(seen(0, Place(), IPv4Address(one)), True) for one in ("198.51.7.7", "203.0.113.9"))  # noqa: FBT003 a known device
        assert judge(near, past).reasons == ()
        assert judge(far, past).reasons == (Reason.new_network,)


class TestHours:
    def test_the_middle_of_the_night_is_unusual_for_whoever_works_by_day(self) -> None:
        days = [Sighting(NOON - timedelta(days=day), None, HOME) for day in range(1, KNOWN_HABIT + 1)]
        night = Attempt(Sighting(NOON - timedelta(hours=9), None, HOME), True)  # noqa: FBT003 a known device
        assert judge(night, days).reasons == (Reason.unusual_hour,)
        assert judge(night, days[1:]).reasons == ()

    def test_an_hour_before_midnight_is_near_to_one_after(self) -> None:
        days = [Sighting(datetime(2026, 11, day, 23, tzinfo=UTC), None, HOME) for day in range(1, KNOWN_HABIT + 1)]
        later = Attempt(Sighting(datetime(2026, 11, 20, 1, tzinfo=UTC), None, HOME), True)  # noqa: FBT003 a known device
        assert judge(later, days).reasons == ()


class TestAttacks:
    def test_failures_in_a_row_are_a_burst(self) -> None:
        assert reasons([], failures=BURST_FAILURES) == (Reason.burst,)
        assert reasons([], failures=BURST_FAILURES - 1) == ()

    def test_so_are_sessions_that_begin_one_after_another(self) -> None:
        assert reasons([], begun=BURST_BEGINNINGS) == (Reason.burst,)
        assert reasons([], begun=BURST_BEGINNINGS - 1) == ()

    def test_failures_for_other_people_are_spraying(self) -> None:
        assert reasons([], others=SPRAYED) == (Reason.spraying,)

    @pytest.mark.parametrize("reason", [Reason.impossible_travel, Reason.burst, Reason.spraying])
    def test_each_asks_for_a_second_step_by_itself(self, reason: Reason) -> None:
        assert WEIGHTS[reason] >= DEFAULT_THRESHOLD

    def test_a_new_device_or_a_new_network_does_not_but_both_do(self) -> None:
        device, network = WEIGHTS[Reason.new_device], WEIGHTS[Reason.new_network]
        assert max(device, network) < DEFAULT_THRESHOLD <= device + network
