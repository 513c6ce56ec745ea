"""Ports of this machine that nobody listens on."""

import secrets
import socket
from collections.abc import Iterable

LOOPBACK = "127.0.0.1"
_LAST_PORT = 65535
# Linux and others give higher ones to whoever connects and names none.
_NEVER_GIVEN = range(11_000, 32_768)


def loopback_hosts() -> list[str]:
    """The addresses behind `localhost` that this machine has."""
    return [host for host in (LOOPBACK, "::1") if _binds(host, 0)]


def is_free(port: int) -> bool:
    """Whether a server could listen there now, by every address of `localhost`."""
    return all(_binds(host, port) for host in loopback_hosts())


def first_free(start: int, *, tries: int = 100) -> int | None:
    """The first free port from `start` upwards; None when a hundred are taken."""
    ports: Iterable[int] = range(start, min(start + tries, _LAST_PORT + 1))
    return next((port for port in ports if is_free(port)), None)


def any_free() -> int:
    """A port the system picks."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def free_range(count: int) -> int:
    """The first of so many ports in a row that nobody listens on, nor gets for a connection before they are used."""
    while True:
        first = _NEVER_GIVEN.start + secrets.randbelow(len(_NEVER_GIVEN) - count)
        if all(is_free(port) for port in range(first, first + count)):
            return first


def keep_or_pick(port: int | None) -> int:
    """The port of last time when it is still free, else another."""
    return port if port and is_free(port) else any_free()


def _binds(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
