"""How unusual a sign-in is, and why: what somebody tries now against what the same person did before.

Nothing here blocks or authenticates anybody. The score only says from when on a second step is asked for; the reasons
are what the audit log tells.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.addresses import Address
from app.domain.places import NOWHERE_KNOWN, Place, block_of, distance_km


class Reason(StrEnum):
    """What is unusual."""

    new_device = "new_device"
    new_network = "new_network"
    impossible_travel = "impossible_travel"
    burst = "burst"
    spraying = "spraying"
    unusual_hour = "unusual_hour"


WEIGHTS: Mapping[Reason, int] = {
    Reason.new_device: 30,
    Reason.new_network: 20,
    Reason.impossible_travel: 60,
    Reason.burst: 50,
    Reason.spraying: 50,
    Reason.unusual_hour: 10,
}
"""From 50 on, the default, each of the three that are attacks asks for a second step; so do two that may be travel."""
MOST = 100
FASTEST_KM_PER_HOUR = 1000.0
NEAR_KM = 500.0
"""Databases of places err by so much, and people who live apart from their provider's mast do not travel."""
LATELY = timedelta(minutes=15)
BURST_FAILURES, BURST_BEGINNINGS = 5, 10
SPRAYED = 10
KNOWN_HABIT, HABIT_HOURS = 10, 3
_DAY_HOURS = 24


@dataclass(frozen=True, slots=True)
class Sighting:
    """A time at which the person was signed in before, and from where."""

    at: datetime
    address: Address | None = None
    place: Place = NOWHERE_KNOWN


@dataclass(frozen=True, slots=True)
class Attempt:
    """A proof that was just given.

    `failures` are those of the person's account lately, `others` those for other people from the same address, `begun`
    the person's sessions that began lately.
    """

    now: Sighting
    is_known_device: bool
    failures: int = 0
    others: int = 0
    begun: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an attempt is worth: 0 is as ever, 100 the most unusual."""

    score: int
    reasons: tuple[Reason, ...]


def judge(attempt: Attempt, history: Sequence[Sighting]) -> Judgement:
    """Weighs an attempt against the person's past sessions, in any order. Who has none has no habits to break."""
    reasons = tuple(_reasons(attempt, history))
    return Judgement(min(MOST, sum(WEIGHTS[one] for one in reasons)), reasons)


def _reasons(attempt: Attempt, history: Sequence[Sighting]) -> Iterator[Reason]:
    now = attempt.now
    if history and not attempt.is_known_device:
        yield Reason.new_device
    if _is_new_network(now, history):
        yield Reason.new_network
    if _is_impossible(now, history):
        yield Reason.impossible_travel
    if attempt.failures >= BURST_FAILURES or attempt.begun >= BURST_BEGINNINGS:
        yield Reason.burst
    if attempt.others >= SPRAYED:
        yield Reason.spraying
    if _is_unusual_hour(now, history):
        yield Reason.unusual_hour


def _network(sighting: Sighting) -> str | None:
    if sighting.place.network is not None:
        return f"AS{sighting.place.network}"
    return None if sighting.address is None else block_of(sighting.address)


def _is_new_network(now: Sighting, history: Sequence[Sighting]) -> bool:
    before = {_network(one) for one in history} - {None}
    return bool(before) and _network(now) not in before | {None}


def _is_impossible(now: Sighting, history: Sequence[Sighting]) -> bool:
    here = now.place.point
    seen = [(one.at, one.place.point) for one in history if one.place.point is not None and one.at <= now.at]
    if here is None or not seen:
        return False
    at, there = max(seen)
    assert there is not None
    way, hours = distance_km(here, there), (now.at - at) / timedelta(hours=1)
    return way > NEAR_KM and way > FASTEST_KM_PER_HOUR * hours


def _is_unusual_hour(now: Sighting, history: Sequence[Sighting]) -> bool:
    apart = [abs(one.at.hour - now.at.hour) for one in history]
    return len(apart) >= KNOWN_HABIT and all(min(one, _DAY_HOURS - one) > HABIT_HOURS for one in apart)
