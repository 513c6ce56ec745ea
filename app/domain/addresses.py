"""Which addresses and URLs Postrider may call: the guard against forged internal requests."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
)
from urllib.parse import quote, urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_PORTS = (443, 80, 8443, 8080)
MAX_URL = 65536

_PORTS = range(1, 65536)

_DENIED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only 2000::/3 is global unicast; the three ranges around it hold loopback, IPv4-compatible,
# NAT64, discard, unique local, link local, site local and multicast.
_DENIED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "::/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "4000::/2",
        "8000::/1",
    )
)
# Where a connection ends on this machine itself.
_OWN_V4 = (IPv4Network("127.0.0.0/8"), IPv4Network("0.0.0.0/32"))
_OWN_V6 = (IPv6Network("::/127"), IPv6Network("::ffff:127.0.0.0/104"), IPv6Network("::ffff:0.0.0.0/128"))
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")

_SCHEME_PORTS = {"http": 80, "https": 443}
_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@%/\\?#]+)(?::([0-9]{0,5}))?")
_UNCLEAN = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PLAIN_HOST = re.compile(r"[a-z0-9._-]*")
_ALLOWED = re.compile(r"\[([^\]]+)\](/[0-9]+)?(?::([0-9]+))?|([^:\[\]]+)(?::([0-9]+))?|([^\[\]]+)")
_LONGEST_HOST = 253
# Characters that the two IDNA standards send to different hosts.
_AMBIGUOUS = frozenset("\u00df\u1e9e\u03c2\u200c\u200d")
_LOCAL_NAMES = frozenset({"localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "broadcasthost"})
_LOCAL_DOMAINS = ("localhost", "localdomain", "localdomain4", "localdomain6")
_METADATA_NAMES = frozenset({"metadata", "instance-data", "metadata.google.internal", "metadata.goog"})


class BadUrl(ValueError):
    """A URL that Postrider will not call; `reason` is fit for the caller's eyes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Allowance:
    """An exception to the address rules: a network, on one port or on any."""

    network: Network
    port: int | None = None

    def covers(self, address: Address, port: int) -> bool:
        """Tell whether the exception holds for this address and port."""
        return self.port in {None, port} and address in self.network

    def covers_url(self, url: str) -> bool:
        """Tell whether the exception holds for this URL: its host must be a literal address."""
        try:
            checked = check_url(url, allow=(self,))
        except BadUrl:
            return False
        return checked.address is not None and self.covers(checked.address, checked.port)

    @property
    def covers_loopback(self) -> bool:
        """Whether any address of this machine's own lies in the network, by whatever name it goes there."""
        if isinstance(self.network, IPv4Network):
            return any(self.network.overlaps(one) for one in _OWN_V4)
        return any(self.network.overlaps(one) for one in _OWN_V6)


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A URL taken apart; `host` is ASCII and lower case, `url` is put together from the checked parts.

    `address` is set when the host is a literal address. Only `url` should be given to an HTTP client, so
    that no other parser reads the original in another way.
    """

    scheme: str
    host: str
    port: int
    url: str
    address: Address | None = None


def parse_allow_list(items: Iterable[str]) -> tuple[Allowance, ...]:
    """Read entries such as `127.0.0.0/8`, `10.1.2.3:9000`, `[::1]:8080`, `[fd00::/8]:80`, `fd00::/8`.

    Raises ValueError that names the entry.
    """
    return tuple(_allowance(item.strip()) for item in items)


def parse_networks(items: Iterable[str]) -> tuple[Network, ...]:
    """Read networks that are denied beside the built-in table; ValueError names the entry."""
    return tuple(_network(item.strip(), item) for item in items)


def is_allowed(
    address: str,
    port: int,
    allow: Sequence[Allowance],
    deny_extra: Sequence[Network] = (),
    allowed_ports: Collection[int] | None = None,
) -> bool:
    """Judge one resolved address; what cannot be read is refused.

    `deny_extra` wins over `allow`, which wins over the built-in table. With `allowed_ports` a public
    address is reachable only on those.
    """
    if "%" in address:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    faces = _faces(parsed)
    if any(face in network for network in deny_extra for face in faces):
        return False
    return all(_face_allowed(face, port, allow, allowed_ports) for face in faces)


def check_url(
    url: str,
    *,
    allow: Sequence[Allowance] = (),
    allowed_ports: Collection[int] = DEFAULT_PORTS,
    https_only: bool = False,
) -> CheckedUrl:
    """Take a URL apart and refuse, by BadUrl, what may never be called.

    A literal address is judged at once; a name is judged again by its addresses at each connect.
    """
    scheme, netloc, path, query = _split(url)
    if scheme not in _SCHEME_PORTS or (https_only and scheme != "https"):
        raise BadUrl("the scheme must be https" if https_only else "the scheme must be http or https")
    raw_host, port = _host_and_port(netloc, _SCHEME_PORTS[scheme])
    host, address = _host(raw_host)
    if address:
        _check_literal(address, port, allow, allowed_ports)
    else:
        _check_name(host, port, allow, allowed_ports)
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _SCHEME_PORTS[scheme] else f"{shown}:{port}"
    return CheckedUrl(scheme, host, port, f"{scheme}://{authority}{path}{query}", address)


def _faces(address: Address) -> tuple[Address, ...]:
    """Return the addresses that a connection to this one may reach."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address in _MAPPED:
        return (_embedded(address, 0),)
    if address in _NAT64:
        return (address, _embedded(address, 0))
    if address in _6TO4:
        return (address, _embedded(address, 80))
    return (address,)


