"""What one attempt means."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Failure(StrEnum):
    """Why an attempt got no complete HTTP answer."""

    TIMEOUT = "timeout"
    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    RESET = "reset"
    TLS = "tls"
    BLOCKED_ADDRESS = "blocked_address"
    INVALID_URL = "invalid_url"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    PROXY = "proxy"
    LOCAL = "local"
    OTHER = "other"


# Faults on our side of the wire: they fail the attempt but say nothing of the endpoint.
_OURS = frozenset({Failure.PROXY, Failure.LOCAL})

_SUCCESS = range(200, 300)
_GONE = 410
_SLOW_DOWN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an attempt; `blames` says whether the endpoint's health is affected."""

    success: bool
    disable: bool
    slow_down: bool
    blames: bool = True


@lru_cache(maxsize=4096)
def judge(status: int | None, failure: Failure | None) -> Verdict:
    """Judge an attempt: only a whole 2xx answer succeeds, redirects fail, 410 disables."""
    return Verdict(
        success=failure is None and status in _SUCCESS,
        disable=status == _GONE,
        slow_down=status in _SLOW_DOWN,
        blames=failure not in _OURS,
    )
