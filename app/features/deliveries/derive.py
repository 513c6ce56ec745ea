"""How deliveries stand, from what is append-only alone: what messages owed, what was tried, what operators did."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.features.deliveries import queries
from app.models import ActionKind, Status, Trigger


class Fact(NamedTuple):
    """One thing that happened to a pair. `kind` is `owed`, `attempt` or an act; the last three are an attempt's.

    `at` is when the pair was owed or acted upon, or when the attempt had its answer. `is_last` says that no other
    attempt was planned.
    """

    message_id: UUID
    endpoint_id: UUID
    at: datetime
    kind: str
    trigger: int | None = None
    status: int | None = None
    is_last: bool | None = None

    @property
    def succeeded(self) -> bool:
        """Whether an attempt did."""
        return self.status == Status.success


@dataclass(frozen=True, slots=True)
class Standing:
    """How a pair stands; `failures` are the schedule's since it was owed, `by_hand` is a try that is owed too.

    What is being sent is pending: sending leaves no trace until it ends.
    """

    status: Status | None = None
    failures: int = 0
    by_hand: bool = False

    def after(self, fact: Fact) -> "Standing":
        """The standing after one thing more happened."""
        match fact.kind:
            case "owed" | ActionKind.replay:
                return Standing(Status.pending, 0, self.by_hand)
            case ActionKind.cancel:
                return replace(self, status=self._canceled(), by_hand=False)
            case ActionKind.resend:
                return replace(self, by_hand=True)
            case "attempt" if fact.trigger == Trigger.manual:
                return replace(self, status=Status.success if fact.succeeded else self.status, by_hand=False)
            case _:
                return self._after_attempt(fact)

    def _canceled(self) -> Status | None:
        return Status.canceled if self.status is Status.pending else self.status

    def _after_attempt(self, fact: Fact) -> "Standing":
        if fact.succeeded:
            return replace(self, status=Status.success)
        # A try by hand may have succeeded while this one was under way.
        ends = fact.is_last and self.status is Status.pending
        return replace(self, failures=self.failures + 1, status=Status.fail if ends else self.status)


Pair = tuple[UUID, UUID]


def derive(facts: Iterable[Fact]) -> dict[Pair, Standing]:
    """The standing of every pair (message, endpoint); facts come by pair, and by time within a pair."""
    pairs = groupby(facts, lambda fact: (fact.message_id, fact.endpoint_id))
    return {pair: _fold(happened) for pair, happened in pairs}


def _fold(facts: Iterable[Fact]) -> Standing:
    standing = Standing()
    for fact in facts:
        standing = standing.after(fact)
    return standing


def rebuild(db: Session, environment_id: UUID, message_id: UUID | None = None) -> dict[Pair, Standing]:
    """The standing of every pair of an organisation, or of one message."""
    return derive(Fact(*row) for row in db.execute(queries.history(environment_id, message_id)))
