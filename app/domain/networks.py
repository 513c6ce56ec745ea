"""From where a credential may call: lists of networks, with addresses in one form whichever way they are written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from app.domain.addresses import Address, Network

_MAPPED = IPv6Network("::ffff:0:0/96")
MAX_NETWORKS = 256


@dataclass(frozen=True, slots=True)
class NetworkList:
    """Addresses of denied networks are refused, and if any networks are allowed, those outside of them too."""

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def admits(self, address: str) -> bool:
        """Whether one may call from this address; from something that is no address only where nothing is listed."""
        return _admits(self, address)


@lru_cache(8192)
def _admits(listed: NetworkList, address: str) -> bool:
    try:
        found = normal(address)
    except ValueError:
        return not (listed.allowed or listed.denied)
    if any(found in one for one in listed.denied):
        return False
    return not listed.allowed or any(found in one for one in listed.allowed)


def normal(address: str) -> Address:
    """An address as it is compared: an IPv4 address that was mapped into IPv6 is the IPv4 address.

    ValueError for what is none.
    """
    found = ip_address(address.partition("%")[0])
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def covers(held: NetworkList, wanted: NetworkList) -> bool:
    """Whether no network is wanted that is not held: allowed ones lie within those, and whatever is denied stays so."""
    allowed = not held.allowed or (bool(wanted.allowed) and _within(wanted.allowed, held.allowed))
    return allowed and _within(held.denied, wanted.denied)


def _within(inner: Iterable[Network], outer: Sequence[Network]) -> bool:
    return all(any(_is_within(one, other) for other in outer) for one in inner)


def _is_within(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.subnet_of(other)
    return isinstance(other, IPv6Network) and one.subnet_of(other)


def parse(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks or single addresses; ValueError names what is neither, and too many."""
    networks = tuple(_network(text) for text in texts)
    if len(networks) > MAX_NETWORKS:
        raise ValueError(f"at most {MAX_NETWORKS} networks can be listed")
    return networks


@lru_cache(4096)
def network_list(allowed: Sequence[str], denied: Sequence[str]) -> NetworkList | None:
    """The list of texts that were checked before; None when nothing is listed. Takes tuples."""
    return NetworkList(parse(allowed), parse(denied)) if allowed or denied else None


def _network(text: str) -> Network:
    try:
        found = ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no network, such as 192.0.2.0/24 or 2001:db8::/32: {error}") from None
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        mapped = found.network_address.ipv4_mapped
        assert mapped is not None
        return IPv4Network((mapped, found.prefixlen - 96))
    return found
