"""Names and addresses as they stand in a Host header and in the settings."""

import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")


@lru_cache(256)
def host_name(text: str) -> str | None:
    """The name or address in a Host header, without its port; None for what is no host."""
    match = _HOST.fullmatch(text.lower())
    if match is None:
        return None
    return plain_address(match[1]) if match[1] else match[2]


def plain_address(text: str) -> str | None:
    """The address in its shortest form, IPv4 within IPv6 as IPv4; None for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if not isinstance(address, IPv6Address):
        return str(address)
    return None if address.scope_id else str(address.ipv4_mapped or address)


def is_address(name: str) -> bool:
    """Whether it is an address, not a name."""
    return plain_address(name) is not None


@lru_cache(256)
def is_loopback(name: str) -> bool:
    """Whether a machine calls itself so."""
    address = plain_address(name)
    return name == "localhost" if address is None else ip_address(address).is_loopback
