"""Addresses are compared in one form, whichever way they and the networks are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.networks import MAX_NETWORKS, NetworkList, network_list, parse

V4 = st.ip_addresses(v=4)


@given(V4)
def test_an_address_that_is_mapped_into_ipv6_is_the_address(address: object) -> None:
    for listed in (f"{address}", f"::ffff:{address}", f"::ffff:{address}/128"):
        assert parse([listed]) == parse([f"{address}/32"])
        for caller in (f"{address}", f"::ffff:{address}"):
            assert NetworkList(denied=parse([listed])).admits(caller) is False
            assert NetworkList(allowed=parse([listed])).admits(caller) is True


@pytest.mark.parametrize(
    ("allowed", "denied", "address", "admitted"),
    [
        ([], [], "192.0.2.1", True),
        (["192.0.2.0/24"], [], "192.0.2.255", True),
        (["192.0.2.0/24"], [], "192.0.3.0", False),
        (["192.0.2.0/24"], ["192.0.2.7"], "192.0.2.7", False),
        ([], ["192.0.2.0/24"], "::ffff:192.0.2.7", False),
        (["::ffff:192.0.2.0/120"], [], "192.0.2.7", True),
        (["2001:db8::/32"], [], "2001:db8::1", True),
        (["fe80::/10"], [], "fe80::1%eth0", True),
        (["0.0.0.0/0"], [], "2001:db8::1", False),
        ([], ["0.0.0.0/0"], "2001:db8::1", True),
        ([], ["::/0"], "192.0.2.1", True),
        ([], ["192.0.2.1"], "", False),
    ],
)
def test_denied_ones_are_refused_and_if_any_are_allowed_the_others_too(
    allowed: list[str], denied: list[str], address: str, *, admitted: bool
) -> None:
    assert NetworkList(parse(allowed), parse(denied)).admits(address) is admitted


@pytest.mark.parametrize("text", ["", "example.com", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "1.2.3.4.5", "::1/129"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is no network, such as"):
        parse([text])


def test_too_many_are_refused() -> None:
    assert len(parse(["10.0.0.1"] * MAX_NETWORKS)) == MAX_NETWORKS
    with pytest.raises(ValueError, match="at most"):
        parse(["10.0.0.1"] * (MAX_NETWORKS + 1))


def test_without_networks_there_is_no_list() -> None:
    assert network_list((), ()) is None
