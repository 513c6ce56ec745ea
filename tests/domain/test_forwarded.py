"""Chains of proxies: whoever invents headers is still found at the end of those that are trusted."""

from collections.abc import Sequence
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.forwarded import Caller, Hop, ProxyHeaders, hops, true_caller, within

TRUSTED = within([ip_network(one) for one in ("10.0.0.0/8", "fd00::/8")])
PROXIES = st.lists(
    st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="fd00::/8"), min_size=1, max_size=4
).map(lambda found: [str(one) for one in found])
CLIENTS = (st.ip_addresses(network="203.0.113.0/24") | st.ip_addresses(network="2001:db8::/32")).map(str)
PORTS = st.none() | st.integers(1, 65535)
INVENTED = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=60) | st.sampled_from(
    ["10.0.0.1", "10.0.0.1, 10.0.0.2", "127.0.0.1", 'for="', 'for="a\\', "unknown", ",,,", 'for=10.0.0.1;proto="']
)
X, F, R = ProxyHeaders.x_forwarded, ProxyHeaders.forwarded, ProxyHeaders.x_real_ip


def node(address: str, port: int | None) -> str:
    """An address as proxies write it where it may have a port."""
    shown = f"[{address}]" if ":" in address else address
    return shown if port is None else f"{shown}:{port}"


def passed(written: ProxyHeaders, invented: str, came: Sequence[str]) -> dict[str, str]:
    """What arrives when each proxy adds whom it was called by; those that came first stand first."""
    if written is X:
        return {"x-forwarded-for": ", ".join([*([invented] if invented else []), *came]), "forwarded": invented}
    elements = [f'for="{one}";proto=https' for one in came]
    return {"forwarded": ", ".join([*([invented] if invented else []), *elements]), "x-forwarded-for": invented}


@pytest.mark.acceptance("H06")
@given(client=CLIENTS, port=PORTS, proxies=PROXIES, invented=INVENTED, written=st.sampled_from([X, F]))
@example("203.0.113.9", None, ["10.0.0.1"], 'for="10.0.0.2', F)
@example("203.0.113.9", None, ["10.0.0.1", "10.0.0.2"], 'for="10.0.0.2\\', F)
def test_the_first_that_is_not_trusted_called(
    client: str, port: int | None, proxies: list[str], invented: str, written: ProxyHeaders
) -> None:
    came = [node(client, port), *(node(one, None) for one in proxies[:-1])]
    headers = passed(written, invented, came)
    caller = true_caller(proxies[-1], 1, hops(headers, written), TRUSTED)
    assert (caller.address, caller.port) == (client, port or 0)


@pytest.mark.acceptance("H06")
@given(client=CLIENTS, invented=INVENTED, written=st.sampled_from(ProxyHeaders))
def test_who_is_not_trusted_is_not_believed(client: str, invented: str, written: ProxyHeaders) -> None:
    headers = dict.fromkeys(
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-real-ip"], invented
    )
    assert true_caller(client, 9, hops(headers, written), TRUSTED) == Caller(client, 9)


@given(proxies=PROXIES)
def test_a_chain_of_nothing_but_proxies_begins_at_its_furthest(proxies: list[str]) -> None:
    headers = {"x-forwarded-for": ", ".join(proxies)}
    assert true_caller("10.0.0.1", 1, hops(headers, X), TRUSTED).address == proxies[0]


@pytest.mark.parametrize("text", ["unknown", "_hidden", "", "10.0.0", "a", "[::1", "1.2.3.4:99999", "fe80::1%eth0"])
@pytest.mark.parametrize("written", list(ProxyHeaders))
def test_the_way_ends_at_a_proxy_that_names_nobody(text: str, written: ProxyHeaders) -> None:
    headers = {
        "x-forwarded-for": f"203.0.113.1, {text}",
        "forwarded": f'for=203.0.113.1, for="{text}"',
        "x-real-ip": text,
    }
    assert true_caller("10.0.0.1", 7, hops(headers, written), TRUSTED) == Caller("10.0.0.1", 7)


@pytest.mark.parametrize(
    ("schemes", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("https, http", "http"),  # the client's own claim, then the proxy's
        ("http, https", "https"),
        ("ftp", None),
        ("", None),
    ],
)
def test_the_nearest_proxy_says_by_which_scheme_it_was_called(schemes: str, scheme: str | None) -> None:
    headers = {"x-forwarded-for": "203.0.113.1", "x-forwarded-proto": schemes, "x-real-ip": "203.0.113.1"}
    for written in (X, R):
        assert true_caller("10.0.0.1", 1, hops(headers, written), TRUSTED).scheme == scheme


def test_each_trusted_proxy_may_correct_the_one_behind_it() -> None:
    headers = {
        "x-forwarded-for": "203.0.113.1, 10.0.0.2",
        "x-forwarded-proto": "https, http",
        "x-forwarded-host": "hooks.example.com, inside",
    }
    assert true_caller("10.0.0.1", 1, hops(headers, X), TRUSTED) == Caller(
        "203.0.113.1", 0, "https", "hooks.example.com"
    )


def test_forwarded_is_read_with_its_quotes() -> None:
    text = 'For="[2001:db8::7]:4711";Proto=HTTPS;Host="hooks.example.com:443";by=10.0.0.1'
    assert list(hops({"forwarded": text}, F)) == [Hop("[2001:db8::7]:4711", "https", "hooks.example.com:443")]


def test_an_ipv4_address_within_ipv6_is_trusted_as_itself() -> None:
    headers = {"x-forwarded-for": "203.0.113.1, ::ffff:10.9.9.9"}
    assert true_caller("10.0.0.1", 1, hops(headers, X), TRUSTED).address == "203.0.113.1"


@pytest.mark.parametrize("text", ["testclient", "", "unix:", "10.0.0", "::ffff:10.0.0.1%eth0"])
def test_what_is_no_address_is_not_trusted(text: str) -> None:
    assert not TRUSTED(text)
