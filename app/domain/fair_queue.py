"""A room that parties share: who may be inside at once, who waits in line, and whose turn is next."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
LINE_PER_SHARE = 4


@dataclass(slots=True)
class _Party(Generic[T]):
    """How many of a party are inside, when the last of them came, and who waits.

    `called_on` says that the party stands in turns or rests, `seen` when somebody of it came.
    """

    inside: int = 0
    since: float = 0.0
    line: deque[T] = field(default_factory=deque)
    called_on: bool = False
    seen: float = 0.0


class FairQueue(Generic[K, T]):
    """First in first out within a party, in turns between parties, each with a share of the room.

    A party alone has the whole `room`. Where others are, `share` places are enough for each, and a party that wants
    more is greedy. A greedy one goes in by rounds of its share: once all of a round have left it rests, as long as they
    were inside for each round that waits in its line, at most `longest_rest`, so that most of the time is left to the
    others. It does not rest while as many of the others are inside as a share is: they have as much as it has without
    that, and one that rests among many equals would get less than each of them, and never be rid of its line. Nor do
    several greedy ones rest, they divide half of the room. Whoever came within the last `period` is there. Times are in
    seconds, of any clock that does not go back.

    `has_company` says that others are there whom this queue does not see.
    """

    def __init__(self, room: int, *, share: int, period: float, longest_rest: float) -> None:
        self._room = room
        self._least = share
        self._period = period
        self._longest_rest = longest_rest
        self.has_company = False
        self._look_at = 0.0
        self._inside = 0
        self._greedy = 0
        self._parties: dict[K, _Party[T]] = {}
        self._turns: deque[_Party[T]] = deque()
        self._resting: list[tuple[float, int, _Party[T]]] = []
        self._rests = 0

    @property
    def share(self) -> int:
        """How many of a party may be inside now."""
        if self._is_lonely:
            return self._room
        return max(self._least, self._room // 2 // self._greedy) if self._greedy > 1 else self._least

    @property
    def wake_at(self) -> float | None:
        """When `call` has somebody to call, whoever leaves."""
        return self._resting[0][0] if self._resting else None

    def enter(self, party: K, now: float) -> bool:
        """Whether one more of the party may go in at once; if so, it is inside."""
        if now >= self._look_at:
            self._look_at = now + self._period
            self._forget_absent(now)
        one = self._parties.get(party)
        if one is None:
            one = self._parties[party] = _Party()
        one.seen = now
        if one.line or one.inside >= self.share or self._inside >= self._room:
            return False
        self._let_in(one, now)
        self._greedy += self._wants(one, self._least + 1)
        return True

    def is_full(self, party: K) -> bool:
        """Whether one more of the party could neither go in nor stand in line."""
        one = self._parties.get(party)
        places = self._room if self._is_lonely else self._least
        return one is not None and len(one.line) >= places * LINE_PER_SHARE

    def line_up(self, party: K, ticket: T) -> bool:
        """Whether there is room in the line of a party that could not go in; if so, the ticket is at its end."""
        if self.is_full(party):
            return False
        one = self._parties[party]
        one.line.append(ticket)
        self._greedy += self._wants(one, self._least + 1)
        if not one.inside:
            self._await_turn(one)
        return True

    def leave(self, party: K, now: float) -> list[T]:
        """One of the party goes out; the tickets of those who are inside instead."""
        one = self._parties[party]
        one.inside -= 1
        self._inside -= 1
        self._greedy -= self._wants(one, self._least)
        if one.line and not one.called_on:
            self._call_on(one, now)
        return self.call(now) if self._turns or self._resting else []

    def call(self, now: float) -> list[T]:
        """The tickets of those whose turn it is; they are inside."""
        while self._resting and self._resting[0][0] <= now:
            self._turns.append(heappop(self._resting)[2])
        called: list[T] = []
        while self._turns and self._inside < self._room:
            one = self._turns.popleft()
            one.called_on = False
            if one.inside < self.share:
                called.append(one.line.popleft())
                self._let_in(one, now)
                self._await_turn(one)
        return called

    @property
    def _is_lonely(self) -> bool:
        return len(self._parties) <= 1 and not self.has_company

    def _wants(self, one: _Party[T], places: int) -> bool:
        return one.inside + len(one.line) == places

    def _let_in(self, one: _Party[T], now: float) -> None:
        one.inside += 1
        one.since = now
        self._inside += 1

    def _call_on(self, one: _Party[T], now: float) -> None:
        others = self._inside - one.inside
        if self._is_lonely or self._greedy > 1 or others >= self._least:
            self._await_turn(one)
        elif not one.inside:
            one.called_on = True
            self._rests += 1
            rounds = min(len(one.line) / self._least, LINE_PER_SHARE)
            rest = min((now - one.since) * rounds, self._longest_rest)
            heappush(self._resting, (now + rest, self._rests, one))

    def _await_turn(self, one: _Party[T]) -> None:
        if one.line and not one.called_on and one.inside < self.share:
            one.called_on = True
            self._turns.append(one)

    def _forget_absent(self, now: float) -> None:
        earliest = now - self._period
        parties = self._parties.items()
        self._parties = {key: one for key, one in parties if one.seen > earliest or one.inside or one.line}
