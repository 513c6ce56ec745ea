"""Both sides of the ledger against each other, and against what the database still owes."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.domain import ids
from tests.faults.client import Book
from tests.faults.receiver import Receipt

_SUCCESS = range(200, 300)


@dataclass(frozen=True)
class State:
    """What the database says of messages at their endpoint: those still owed, and those that ended, by how."""

    pending: frozenset[str]
    succeeded: frozenset[str]
    dead: frozenset[str]


def state_of(query: Callable[..., Sequence[tuple[Any, ...]]], endpoints: Collection[UUID | None]) -> State:
    """What the database says of these endpoints' messages; `query` takes a statement with its values."""

    def messages(statement: str) -> frozenset[str]:
        return frozenset(ids.encode("msg", row[0]) for row in query(statement, list(endpoints)))

    due = messages("SELECT message_id FROM due_deliveries WHERE endpoint_id = ANY(%s) AND trigger = 0")
    ended = "SELECT message_id FROM deliveries WHERE endpoint_id = ANY(%s) AND status"
    return State(due, messages(f"{ended} = 0"), messages(f"{ended} IN (2, 4)"))


@dataclass
class Verdict:
    """What became of a scene's messages. Everything but the counts and `doubled` must be empty."""

    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dead: int = 0
    doubled: int = 0
    lost: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)

    def assert_sound(self, bound: int) -> None:
        """AssertionError when a promise was broken; `bound` is how many may have come twice."""
        for what in ("lost", "altered", "foreign", "split", "unwanted"):
            found = getattr(self, what)
            assert not found, f"{len(found)} messages {what}, such as {found[:3]}; {self}"
        assert self.doubled <= bound, f"{self.doubled} came twice, at most {bound} may"


def judge(book: Book, main: Mapping[str, str], receipts: Sequence[Receipt], state: State) -> Verdict:
    """Compares what clients were promised with what came. `main` is the endpoint's path of each target."""
    by_path = {path: target for target, path in main.items()}
    came = [one for one in receipts if one.path in by_path]
    delivered = {one.message_id for one in came if one.status in _SUCCESS}
    lost = book.accepted.keys() - delivered - state.pending - state.dead
    return Verdict(
        accepted=len(book.accepted),
        delivered=len(delivered & book.accepted.keys()),
        pending=len(book.accepted.keys() & state.pending),
        dead=len(book.accepted.keys() & state.dead - delivered),
        doubled=sum(_doubles(came).values()),
        lost=sorted(lost | (state.succeeded & book.accepted.keys()) - delivered),
        altered=[one.message_id for one in came if _is_altered(one, book)],
        foreign=[one.message_id for one in came if book.offered.get(one.digest) != by_path[one.path]],
        split=_split(came),
    )


def _is_altered(receipt: Receipt, book: Book) -> bool:
    sent = book.accepted.get(receipt.message_id)
    return sent is not None and sent.digest != receipt.digest


def _doubles(receipts: Iterable[Receipt]) -> dict[tuple[str, str], int]:
    """How often each message came once too often: tries that were refused do not count."""
    counts: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    for one in receipts:
        key = (one.path, one.message_id)
        counts[key] += one.status in _SUCCESS
    return {key: count for key, count in counts.items() if count > 0}


def _split(receipts: Iterable[Receipt]) -> list[str]:
    """Payloads, each posted under one idempotency key, that became more than one message."""
    ids = defaultdict(set)
    for one in receipts:
        ids[one.digest].add(one.message_id)
    return [digest for digest, found in ids.items() if len(found) > 1]
