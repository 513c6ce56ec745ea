"""Limits that hold to the request, over all processes: each is counted by itself, in a moving window."""

import time
from collections import deque

from limits import RateLimitItemPerSecond

from app.kit.rate_limits.policy import Identity, Policy, Standing
from app.kit.rate_limits.store import Store

REMEMBERED = 10_000


class Exact:
    """Counts in Redis, and beside it in the process: while Redis is out, the process's own count decides."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._own = OwnWindows()
        self._full_until: dict[str, float] = {}

    async def take(self, policy: Policy, identity: Identity) -> Standing:
        """Spends one. What is refused costs nothing, neither the identity nor Redis until there is room again."""
        key, now = policy.key(identity), time.time()
        if (until := self._full_until.get(key, 0.0)) > now:
            return Standing(policy, allowed=False, remaining=0, reset=until - now)
        standing = await self._store.ask(lambda: self._take_shared(policy, key))
        if standing is None or standing.allowed:
            own = self._own.take(policy, key, now)
            standing = standing or own
        if not standing.allowed:
            self._note_full(key, now, standing.reset)
        return standing

    async def look(self, policy: Policy, identity: Identity) -> Standing:
        """Where somebody stands, who spends nothing by that."""
        key, now = policy.key(identity), time.time()
        if (until := self._full_until.get(key, 0.0)) > now:
            return Standing(policy, allowed=False, remaining=0, reset=until - now)
        return await self._store.ask(lambda: self._look_shared(policy, key)) or self._own.look(policy, key, now)

    async def _look_shared(self, policy: Policy, key: str) -> Standing:
        item = RateLimitItemPerSecond(policy.amount, policy.seconds)
        reset_at, remaining = await self._store.windows.get_window_stats(item, key)
        return Standing(policy, remaining > 0, max(0, remaining), max(0.0, reset_at - time.time()))

    async def _take_shared(self, policy: Policy, key: str) -> Standing:
        item, windows = RateLimitItemPerSecond(policy.amount, policy.seconds), self._store.windows
        allowed = await windows.hit(item, key)
        reset_at, remaining = await windows.get_window_stats(item, key)
        return Standing(policy, allowed, max(0, remaining), max(0.0, reset_at - time.time()))

    def _note_full(self, key: str, now: float, reset: float) -> None:
        if len(self._full_until) >= REMEMBERED:
            self._full_until = {name: until for name, until in self._full_until.items() if until > now}
        if len(self._full_until) < REMEMBERED:
            self._full_until[key] = now + reset


class OwnWindows:
    """Moving windows of one process. Whoever was silent longest is forgotten when there are too many."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._taken: dict[str, deque[float]] = {}

    def take(self, policy: Policy, key: str, now: float) -> Standing:
        """Spends one, if there is one."""
        taken = self._taken.pop(key, None) or deque(maxlen=policy.amount)
        self._taken[key] = taken  # the last of all
        _forget_past(taken, policy, now)
        if allowed := len(taken) < policy.amount:
            taken.append(now)
        if len(self._taken) > self._most:
            del self._taken[next(iter(self._taken))]
        return Standing(policy, allowed, policy.amount - len(taken), taken[0] + policy.seconds - now)

    def look(self, policy: Policy, key: str, now: float) -> Standing:
        """Where somebody stands, who spends nothing by that."""
        taken = self._taken.get(key, deque())
        _forget_past(taken, policy, now)
        reset = taken[0] + policy.seconds - now if taken else 0.0
        return Standing(policy, len(taken) < policy.amount, policy.amount - len(taken), reset)


def _forget_past(taken: deque[float], policy: Policy, now: float) -> None:
    while taken and taken[0] <= now - policy.seconds:
        taken.popleft()
