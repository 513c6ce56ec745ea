"""What is limited, who spends it, and how both are told in header fields.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import limits

POLICY_FIELD, STANDING_FIELD = b"ratelimit-policy", b"ratelimit"
OFF = ("", "0")

Fields = list[tuple[bytes, bytes]]


class Identity(NamedTuple):
    """Who spends: a kind, such as an address or a key, and the text that tells one of that kind from another."""

    kind: str
    text: str


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    amount: int
    seconds: int


def parse_rate(text: str) -> Rate | None:
    """The rate of `6000/minute` or `100/15 minutes`; None for nothing or 0, which is no limit. ValueError otherwise."""
    if text.strip() in OFF:
        return None
    try:
        (item,) = limits.parse_many(text)
    except ValueError:
        msg = f"{text!r} is no rate such as 6000/minute or 100/15 minutes; 0 means no limit"
        raise ValueError(msg) from None
    return Rate(item.amount, item.get_expiry()) if item.amount and item.get_expiry() else None


@dataclass(frozen=True, slots=True)
class Policy:
    """A named limit: `amount` in `seconds`, for each identity of one kind."""

    name: str
    amount: int
    seconds: int

    @classmethod
    def of(cls, name: str, rate: Rate) -> Self:
        """The policy of a rate."""
        return cls(name, rate.amount, rate.seconds)

    def key(self, identity: Identity) -> str:
        """Names the counter of an identity."""
        return f"{self.name}/{self.amount}/{self.seconds}/{identity.kind}/{identity.text}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an identity stands with a policy; `reset` is the seconds until more than `remaining` may be spent.

    `remaining` is None while nobody counts.
    """

    policy: Policy
    allowed: bool
    remaining: int | None
    reset: float


def policy_field(policies: Iterable[Policy]) -> tuple[bytes, bytes]:
    """The RateLimit-Policy field: name, quota and window of each policy."""
    items = [f'"{one.name}";q={one.amount};w={one.seconds}' for one in policies]
    return POLICY_FIELD, ", ".join(items).encode()


def standing_fields(standings: Sequence[Standing]) -> Fields:
    """The RateLimit field: what remains of each policy and for how long; nothing of what is not counted."""
    items = [
        f'"{one.policy.name}";r={one.remaining};t={max(0, math.ceil(one.reset))}'
        for one in standings
        if one.remaining is not None
    ]
    return [(STANDING_FIELD, ", ".join(items).encode())] if items else []
