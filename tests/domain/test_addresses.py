"""Address rules: the deny corpus in every form, allow lists, and URLs."""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import addresses
from app.domain.addresses import Allowance, BadUrl, check_url, is_allowed, parse_allow_list

LOOPBACK = parse_allow_list(["127.0.0.0/8", "::1"])

DENIED_V4 = [
    "0.0.0.0", "0.255.255.255", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1",  # noqa: S104
    "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
]  # fmt: skip
DENIED_V6 = [
    "::", "::1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1",
    "100::1", "2001::1", "2001:1ff::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.0",
    "172.15.255.255", "172.32.0.0", "168.63.129.15", "168.63.129.17", "192.0.1.1", "223.255.255.255",
    "2001:200::1", "2606:4700:4700::1111", "2a00:1450::1", "2003::1", "::ffff:8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", DENIED_V4 + DENIED_V6)
def test_w07_denied_addresses(address: str) -> None:
    """W07: the deny table, as a DNS answer."""
    assert not is_allowed(address, 443, ())


@pytest.mark.parametrize("address", DENIED_V4)
def test_w07_denied_addresses_in_disguise(address: str) -> None:
    """W07: the same within IPv6, mapped, NAT64 and 6to4."""
    number = int(IPv4Address(address))
    assert not is_allowed(f"::ffff:{address}", 443, ())
    assert not is_allowed(f"64:ff9b::{address}", 443, ())
    assert not is_allowed(str(IPv6Address(0x2002 << 112 | number << 80 | 1)), 443, ())


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_allowed(address, 443, ())


@pytest.mark.parametrize("address", ["", "x", "fe80::1%eth0", "2606:4700::1%1", "2130706433", "0177.0.0.1", "127.1"])
def test_what_cannot_be_read_is_refused(address: str) -> None:
    assert not is_allowed(address, 443, parse_allow_list(["0.0.0.0/0", "::/0"]))


@given(st.ip_addresses(v=4))
def test_ipv4_agrees_with_the_standard_library(address: IPv4Address) -> None:
    extra = ("192.88.99.0/24", "168.63.129.16/32", "224.0.0.0/4", "192.0.0.0/24", "100.64.0.0/10")
    denied = not address.is_global or any(address in ip_network(network) for network in extra)
    assert is_allowed(str(address), 443, ()) is not denied


@given(st.ip_addresses(v=6))
def test_only_global_unicast_ipv6_is_allowed(address: IPv6Address) -> None:
    if is_allowed(str(address), 443, ()):
        assert address in ip_network("2000::/3") or address.ipv4_mapped
        assert not address.is_private


@given(st.ip_addresses(v=4))
def test_mapped_is_judged_as_the_address_within(address: IPv4Address) -> None:
    assert is_allowed(f"::ffff:{address}", 443, ()) == is_allowed(str(address), 443, ())


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("127.0.0.0/8", Allowance(ip_network("127.0.0.0/8"))),
        (" 127.0.0.0/8:9000 ", Allowance(ip_network("127.0.0.0/8"), 9000)),
        ("10.1.2.3", Allowance(ip_network("10.1.2.3/32"))),
        ("10.1.2.3:80", Allowance(ip_network("10.1.2.3/32"), 80)),
        ("::1", Allowance(ip_network("::1/128"))),
        ("fd00::/8", Allowance(ip_network("fd00::/8"))),
        ("[::1]", Allowance(ip_network("::1/128"))),
        ("[::1]:8080", Allowance(ip_network("::1/128"), 8080)),
        ("[fd00::/8]:8080", Allowance(ip_network("fd00::/8"), 8080)),
        ("[fd00::]/8:8080", Allowance(ip_network("fd00::/8"), 8080)),
    ],
)
def test_allow_list_entries(entry: str, expected: Allowance) -> None:
    assert parse_allow_list([entry]) == (expected,)


