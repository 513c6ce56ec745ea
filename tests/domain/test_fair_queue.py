"""The fair queue: turns, shares and bounds, and that nobody who stands in line is forgotten."""

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fair_queue import LINE_PER_SHARE, FairQueue

ROOM, SHARE, PERIOD, LONGEST_REST = 12, 3, 10.0, 5.0
Queue = FairQueue[str, int]


@pytest.fixture
def queue() -> Queue:
    return FairQueue(ROOM, share=SHARE, period=PERIOD, longest_rest=LONGEST_REST)


def come(queue: Queue, parties: Iterable[str], now: float = 1.0) -> str:
    """How each fares, in order: i(nside), l(ine) or r(efused)."""
    return "".join(
        "i" if queue.enter(one, now) else "l" if queue.line_up(one, number) else "r"
        for number, one in enumerate(parties)
    )


def go(queue: Queue, parties: str, now: float = 1.0) -> list[int]:
    """Who is called as one after the other leaves."""
    return [ticket for one in parties for ticket in queue.leave(one, now)]


class TestShares:
    def test_a_party_alone_has_the_whole_room(self, queue: Queue) -> None:
        assert come(queue, "a" * 100) == "i" * 12 + "l" * 48 + "r" * 40

    def test_where_others_are_it_has_a_few_places(self, queue: Queue) -> None:
        assert come(queue, "b" + "a" * 20) == "i" * 4 + "l" * 12 + "r" * 5
        assert come(queue, "b" * 3) == "iil"

    def test_a_full_room_lets_nobody_in(self, queue: Queue) -> None:
        assert come(queue, "abcde" * 3) == "i" * 12 + "lll"

    def test_what_went_in_before_others_came_stays(self, queue: Queue) -> None:
        assert come(queue, "a" * 8 + "b" + "a") == "i" * 9 + "l"
        assert go(queue, "a" * 7) == []
        assert go(queue, "a") == [9]

    def test_who_is_refused_stands_nowhere(self, queue: Queue) -> None:
        come(queue, "b" + "a" * 100)
        assert [queue.is_full(one) for one in "abc"] == [True, False, False]
        called = [ticket for _ in range(5) for ticket in go(queue, "aaa")]
        assert called == list(range(4, 16))


class TestRounds:
    def test_a_line_is_called_in_rounds_and_rests_for_each_that_waits(self, queue: Queue) -> None:
        come(queue, "b" + "a" * 9, now=1.0)
        assert go(queue, "aa", now=1.2) == []
        assert queue.wake_at is None
        assert go(queue, "a", now=1.5) == []
        assert queue.wake_at == 2.5
        assert queue.call(2.4) == []
        assert queue.call(2.5) == [4, 5, 6]
        assert queue.wake_at is None

    def test_a_rest_has_an_end_however_long_the_round_was(self, queue: Queue) -> None:
        come(queue, "b" + "a" * 9, now=1.0)
        go(queue, "aaa", now=100.0)
        assert queue.wake_at == 100.0 + LONGEST_REST

    def test_a_line_that_was_longer_rests_no_longer_than_a_full_one(self) -> None:
        queue: Queue = FairQueue(ROOM, share=1, period=PERIOD, longest_rest=100.0)
        come(queue, "a" * 30)
        queue.has_company = True
        assert go(queue, "a" * 12, now=2.0) == []
        assert queue.wake_at == 2.0 + 1.0 * LINE_PER_SHARE

    def test_several_greedy_ones_divide_half_of_the_room_and_do_not_rest(self) -> None:
        queue: Queue = FairQueue(20, share=3, period=PERIOD, longest_rest=LONGEST_REST)
        assert come(queue, "ab" * 6) == "i" * 6 + "l" * 6
        assert queue.share == 5
        assert go(queue, "ab", now=9.0) == [6, 8, 10, 7, 9, 11]
        assert queue.wake_at is None

    def test_a_greedy_one_does_not_rest_where_as_many_of_others_are_inside_as_a_share_is(self, queue: Queue) -> None:
        come(queue, "bcd" + "a" * 5, now=1.0)
        assert go(queue, "a", now=2.0) == [6]
        go(queue, "b", now=2.0)
        assert go(queue, "aaa", now=3.5) == []
        assert queue.wake_at == 4.0

    def test_who_comes_while_its_line_rests_stands_behind_it(self, queue: Queue) -> None:
        come(queue, "b" + "a" * 4, now=1.0)
        go(queue, "aaa", now=4.0)
        assert come(queue, "ba", now=4.0) == "il"
        assert queue.call(5.0) == [4, 1]

    def test_alone_there_are_no_rounds(self, queue: Queue) -> None:
        come(queue, "a" * 14)
        assert go(queue, "aa") == [12, 13]