def _embedded(address: IPv6Address, shift: int) -> IPv4Address:
    return IPv4Address(int(address) >> shift & 0xFFFF_FFFF)


def _face_allowed(
    address: Address, port: int, allow: Sequence[Allowance], allowed_ports: Collection[int] | None
) -> bool:
    if any(allowance.covers(address, port) for allowance in allow):
        return True
    return not _is_denied(address) and (allowed_ports is None or port in allowed_ports)


def _is_denied(address: Address) -> bool:
    starts, ends = _TABLE_V4 if isinstance(address, IPv4Address) else _TABLE_V6
    number = int(address)
    place = bisect_right(starts, number) - 1
    return place >= 0 and number <= ends[place]


def _table(networks: Iterable[Network]) -> tuple[list[int], list[int]]:
    ordered = sorted((int(network[0]), int(network[-1])) for network in networks)
    return [start for start, _ in ordered], [end for _, end in ordered]


_TABLE_V4 = _table(collapse_addresses(_DENIED_V4))
_TABLE_V6 = _table(collapse_addresses(_DENIED_V6))


def _allowance(item: str) -> Allowance:
    match = _ALLOWED.fullmatch(item)
    if not match:
        message = f"not an address or network: {item!r}"
        raise ValueError(message)
    inner, mask, inner_port, plain, plain_port, bare = match.groups()
    network = _network(inner + (mask or "") if inner else plain or bare, item)
    digits = inner_port or plain_port
    port = int(digits) if digits else None
    if port is not None and port not in _PORTS:
        message = f"not a port: {item!r}"
        raise ValueError(message)
    return Allowance(network, port)


def _network(text: str, item: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        message = f"not an address or network: {item!r} ({error})"
        raise ValueError(message) from None


def _split(url: str) -> tuple[str, str, str, str]:
    if len(url) > MAX_URL:
        raise BadUrl(f"a URL has at most {MAX_URL} characters")
    if _UNCLEAN.search(url):
        raise BadUrl("a URL has no blanks, control characters or backslashes")
    try:
        parts = urlsplit(url)
        path = quote(parts.path, safe="/%:@!$&'()*+,;=-._~") or "/"
        query = quote(parts.query, safe="/%:@!$&'()*+,;=-._~?")
    except ValueError:
        raise BadUrl("the URL is malformed") from None
    return parts.scheme.lower(), parts.netloc, path, f"?{query}" if query else ""


def _host_and_port(netloc: str, default: int) -> tuple[str, int]:
    if "@" in netloc:
        raise BadUrl("a URL has no user name or password")
    match = _NETLOC.fullmatch(netloc)
    if not match:
        raise BadUrl("the host or port is malformed")
    port = int(match[2] or default)
    if port not in _PORTS:
        raise BadUrl("the port is out of range")
    return match[1], port


def _host(text: str) -> tuple[str, Address | None]:
    if text.startswith("["):
        try:
            literal = IPv6Address(text[1:-1])
        except ValueError:
            raise BadUrl("the address is malformed") from None
        return str(literal), literal
    host = _ascii(text)
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        return _ipv4(host)
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise BadUrl("the host name is malformed")
    return host, None


def _ascii(text: str) -> str:
    lower = text.lower()
    host = lower if _PLAIN_HOST.fullmatch(lower) else _idna(lower)
    if len(host) > _LONGEST_HOST:
        raise BadUrl("the host name is too long")
    if host.endswith("."):
        raise BadUrl("a host name has no trailing dot")
    return host


def _idna(text: str) -> str:
    if len(text) > _LONGEST_HOST or _AMBIGUOUS.intersection(text):
        raise BadUrl("the host name is ambiguous or too long: give its xn-- form")
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise BadUrl("the host name is malformed") from None


def _ipv4(host: str) -> tuple[str, IPv4Address]:
    # Whatever ends in a number is an address to some resolver; only the canonical form is taken.
    try:
        return host, IPv4Address(host)
    except ValueError:
        raise BadUrl("an IPv4 address is four decimal numbers") from None


def _check_literal(address: Address, port: int, allow: Sequence[Allowance], allowed_ports: Collection[int]) -> None:
    if not is_allowed(str(address), port, allow):
        raise BadUrl("the address is not allowed")
    if not is_allowed(str(address), port, allow, allowed_ports=allowed_ports):
        raise BadUrl(_port_message(allowed_ports))


def _check_name(host: str, port: int, allow: Sequence[Allowance], allowed_ports: Collection[int]) -> None:
    if _is_local_name(host):
        if not any(entry.covers_loopback and entry.port in {None, port} for entry in allow):
            raise BadUrl("the host is this machine")
    elif host in _METADATA_NAMES:
        raise BadUrl("the host is a cloud's metadata service")
    elif port not in allowed_ports and all(entry.port != port for entry in allow):
        raise BadUrl(_port_message(allowed_ports))


def _is_local_name(host: str) -> bool:
    return host in _LOCAL_NAMES or host.rsplit(".", 1)[-1] in _LOCAL_DOMAINS


def _port_message(allowed_ports: Collection[int]) -> str:
    return f"the port must be one of {', '.join(map(str, sorted(allowed_ports)))}"
