"""Names and addresses in Host headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.hosts import host_name, is_address, is_loopback, plain_address


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hooks.example.com", "hooks.example.com"),
        ("HOOKS.Example.com:443", "hooks.example.com"),
        ("localhost:8000", "localhost"),
        ("10.0.0.1:80", "10.0.0.1"),
        ("[::1]:80", "::1"),
        ("[2001:DB8:0:0::1]", "2001:db8::1"),
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
    ],
)
def test_a_host_is_its_name_without_the_port(text: str, name: str) -> None:
    assert host_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "a b",
        "a/b",
        "a@b",
        "user:pw@a",
        "a:b",
        "a:123456",
        "[::1",
        "::1",
        "[fe80::1%eth0]",
        "[a]",
        "é",
        "a\\b",
    ],
)
def test_what_is_no_host_has_no_name(text: str) -> None:
    assert host_name(text) is None


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_loopback(text: str) -> None:
    assert is_loopback(text)


@pytest.mark.parametrize("text", ["localhost.example.com", "10.0.0.1", "::2", "127.0.0.1.example.com", "127.1", ""])
def test_others_are_not(text: str) -> None:
    assert not is_loopback(text)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_within_ipv6_is_itself(address: object) -> None:
    assert plain_address(f"::ffff:{address}") == plain_address(str(address)) == str(address)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    name = host_name(text)
    assert name is None or not is_address(name) or plain_address(name) == name
