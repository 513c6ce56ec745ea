"""Where an authorization server may send browsers: addresses that were registered, letter by letter.

RFC 9700, section 2.1: exact comparison, but for the port of a native app that listens on this machine; HTTPS, but for
such an app.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from app.domain.hosts import host_name, is_loopback

MAX_LENGTH = 2048
_PLAIN = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]#]+")
_PORT = re.compile(r"(?<=[a-z0-9\]]):[0-9]{1,5}$")
_DOTS = frozenset({".", ".."})


def fault(uri: str) -> str | None:
    """What is wrong with it as an address to send people to; None for nothing."""
    if len(uri) > MAX_LENGTH or not _PLAIN.fullmatch(uri):
        return "is no URL: give it as it stands in a browser, at most 2048 plain characters"
    try:
        parts = urlsplit(uri)
        port_is_possible = parts.port != 0
    except ValueError:
        return "is no URL"
    if "#" in uri or "@" in parts.netloc:
        return "may hold neither a fragment nor a user name"
    if not port_is_possible or host_name(parts.netloc) is None or parts.netloc != parts.netloc.lower():
        return "names no host, or not in small letters"
    if any(unquote(one) in _DOTS for one in parts.path.split("/")):
        return "may not hold the path segments . and .."
    return None if parts.scheme == "https" or _is_native(parts) else "must begin with https://, or http:// on loopback"


def is_registered(registered: Iterable[str], asked: str) -> bool:
    """Whether it is one of the registered ones; of one on this machine the port may differ (RFC 8252, 7.3)."""
    known = tuple(registered)
    if asked in known:
        return True
    plain = _without_port(asked) if fault(asked) is None else None
    return plain is not None and any(plain == _without_port(one) for one in known)


def with_parameters(uri: str, parameters: Sequence[tuple[str, str]]) -> str:
    """The address with more parameters; what it had stays as it is. Bytes that are no text stand in for themselves."""
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(parameters, errors='surrogateescape')}"


def host_of(uri: str) -> str:
    """The host, and the port where it is named, as people are told of it."""
    return urlsplit(uri).netloc


def policy_source(uri: str) -> str:
    """What a page's policy has to allow, that one of its forms may lead there."""
    parts = urlsplit(uri)
    # A policy knows no IPv6 addresses.
    return f"{parts.scheme}:" if "[" in parts.netloc else f"{parts.scheme}://{parts.netloc}"


def _is_native(parts: SplitResult) -> bool:
    return parts.scheme == "http" and is_loopback(host_name(parts.netloc) or "")


def _without_port(uri: str) -> str | None:
    """A native app's address without its port; None for any other."""
    parts = urlsplit(uri)
    return parts._replace(netloc=_PORT.sub("", parts.netloc)).geturl() if _is_native(parts) else None
