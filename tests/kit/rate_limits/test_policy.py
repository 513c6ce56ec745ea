"""Rates as operators write them, and the header fields as their standard's syntax has them."""

from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from app.kit.rate_limits.addresses import UNKNOWN, client_of, network_of
from app.kit.rate_limits.policy import Policy, Rate, Standing, parse_rate, policy_field, standing_fields

NAMES = st.from_regex(r"[a-z_]{1,20}-[a-z]{1,12}", fullmatch=True)
POLICIES = st.builds(Policy, NAMES, st.integers(1, 10**9), st.integers(1, 10**8))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("6000/minute", Rate(6000, 60)),
        ("100/15 minutes", Rate(100, 900)),
        ("5 per second", Rate(5, 1)),
        ("", None),
        (" 0 ", None),
        ("0/minute", None),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["many", "6000", "/minute", "-1/minute", "1/second; 5/minute", "6000/fortnight", "1.5/s"]
)
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="no rate such as 6000/minute"):
        parse_rate(text)


@given(st.lists(POLICIES, min_size=1, max_size=3))
def test_policies_read_as_a_list_of_strings_with_quota_and_window(policies: list[Policy]) -> None:
    name, value = policy_field(policies)
    assert name == b"ratelimit-policy"
    assert _parsed(value) == [(one.name, {"q": one.amount, "w": one.seconds}) for one in policies]


@given(st.lists(st.builds(Standing, POLICIES, st.booleans(), st.integers(0, 10**9), st.floats(0, 10**8)), min_size=1))
def test_standings_read_as_a_list_of_strings_with_remainder_and_whole_seconds(standings: list[Standing]) -> None:
    ((name, value),) = standing_fields(standings)
    assert name == b"ratelimit"
    for one, (policy, parameters) in zip(standings, _parsed(value), strict=True):
        assert (policy, parameters["r"]) == (one.policy.name, one.remaining)
        assert 0 <= parameters["t"] - one.reset <= 1


def test_what_nobody_counts_is_not_told() -> None:
    assert standing_fields([Standing(Policy("p", 1, 1), allowed=True, remaining=None, reset=1)]) == []


@pytest.mark.acceptance("L02")
@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff::9%eth0", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("somewhere", "somewhere"),
        ("", UNKNOWN),
    ],
)
def test_an_address_is_counted_by_the_network_that_one_party_holds(host: str, network: str) -> None:
    assert network_of(host) == network


def test_whoever_has_no_address_is_counted_as_one() -> None:
    nowhere: Scope = {"type": "http", "client": None}
    assert client_of(nowhere) == client_of({"type": "http"}) == UNKNOWN


def _parsed(value: bytes) -> Any:  # noqa: ANN401 items of a structured field
    return http_sf.parse(value, tltype="list")
