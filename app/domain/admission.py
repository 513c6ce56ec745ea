"""How many deliveries may start now: the cap, the rate, the breaker and the fair share, put together."""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from app.domain import breaker, throttle
from app.domain.breaker import HEALTHY, Health

K = TypeVar("K", bound=Hashable)
RECHECK = timedelta(milliseconds=250)
STOPPED_RECHECK = timedelta(minutes=5)
LANE_SHARES = (1.0, 0.75, 0.5)


@dataclass(frozen=True, slots=True)
class Facts(Generic[K]):
    """What is known of an endpoint; `owner` and `tenant` say whose shares it draws on.

    `rate_tat` and `owner_tat` are what the last admission at its own rate and at its owner's returned. To one that is
    `stopped` nothing goes, whoever asks.
    """

    tenant: K
    owner: K
    in_flight: int = 0
    health: Health = HEALTHY
    rate: int | None = None
    rate_tat: datetime | None = None
    owner_rate: int | None = None
    owner_tat: datetime | None = None
    stopped: bool = False


class _Meter(NamedTuple, Generic[K]):
    """A rate that binds an endpoint: where its state is kept, whose it is, and what was known before."""

    states: dict[K, datetime]
    subject: K
    rate: int
    known: datetime | None

    def admit(self, now: datetime, wanted: int) -> throttle.Admission:
        return throttle.admit(self.states.get(self.subject, self.known), self.rate, now, wanted)


@dataclass(slots=True)
class Admission(Generic[K]):
    """Grants starts to endpoints within one claim; each grant counts against the next.

    `cap` bounds what is in flight at an endpoint, `share` what is of a tenant here, whose count is `used`.
    `tats` and `owner_tats` are the rates' states that the claim must store: those that it spent from.
    """

    facts: Mapping[K, Facts[K]]
    now: datetime
    cap: int
    share: int
    used: Counter[K] = field(default_factory=Counter)
    started: Counter[K] = field(default_factory=Counter)
    tats: dict[K, datetime] = field(default_factory=dict)
    owner_tats: dict[K, datetime] = field(default_factory=dict)

    def room(self, endpoint: K, lane: int, wanted: int) -> int:
        """How many of `wanted` deliveries to the endpoint could start in this lane; nothing is counted."""
        facts = self.facts[endpoint]
        if facts.stopped:
            return 0
        cap = lane_cap(self.cap, lane, facts.health)
        share = lane_share(self.share, lane) - self.used[facts.tenant]
        room = min(wanted, share, breaker.allowance(facts.health, self.now, self._flying(endpoint), cap))
        for meter in self._meters(endpoint):
            room = meter.admit(self.now, room).granted if room > 0 else 0
        return max(0, room)

    def grant(self, endpoint: K, lane: int, wanted: int) -> int:
        """How many of `wanted` deliveries to the endpoint may start in this lane; they count from now on."""
        granted = self.room(endpoint, lane, wanted)
        if granted:
            self._start(endpoint, granted)
            for meter in self._meters(endpoint):
                meter.states[meter.subject] = meter.admit(self.now, granted).tat
        return granted

    def grant_by_hand(self, endpoint: K, wanted: int) -> int:
        """The same for what a person asked for, which only the cap holds back."""
        if self.facts[endpoint].stopped:
            return 0
        granted = max(0, min(wanted, self.cap - self._flying(endpoint)))
        self._start(endpoint, granted)
        return granted

    def next_look(self, endpoint: K, lease: timedelta) -> datetime:
        """When more may start at the endpoint.

        The end of what is in flight is told separately, at the latest by the end of its lease.
        """
        if self.facts[endpoint].stopped:
            return self.now + STOPPED_RECHECK
        check = breaker.next_check(self.facts[endpoint].health, self.now)
        waits = [meter.admit(self.now, 0).next_at for meter in self._meters(endpoint)]
        ahead = [moment for moment in (check, *waits) if moment is not None and moment > self.now]
        if ahead:
            return max(ahead)
        return self.now + (lease if self._flying(endpoint) else RECHECK)

    def _flying(self, endpoint: K) -> int:
        return self.facts[endpoint].in_flight + self.started[endpoint]

    def _start(self, endpoint: K, count: int) -> None:
        self.started[endpoint] += count
        self.used[self.facts[endpoint].tenant] += count

    def _meters(self, endpoint: K) -> Iterator[_Meter[K]]:
        facts = self.facts[endpoint]
        if facts.rate is not None:
            yield _Meter(self.tats, endpoint, facts.rate, facts.rate_tat)
        if facts.owner_rate is not None:
            yield _Meter(self.owner_tats, facts.owner, facts.owner_rate, facts.owner_tat)


def lane_cap(cap: int, lane: int, health: Health) -> int:
    """The cap of a lane: later lanes leave room for fresh events, and failures in a row halve it each."""
    return max(1, lane_share(cap, lane) >> min(health.consecutive_failures, 16))


def lane_share(share: int, lane: int) -> int:
    """How much of a share a lane may use, at least one of it: later lanes leave room for fresh events."""
    return max(1, int(share * LANE_SHARES[lane]))
