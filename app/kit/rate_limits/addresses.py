"""By what a client's address is counted."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

PREFIX = 64
UNKNOWN = "unknown"


def client_of(scope: Scope) -> str:
    """What the client of a request is counted by; headers do not matter, and whoever has no address is one."""
    client = scope.get("client")
    return network_of(client[0]) if client else UNKNOWN


@lru_cache(maxsize=10_000)
def network_of(host: str) -> str:
    """An IPv4 address, mapped into IPv6 or not, as it is; of another IPv6 address the /64, which one party holds."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host or UNKNOWN
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, PREFIX), strict=False))
