"""Nobody learns from an answer who is known here: neither from what it says nor from how long it takes."""

import statistics
import time
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.api.client import Reply
from tests.people.visitor import Forms, Known, Visitor, new_person

Stranger = Callable[[], Visitor]
ROUNDS, MOST_ROUNDS = 15, 75
MOST_SECONDS = 0.010


async def timed(visitor: Visitor, path: str, **fields: str) -> tuple[float, Reply]:
    """How long the answer to a form takes, without the page on which it stands."""
    form = Forms((await visitor.get(path)).raw.decode()).forms[path]
    began = time.perf_counter()
    reply = await visitor.post(path, {**form, **fields})
    return time.perf_counter() - began, reply


def neutral(reply: Reply, address: str) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    """An answer without what it repeats of the question, and what differs in every one."""
    headers = {name.lower(): value for name, value in reply.headers.items()}
    for one in ("x-request-id", "date", "set-cookie", "content-length"):
        headers.pop(one, None)
    csrf = next((form["csrf"] for form in Forms(reply.raw.decode()).forms.values()), "")
    return (
        reply.status,
        reply.raw.decode().replace(address, "").replace(csrf or "-", ""),
        tuple(sorted(headers.items())),
    )


class Medians:
    """How long two kinds of answers take, measured in turns until their medians are close or many were measured.

    Noise of the machine goes away with more of them; a real difference stays.
    """

    def __init__(self) -> None:
        self._took: tuple[list[float], list[float]] = ([], [])

    def note(self, known: float, unknown: float) -> None:
        for took, seconds in zip(self._took, (known, unknown), strict=True):
            took.append(seconds)

    @property
    def difference(self) -> float:
        known, unknown = map(statistics.median, self._took)
        return abs(known - unknown)

    @property
    def is_settled(self) -> bool:
        rounds = len(self._took[0])
        return rounds >= MOST_ROUNDS or (rounds >= ROUNDS and self.difference < MOST_SECONDS)


@pytest.mark.acceptance("P06")
async def test_an_unknown_address_and_a_wrong_password_take_the_same_time_and_words(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    medians, told = Medians(), set()
    while not medians.is_settled:
        known = new_person(sessions, person.organisation_id).email
        took = []
        for address in (known, f"not.{known}"):
            seconds, reply = await timed(stranger(), "/sign-in", email=address, password="not the password")
            took.append(seconds)
            told.add(neutral(reply, address))
        medians.note(*took)
    assert len(told) == 1
    assert {status for status, _, _ in told} == {401}
    assert medians.difference < MOST_SECONDS


@pytest.mark.acceptance("P07")
async def test_asking_for_a_new_password_takes_the_same_time_for_everybody(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    medians = Medians()
    while not medians.is_settled:
        known = new_person(sessions, person.organisation_id).email
        asked = [await timed(stranger(), "/password/forgotten", email=one) for one in (known, f"not.{known}")]
        assert [reply.status for _, reply in asked] == [202, 202]
        medians.note(*(seconds for seconds, _ in asked))
    assert medians.difference < MOST_SECONDS


@pytest.mark.acceptance("P06")
async def test_a_person_without_a_password_is_told_the_same(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    bare = new_person(sessions, person.organisation_id, password=None).email
    told = []
    for address in (bare, "nobody@example.test"):
        _, reply = await timed(stranger(), "/sign-in", email=address, password="")
        told.append(neutral(reply, address))
    assert told[0] == told[1]
    assert told[0][0] == 401
