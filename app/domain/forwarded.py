"""What proxies say of the requests that they pass on: chains of hops, of which only those we know are believed."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address
from itertools import zip_longest

from app.domain.addresses import Network
from app.domain.hosts import is_address, plain_address

Headers = Mapping[str, str]
"""Lower-case names; several headers of one name are joined by commas."""
Trusts = Callable[[str], bool]

NAMES = frozenset({"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"})
_REMEMBERED = 4096

_NODE = re.compile(r"\[([^\]]+)\](?::(\d{1,5}))?|([\d.]+)(?::(\d{1,5}))?|([0-9A-Fa-f:.]+)")
_PAIR = re.compile(r'([A-Za-z-]+)\s*=\s*("[^"]*"|[^;"]*)')


class ProxyHeaders(StrEnum):
    """Which headers the proxies write. Others are not believed: proxies pass on what they do not know."""

    x_forwarded = "x-forwarded"
    forwarded = "forwarded"
    x_real_ip = "x-real-ip"


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of the request it got; None where it says nothing."""

    node: str | None = None
    scheme: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who called, and how as far as it was said; port 0 is an unknown one."""

    address: str
    port: int = 0
    scheme: str | None = None
    host: str | None = None


def within(networks: Sequence[Network]) -> Trusts:
    """Tells whether a text is a plain address in one of them; remembers what it was asked last."""

    @lru_cache(_REMEMBERED)
    def trusts(address: str) -> bool:
        return is_address(address) and any(ip_address(address) in network for network in networks)

    return trusts


def true_caller(address: str, port: int, hops: Iterable[Hop], trusts: Trusts) -> Caller:
    """Who called: the first that is not trusted, from the connection's own end outwards.

    `hops` begin with the nearest. What is no address ends the way, at the proxy that said so.
    """
    scheme = host = None
    for hop in hops:
        if not trusts(address):
            break
        scheme, host = hop.scheme or scheme, hop.host or host
        further = _node(hop.node or "")
        if further is None:
            break
        address, port = further
    return Caller(address, port, scheme, host)


def hops(headers: Headers, written: ProxyHeaders) -> Iterator[Hop]:
    """What the headers of the kind say, the nearest hop first."""
    return _READERS[written](headers)


def _x_forwarded(headers: Headers) -> Iterator[Hop]:
    # The lists are aligned at their ends, where the nearest proxy writes.
    lists = [_backwards(headers.get(f"x-forwarded-{name}", "")) for name in ("for", "proto", "host")]
    for node, scheme, host in zip_longest(*lists):
        yield Hop(node, _scheme(scheme), host)


def _x_real_ip(headers: Headers) -> Iterator[Hop]:
    nearest = next(_x_forwarded({**headers, "x-forwarded-for": ""}))
    yield Hop(headers.get("x-real-ip"), nearest.scheme, nearest.host)


def _forwarded(headers: Headers) -> Iterator[Hop]:
    # A comma within quotes is none of an address: a quote that a client left open must not reach what proxies wrote.
    for element in _backwards(headers.get("forwarded", "")):
        pairs = {name.lower(): value.strip('"').strip() for name, value in _PAIR.findall(element)}
        yield Hop(pairs.get("for"), _scheme(pairs.get("proto")), pairs.get("host"))


_READERS: Mapping[ProxyHeaders, Callable[[Headers], Iterator[Hop]]] = {
    ProxyHeaders.x_forwarded: _x_forwarded,
    ProxyHeaders.forwarded: _forwarded,
    ProxyHeaders.x_real_ip: _x_real_ip,
}


def _backwards(text: str) -> list[str]:
    return [part.strip() for part in reversed(text.split(","))]


def _scheme(text: str | None) -> str | None:
    return text.lower() if text and text.lower() in {"http", "https"} else None


@lru_cache(_REMEMBERED)
def _node(text: str) -> tuple[str, int] | None:
    match = _NODE.fullmatch(text)
    if match is None:
        return None
    address = plain_address(match[1] or match[3] or match[5])
    port = int(match[2] or match[4] or 0)
    return (address, port) if address and port < 1 << 16 else None
