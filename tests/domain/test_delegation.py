"""No key gives more than it has."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.delegation import Reach, beyond
from app.domain.networks import NetworkList, covers, parse
from app.domain.permissions import Permission

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Few addresses, so that lists overlap often.
ADDRESSES = [f"10.0.0.{last}" for last in range(16)]
NETWORKS = st.builds(
    lambda start, bits: IPv4Network((f"10.0.0.{start - start % 2**bits}", 32 - bits)),
    st.integers(0, 15),
    st.integers(0, 4),
)
LISTS = st.builds(NetworkList, st.lists(NETWORKS, max_size=3).map(tuple), st.lists(NETWORKS, max_size=2).map(tuple))
REACHES = st.builds(
    Reach,
    st.frozensets(st.sampled_from(list(Permission)[:4])),
    LISTS,
    st.none() | st.integers(0, 3).map(lambda days: NOW + timedelta(days=days)),
)


@given(LISTS, LISTS)
def test_what_is_covered_admits_no_other_address(held: NetworkList, wanted: NetworkList) -> None:
    if covers(held, wanted):
        assert {one for one in ADDRESSES if wanted.admits(one)} <= {one for one in ADDRESSES if held.admits(one)}


@given(LISTS)
def test_a_list_covers_itself(listed: NetworkList) -> None:
    assert covers(listed, listed)


def test_both_families_are_compared_with_their_own() -> None:
    held = NetworkList(parse(["10.0.0.0/8", "2001:db8::/32"]))
    assert covers(held, NetworkList(parse(["10.1.0.0/16", "2001:db8:1::/48"])))
    assert covers(held, NetworkList(parse(["::ffff:10.1.0.0/112"])))
    assert not covers(held, NetworkList(parse(["10.1.0.0/16", "::/0"])))
    assert not covers(held, NetworkList(parse(["0.0.0.0/0"])))


def test_whoever_is_bound_to_networks_gives_no_key_that_is_not() -> None:
    assert not covers(NetworkList(parse(["10.0.0.0/8"])), NetworkList())
    assert not covers(NetworkList(denied=parse(["10.0.0.1"])), NetworkList(parse(["10.0.0.0/8"])))
    assert covers(NetworkList(denied=parse(["10.0.0.1"])), NetworkList(denied=parse(["10.0.0.0/8"])))
    assert covers(NetworkList(), NetworkList(parse(["10.0.0.0/8"])))


@settings(deadline=None)
@given(REACHES, REACHES)
def test_nothing_is_beyond_or_it_is_said_in_what(held: Reach, wanted: Reach) -> None:
    reason = beyond(held, wanted)
    outlives = held.ends_at is not None and (wanted.ends_at is None or wanted.ends_at > held.ends_at)
    is_more = not wanted.permissions <= held.permissions or not covers(held.networks, wanted.networks) or outlives
    assert bool(reason) == is_more


@given(REACHES)
def test_a_key_may_give_all_that_it_has(reach: Reach) -> None:
    assert beyond(reach, reach) is None


def test_the_reason_names_what_is_lacking() -> None:
    lacking = beyond(Reach(frozenset()), Reach(frozenset({Permission.key_write})))
    assert lacking
    assert "key:write" in lacking
