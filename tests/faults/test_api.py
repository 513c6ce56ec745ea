"""The API killed on both sides of the commit: what clients do not know is neither lost nor done twice."""

import signal
from collections.abc import Iterator

import pytest

from app.cli.dev.roles import API
from tests.faults.client import Book, Load
from tests.faults.failpoints import Failpoint
from tests.faults.lab import Lab, Scene, api_children
from tests.faults.processes import kill, send, wait_for
from tests.system import System

pytestmark = pytest.mark.timeout(900)
AGAIN_SECONDS = 5.0


def test_f04_api_killed_after_the_commit(lab: Lab, installation: System) -> None:
    """Clients that never heard of a message ask again under its key, and get that very message."""
    scene = Scene(lab, installation, "F04 API killed before its answer")
    unheard: set[str] = set()
    recoveries = []
    with (
        Failpoint(lab.postgres, scene.database, "messages", at_commit=True) as point,
        scene.load() as load,
    ):
        for _ in _rounds(lab, load):
            with point.closed():
                wait_for(lambda: point.waiting() > 0, 10, "a commit")
                send(signal.SIGSTOP, api_children(installation))
            wait_for(lambda: not _is_busy(lab), 10, "the commits")
            unheard |= scene.stored() - set(load.book.accepted)
            kill(*api_children(installation))
            recoveries.append(_wait_for_more(load.book))
        book = load.stop()
    scene.settle(30)
    scene.conclude(book, recovery=max(recoveries), note=f"{len(unheard)} committed without an answer")
    assert unheard
    assert unheard <= book.accepted.keys()
    assert set(book.statuses) <= {0, 202}
    assert max(recoveries) <= AGAIN_SECONDS


def test_f05_api_killed_before_the_commit(lab: Lab, installation: System) -> None:
    """What was not committed leaves no trace: clients that do not ask again have sent nothing."""
    scene = Scene(lab, installation, "F05 API killed before its commit")
    recoveries = []
    with (
        Failpoint(lab.postgres, scene.database, "messages") as point,
        scene.load(retries=False) as load,
    ):
        for _ in _rounds(lab, load):
            with point.closed():
                # Answers to what was stored before are on their way; nothing new is stored.
                wait_for(lambda: point.waiting() > 0 and scene.stored() == set(load.book.accepted), 10, "an insert")
                kill(*api_children(installation))
            recoveries.append(_wait_for_more(load.book))
        book = load.stop()
    scene.settle(30)
    scene.conclude(book, recovery=max(recoveries), note=f"{book.given_up} requests ended without a trace")
    assert book.given_up
    assert scene.stored() == book.accepted.keys()
    assert {one.digest for one in scene.receipts()} == {one.digest for one in book.accepted.values()}
    assert max(recoveries) <= AGAIN_SECONDS


def _rounds(lab: Lab, load: Load) -> Iterator[None]:
    """So many kills, with some hundreds of messages before each; 20 000 in all in the full form."""
    rounds, between = (3, 200) if lab.bounded else (20, 1000)
    for number in range(rounds):
        load.wait_accepted((number + 1) * between, 60)
        yield


def _wait_for_more(book: Book) -> float:
    count = len(book.accepted)
    return wait_for(lambda: len(book.accepted) > count, 30, "answers after a kill")


def _is_busy(lab: Lab) -> bool:
    (found,) = lab.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state = 'active'", API)
    return bool(found[0])
