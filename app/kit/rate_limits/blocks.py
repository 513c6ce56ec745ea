"""Limits for hot paths: a process takes a block from Redis ahead of need, and spends it without asking anybody.

Windows are fixed, and aligned to the clock. In one window all processes together let through at most what the policy
allows, and at least that less one block for each process: what it holds and does not spend. A block is a twentieth of
the limit, at least one. While Redis is out everything is let through.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence

from limits import RateLimitItemPerSecond

from app.kit.circuit import REST_SECONDS
from app.kit.rate_limits.policy import Fields, Identity, Policy, Standing, policy_field, standing_fields
from app.kit.rate_limits.store import Store

PARTS = 20
REFRESH_SECONDS = 0.25
REMEMBERED = 10_000
UNCOUNTED = 2**62


def block_of(policy: Policy) -> int:
    """How much of the limit a process holds at most."""
    return max(1, policy.amount // PARTS)


class Bucket:
    """What this process may still spend for one identity: `left` until the time `until`.

    A portion is two thirds of a block and is asked for when less than half of one is left, so that both together
    are no more than a block.
    """

    __slots__ = ("_filling", "_identity", "_policy", "_portion", "_shared", "_store", "is_full", "left", "low", "until")

    def __init__(self, store: Store, policy: Policy, identity: Identity) -> None:
        self._store, self._policy, self._identity = store, policy, identity
        self._portion = max(1, block_of(policy) * 2 // 3)
        self._shared: int | None = None
        self._filling: asyncio.Task[None] | None = None
        self.low = self._portion // 2
        self.left = 0
        self.until = 0.0
        self.is_full = False

    def has_room(self, now: float) -> bool:
        """Whether one can be spent at once."""
        return self.left > 0 and now < self.until

    def is_refusing(self, now: float) -> bool:
        """Whether nothing is left, here and in Redis, until the window ends."""
        return self.is_full and self.left <= 0 and now < self.until

    def standing(self, now: float) -> Standing:
        """Where the identity stands, as far as this process knows."""
        remaining = None if self._shared is None else self._shared + max(0, self.left)
        return Standing(self._policy, not self.is_refusing(now), remaining, max(0.0, self.until - now))

    def fill(self) -> asyncio.Task[None]:
        """Asks for another portion, unless that is going on."""
        if self._filling is None:
            self._filling = asyncio.create_task(self._fill(), name="rate limit")
            self._filling.add_done_callback(self._filled)
        return self._filling

    def _filled(self, task: asyncio.Task[None]) -> None:
        self._filling = None
        if not task.cancelled():
            task.result()

    async def _fill(self) -> None:
        policy = self._policy
        window = int(time.time()) // policy.seconds
        end = float((window + 1) * policy.seconds)
        name = RateLimitItemPerSecond(policy.amount, policy.seconds).key_for(policy.key(self._identity), str(window))
        count = await self._store.ask(lambda: self._store.counters.incr(name, policy.seconds, self._portion))
        if count is None:
            self._let_through()
        else:
            self._receive(self._portion - max(0, count - policy.amount), max(0, policy.amount - count), end)

    def _receive(self, granted: int, shared: int, end: float) -> None:
        held = self.left if self.until == end else 0
        self.left, self.until = held + max(0, granted), end
        self._shared, self.is_full = shared, shared == 0

    def _let_through(self) -> None:
        self.left, self.until = UNCOUNTED, time.time() + REST_SECONDS
        self._shared, self.is_full = None, False


class Meter:
    """What one caller spends: of every bucket at once. `take` is for the hot path, `wait` for when it says no."""

    __slots__ = ("_buckets", "_fields", "_policy_field", "_refresh_at")

    def __init__(self, buckets: Sequence[Bucket], policies: tuple[bytes, bytes]) -> None:
        self._buckets = buckets
        self._policy_field = policies
        self._fields: Fields = []
        self._refresh_at = 0.0

    def take(self, now: float) -> bool:
        """Spends one and returns True, if that needs no waiting. `now` is time.time()."""
        for bucket in self._buckets:
            if bucket.left <= 0 or now >= bucket.until:
                return False
        for bucket in self._buckets:
            bucket.left -= 1
            if bucket.left < bucket.low and not bucket.is_full:
                bucket.fill()
        return True

    async def wait(self) -> Standing | None:
        """Spends one, asking Redis if need be. Returns where it is refused, None when it was spent."""
        self._refresh_at = 0.0
        while not self.take(now := time.time()):
            for bucket in self._buckets:
                if bucket.is_refusing(now):
                    return bucket.standing(now)
            for bucket in self._buckets:
                if not bucket.has_room(now):
                    # Others wait for the same answer, also when this request is cancelled.
                    await asyncio.shield(bucket.fill())
        return None

    def fields(self, now: float) -> Fields:
        """The header fields of an answer: fresh after `wait`, else a quarter of a second old at most."""
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_SECONDS
            standings = [one.standing(now) for one in self._buckets]
            self._fields = [self._policy_field, *standing_fields(standings)] if standings else []
        return self._fields


class Blocks:
    """The meters of one class of requests. Buckets are shared between callers that have an identity in common."""

    def __init__(self, store: Store, policies: Sequence[tuple[str, Policy]]) -> None:
        self._store = store
        self._policies = policies
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._meters: dict[tuple[str, ...], Meter] = {}

    def meter(self, *who: str) -> Meter | None:
        """The meter that was made for these texts."""
        return self._meters.get(who)

    def make(self, who: tuple[str, ...], identities: Iterable[Identity]) -> Meter:
        """A meter of these identities, of which those count for which there is a policy, and the other way round."""
        texts = dict(identities)
        spent = [(policy, Identity(kind, texts[kind])) for kind, policy in self._policies if kind in texts]
        buckets = [self._bucket(policy, identity) for policy, identity in spent]
        if len(self._meters) >= REMEMBERED:
            self._meters.clear()
        made = self._meters[who] = Meter(buckets, policy_field(policy for policy, _ in spent))
        return made

    def _bucket(self, policy: Policy, identity: Identity) -> Bucket:
        found = self._buckets.get(identity)
        if found is None:
            if len(self._buckets) >= REMEMBERED:
                self._forget()
            found = self._buckets[identity] = Bucket(self._store, policy, identity)
        return found

    def _forget(self) -> None:
        """Lets the buckets of past windows go, and all when that is too few; no meter keeps one that is forgotten."""
        now = time.time()
        self._buckets = {name: one for name, one in self._buckets.items() if now < one.until}
        if len(self._buckets) > REMEMBERED // 2:
            self._buckets = {}
        self._meters.clear()
