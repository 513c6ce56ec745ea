"""How many deliveries may start now: the cap, the rate, the breaker and the fair share, put together."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from app.domain import breaker, throttle
from app.domain.breaker import HEALTHY, Health

K = TypeVar("K", bound=Hashable)
RECHECK = timedelta(milliseconds=250)
LANE_SHARES = (1.0, 0.75, 0.5)


@dataclass(frozen=True, slots=True)
class Facts(Generic[K]):
    """What is known of an endpoint; `owner` and `tenant` say whose shares it draws on.

    `rate_tat` and `owner_tat` are what the last admission at its own rate and at its owner's returned.
    """

    tenant: K
    owner: K
    in_flight: int = 0
    health: Health = HEALTHY
    rate: int | None = None
    rate_tat: datetime | None = None
    owner_rate: int | None = None
    owner_tat: datetime | None = None


@dataclass(slots=True)
class Admission(Generic[K]):
    """Grants starts to endpoints within one claim; each grant counts against the next.

    `cap` bounds what is in flight at an endpoint. `shares` is how many more each tenant may start; one that is
    absent is not bounded. `tats` and `owner_tats` are the rates' states that the claim must store.
    """

    facts: Mapping[K, Facts[K]]
    now: datetime
    cap: int
    shares: dict[K, int] = field(default_factory=dict)
    started: Counter[K] = field(default_factory=Counter)
    tats: dict[K, datetime] = field(default_factory=dict)
    owner_tats: dict[K, datetime] = field(default_factory=dict)
    _looks: dict[K, datetime] = field(default_factory=dict)

    def grant(self, endpoint: K, lane: int, wanted: int) -> int:
        """How many of `wanted` deliveries to the endpoint may start in this lane."""
        facts = self.facts[endpoint]
        flying = facts.in_flight + self.started[endpoint]
        room = breaker.allowance(facts.health, self.now, flying, lane_cap(self.cap, lane, facts.health))
        granted = min(wanted, room, self.shares.get(facts.tenant, wanted))
        granted = self._by_rate(endpoint, facts, granted)
        self.started[endpoint] += granted
        if facts.tenant in self.shares:
            self.shares[facts.tenant] -= granted
        return granted

    def next_look(self, endpoint: K, lease: timedelta) -> datetime:
        """When more may start at the endpoint.

        The end of what is in flight is told separately, at the latest by the end of its lease.
        """
        facts = self.facts[endpoint]
        known = [self._looks.get(endpoint), breaker.next_check(facts.health, self.now)]
        moments = [moment for moment in known if moment is not None]
        if moments:
            return max(moments)
        flying = facts.in_flight + self.started[endpoint]
        return self.now + (lease if flying else RECHECK)

    def _by_rate(self, endpoint: K, facts: Facts[K], wanted: int) -> int:
        granted = wanted
        if facts.rate is not None:
            granted = self._admit(self.tats, endpoint, facts.rate_tat, facts.rate, granted, endpoint)
        if facts.owner_rate is not None:
            before = granted
            granted = self._admit(self.owner_tats, facts.owner, facts.owner_tat, facts.owner_rate, granted, endpoint)
            # What the owner's rate refused must not cost the endpoint's own.
            if facts.rate is not None and granted < before:
                self._refund(endpoint, facts, before - granted)
        return granted

    def _admit(
        self,
        states: dict[K, datetime],
        subject: K,
        known: datetime | None,
        rate: int,
        wanted: int,
        endpoint: K,
    ) -> int:
        admission = throttle.admit(states.get(subject, known), rate, self.now, wanted)
        states[subject] = admission.tat
        self._looks[endpoint] = max(admission.next_at, self._looks.get(endpoint, admission.next_at))
        return admission.granted

    def _refund(self, endpoint: K, facts: Facts[K], unused: int) -> None:
        assert facts.rate is not None
        self.tats[endpoint] -= timedelta(seconds=unused / facts.rate)


def lane_cap(cap: int, lane: int, health: Health) -> int:
    """The cap of a lane: later lanes leave room for fresh events, and failures in a row halve it each."""
    shared = max(1, int(cap * LANE_SHARES[lane]))
    return max(1, shared >> min(health.consecutive_failures, 16))