@pytest.mark.parametrize(
    "entry",
    ["", "localhost", "127.0.0.1/8", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:", "[::1", "::1]:80", "*"],
)
def test_bad_allow_list_entries_are_named(entry: str) -> None:
    with pytest.raises(ValueError, match="not a") as caught:
        parse_allow_list([entry])
    assert repr(entry) in str(caught.value)


def test_an_allowance_may_be_bound_to_a_port() -> None:
    allow = parse_allow_list(["127.0.0.0/8:9000"])
    assert is_allowed("127.0.0.1", 9000, allow)
    assert is_allowed("::ffff:127.0.0.1", 9000, allow)
    assert not is_allowed("127.0.0.1", 9001, allow)
    assert not is_allowed("10.0.0.1", 9000, allow)


def test_an_allowance_covers_the_urls_that_name_its_address_and_port() -> None:
    (allowance,) = parse_allow_list(["10.96.0.80:8080"])
    assert allowance.covers_url("http://10.96.0.80:8080/hooks/x")
    for elsewhere in ("10.96.0.80", "10.96.0.81:8080", "8.8.8.8:8080", "example.com:8080", "[::ffff:a60:50]:8080"):
        assert not allowance.covers_url(f"http://{elsewhere}/hooks/x")


def test_an_extra_denial_wins_over_an_allowance() -> None:
    denied = addresses.parse_networks(["127.0.0.2/32", "8.8.8.0/24"])
    assert is_allowed("127.0.0.1", 1, LOOPBACK, denied)
    assert not is_allowed("127.0.0.2", 1, LOOPBACK, denied)
    assert not is_allowed("::ffff:8.8.8.8", 443, LOOPBACK, denied)


def test_nat64_is_allowed_only_with_what_lies_within() -> None:
    allow = parse_allow_list(["64:ff9b::/96"])
    assert is_allowed("64:ff9b::8.8.8.8", 443, allow)
    assert not is_allowed("64:ff9b::10.0.0.1", 443, allow)
    assert not is_allowed("64:ff9b::8.8.8.8", 443, allow, addresses.parse_networks(["8.8.8.8"]))


def test_public_addresses_may_be_bound_to_ports() -> None:
    assert not is_allowed("8.8.8.8", 22, (), allowed_ports={443})
    assert is_allowed("127.0.0.1", 22, LOOPBACK, allowed_ports={443})


@pytest.mark.parametrize(
    ("url", "host", "port", "normal"),
    [
        ("https://example.com", "example.com", 443, "https://example.com/"),
        ("HTTPS://Example.COM:443/a?b=c#d", "example.com", 443, "https://example.com/a?b=c"),
        (
            "http://example.com:8080/a b".replace(" ", "%20"),
            "example.com",
            8080,
            "http://example.com:8080/a%20b",
        ),
        ("https://example.com:/x", "example.com", 443, "https://example.com/x"),
        (
            "https://bücher.example/ü?ü",
            "xn--bcher-kva.example",
            443,
            "https://xn--bcher-kva.example/%C3%BC?%C3%BC",
        ),
        ("https://my_host.example.com", "my_host.example.com", 443, "https://my_host.example.com/"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "https://8.8.8.8/"),
        ("https://[2606:4700:0::1111]:8443/", "2606:4700::1111", 8443, "https://[2606:4700::1111]:8443/"),
        ("https://ＥＸＡＭＰＬＥ.com/", "example.com", 443, "https://example.com/"),
        ("https://example。com/", "example.com", 443, "https://example.com/"),
    ],
)
def test_good_urls(url: str, host: str, port: int, normal: str) -> None:
    checked = check_url(url)
    assert (checked.host, checked.port, checked.url) == (host, port, normal)


BAD_URLS = [
    ("", "scheme"), ("example.com", "scheme"), ("//example.com", "scheme"),
    ("ftp://example.com", "scheme"), ("file:///etc/passwd", "scheme"), ("javascript:alert(1)", "scheme"),
    ("https://", "malformed"), ("https:///x", "malformed"), ("https://user@example.com", "user"),
    ("https://a:b@example.com", "user"), ("https://@example.com", "user"),
    ("https://example.com:99999", "range"), ("https://example.com:0", "range"),
    ("https://example.com:x", "malformed"), ("https://example.com:８0", "malformed"),
    ("https://example.com:22", "port must be"), ("https://example.com.", "trailing dot"),
    ("https://localhost", "this machine"), ("https://LOCALHOST:8080", "this machine"),
    ("https://foo.localhost", "this machine"), ("https://localhost.localdomain", "this machine"),
    ("https://ip6-loopback", "this machine"), ("https://ⓛocalhost", "this machine"),
    ("https://localhost.", "trailing dot"), ("https://metadata.google.internal", "metadata"),
    ("https://exa mple.com", "blanks"), ("https://example.com\n", "blanks"),
    ("https://example.com\\@x", "blanks"), ("https://exam%70le.com", "malformed"),
    ("https://%31%32%37.0.0.1", "malformed"), ("https://[fe80::1%25eth0]", "malformed"),
    ("https://[fe80::1%eth0]", "malformed"), ("https://[::1", "malformed"),
    ("https://[::1]x", "malformed"), ("https://::1", "malformed"), ("https://[127.0.0.1]", "malformed"),
    ("https://[v1.x]", "malformed"), ("https://a..b", "malformed"), ("https://-a.example", "malformed"),
    ("https://a-.example", "malformed"), ("https://" + "a" * 64 + ".example", "malformed"),
    ("https://" + "a." * 127 + "example", "too long"), ("https://faß.example", "ambiguous"),
    ("https://exa!mple.com", "malformed"), ("https://example.com/" + "a" * 65536, "at most"),
    ("https://" + "ü" * 300 + ".example", "too long"),
]  # fmt: skip
IPV4_FORMS = [
    "2130706433", "0177.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "017700000001", "127.0.0.01",
    "127.0.0.1.", "0x7f.0.0.0x1", "１２７.0.0.1", "127。0。0。1", "①②⑦.0.0.1", "8.8.8.8.8", "256.1.1.1",
    "1.2.3", "0x", "8.8.8.0x8",
]  # fmt: skip


@pytest.mark.parametrize(("url", "reason"), BAD_URLS)
def test_w07_bad_urls(url: str, reason: str) -> None:
    """W07: what is refused at write, by its form."""
    with pytest.raises(BadUrl, match=reason) as caught:
        check_url(url)
    assert caught.value.reason == str(caught.value)


@pytest.mark.parametrize("form", IPV4_FORMS)
def test_w07_other_forms_of_ipv4(form: str) -> None:
    """W07: short, octal, hex, decimal and wide forms, even of what is allowed."""
    with pytest.raises(BadUrl):
        check_url(f"https://{form}/", allow=LOOPBACK if form.isascii() else ())


@pytest.mark.parametrize("address", DENIED_V4 + [f"[{each}]" for each in DENIED_V6])
def test_w07_denied_literals(address: str) -> None:
    """W07: the deny table, as a literal."""
    with pytest.raises(BadUrl, match="not allowed"):
        check_url(f"https://{address}/")


@pytest.mark.parametrize("address", DENIED_V4)
def test_w07_denied_mapped_literals(address: str) -> None:
    """W07: the deny table, as a mapped literal."""
    with pytest.raises(BadUrl, match="not allowed"):
        check_url(f"https://[::ffff:{address}]/")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:31234/x",
        "http://localhost:31234",
        "http://a.localhost:5",
        "http://[::1]:9",
        "http://127.9.9.9",
    ],
)
def test_loopback_in_the_allow_list_opens_any_port(url: str) -> None:
    assert check_url(url, allow=LOOPBACK).scheme == "http"


@pytest.mark.parametrize(
    "url",
    ["http://example.com:31234", "http://8.8.8.8:31234", "http://10.0.0.1:80", "http://[::ffff:10.0.0.1]"],
)
def test_loopback_in_the_allow_list_opens_nothing_else(url: str) -> None:
    with pytest.raises(BadUrl):
        check_url(url, allow=LOOPBACK)


def test_a_port_in_the_allow_list() -> None:
    allow = parse_allow_list(["127.0.0.0/8:9000", "10.0.0.0/8:7000"])
    assert check_url("http://localhost:9000", allow=allow).port == 9000
    assert check_url("http://inside.example:7000", allow=allow).port == 7000
    for refused in ("http://localhost:9001", "http://localhost:7000", "http://inside.example:7001"):
        with pytest.raises(BadUrl):
            check_url(refused, allow=allow)


def test_https_only() -> None:
    assert check_url("https://example.com", https_only=True).port == 443
    with pytest.raises(BadUrl, match="must be https"):
        check_url("http://example.com", https_only=True)


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_bad(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        try:
            checked = check_url(url)
        except BadUrl:
            continue
        assert checked.url.isascii()
        assert check_url(checked.url) == checked