class TestPresence:
    def test_who_came_within_the_period_is_there(self, queue: Queue) -> None:
        come(queue, "b", now=1.0)
        go(queue, "b")
        assert come(queue, "a" * 4, now=PERIOD) == "iiil"

    def test_who_did_not_come_again_is_forgotten(self, queue: Queue) -> None:
        come(queue, "ba", now=1.0)
        go(queue, "b")
        come(queue, "a", now=PERIOD)
        assert queue.share == SHARE
        come(queue, "a", now=1.0 + PERIOD)
        assert queue.share == ROOM

    def test_who_is_inside_is_there_however_long(self, queue: Queue) -> None:
        come(queue, "b")
        for number in range(1, 5):
            come(queue, "a", now=1.0 + number * PERIOD)
        assert queue.share == SHARE


class TestTurns:
    def test_parties_take_turns_where_the_room_is_full(self, queue: Queue) -> None:
        come(queue, "abcd" * 3)
        come(queue, "xxxyyz")
        assert go(queue, "abcdab") == [0, 3, 5, 1, 4, 2]


def test_one_of_many_equals_that_was_held_up_is_not_held_up_for_ever() -> None:
    equals, commit, seconds = range(50), 0.02, 4.0
    queue: FairQueue[int, int] = FairQueue(256, share=8, period=2.0, longest_rest=0.25)
    callers, inside, now = itertools.cycle(equals), deque[int](), 0.0

    def post(party: int) -> None:
        if queue.enter(party, now):
            inside.append(party)
        else:
            assert queue.line_up(party, party), "refused, though it asks for no more than others do"

    for party in [*itertools.islice(callers, 236), *[7] * 20]:
        post(party)
    while now < seconds:
        now += commit
        inside.extend(queue.call(now))
        stored = [inside.popleft() for _ in range(128)]
        for party in stored:
            inside.extend(queue.leave(party, now))
        for _ in stored:
            post(next(callers))
    assert not queue.is_full(7)


PARTIES = st.sampled_from("abcde")
STEPS = st.lists(st.tuples(st.sampled_from(["come", "come", "leave", "wait"]), PARTIES), max_size=200)


class Model:
    """Comes and goes at random, and keeps its own account of it."""

    def __init__(self, room: int, share: int) -> None:
        self.queue: Queue = FairQueue(room, share=share, period=PERIOD, longest_rest=LONGEST_REST)
        self.room = room
        self.now = 0.0
        self.inside: Counter[str] = Counter()
        self.lines: dict[str, deque[int]] = defaultdict(deque)
        self.owners: list[str] = []

    def come(self, party: str) -> None:
        before, share = self.inside[party], self.queue.share
        if self.queue.enter(party, self.now):
            assert not self.lines[party], "passed those who stand in line"
            # Whoever becomes greedy by going in makes the share smaller only for those who come later.
            assert before < max(share, self.queue.share)
            self.inside[party] += 1
        elif self.queue.line_up(party, len(self.owners)):
            self.lines[party].append(len(self.owners))
            self.owners.append(party)
            assert len(self.lines[party]) <= self.queue.share * LINE_PER_SHARE
        assert self.inside.total() <= self.room

    def leave(self, party: str) -> None:
        if self.inside[party]:
            self.inside[party] -= 1
            self.account(self.queue.leave(party, self.now))

    def wait(self, _: str) -> None:
        self.now += PERIOD / 3
        self.account(self.queue.call(self.now))

    def account(self, called: list[int]) -> None:
        for ticket in called:
            owner = self.owners[ticket]
            assert self.lines[owner].popleft() == ticket, "first in, first out"
            self.inside[owner] += 1
            assert self.inside[owner] <= self.queue.share
        assert self.inside.total() <= self.room

    def drain(self) -> None:
        while self.inside.total() or self.queue.wake_at is not None:
            for party in "abcde":
                self.leave(party)
            self.now = max(self.now, self.queue.wake_at or 0.0)
            self.account(self.queue.call(self.now))


@given(STEPS, st.integers(1, 20), st.integers(1, 4))
def test_bounds_hold_and_everyone_in_line_gets_in(steps: list[tuple[str, str]], room: int, share: int) -> None:
    model = Model(room, min(room, share))
    for act, party in steps:
        getattr(model, act)(party)
    model.drain()
    assert not any(model.lines.values())
