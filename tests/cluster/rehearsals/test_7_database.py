"""The database under way: who leads changes under load, and a restore goes back to a moment."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest

from app.domain import ids
from tests.cluster.place import Place
from tests.cluster.postgres import Change, Postgres
from tests.cluster.releases import NAMESPACE, Installation
from tests.cluster.stand_ins import CLUSTER, RESTORED
from tests.cluster.traffic import Database, Grounds, Scene
from tests.faults.client import Book
from tests.faults.processes import wait_for
from tests.faults.receiver import Behaviour

pytestmark = pytest.mark.unbounded
RATE = 20.0
BEFORE_SECONDS = 5.0
AFTER_SECONDS = 10.0
SLOW = Behaviour(after=3.0)
"""Receivers that take so long have much in flight when the clock is put back."""
SETTLE_SECONDS = 180.0
ROLES = "'postrider_api', 'postrider_worker', 'postrider_autoscaler'"


@pytest.fixture
def postgres(place: Place, installation: Installation) -> Iterator[Postgres]:
    """The instances, one of which leads and is followed, before and after."""
    made = Postgres(place)
    made.wait_whole()
    yield made
    made.wait_whole()


def test_every_event_that_was_taken_outlives_a_switch_over(grounds: Grounds, postgres: Postgres) -> None:
    scene = Scene(grounds, "7 switch-over")
    with scene.load(rate=RATE) as load:
        time.sleep(BEFORE_SECONDS)
        change = postgres.switch_over()
        time.sleep(AFTER_SECONDS)
        book = load.stop()
    _conclude(scene, book, change)


def test_every_event_that_was_taken_outlives_the_death_of_who_leads(grounds: Grounds, postgres: Postgres) -> None:
    scene = Scene(grounds, "7 death of the primary")
    with scene.load(rate=RATE) as load:
        time.sleep(BEFORE_SECONDS)
        change = postgres.fail_over()
        time.sleep(AFTER_SECONDS)
        book = load.stop()
    _conclude(scene, book, change)


def test_a_restore_to_a_moment_voids_leases_and_sends_again_only_what_was_open(
    grounds: Grounds, postgres: Postgres
) -> None:
    scene = Scene(grounds, "7 restore", behaviour=SLOW)
    began = time.monotonic()
    postgres.base_backup()
    before = _sent(scene)
    moment = postgres.now()
    after = _sent(scene)
    scene.settle(SETTLE_SECONDS)
    postgres.archive()
    try:
        postgres.restore_to(moment)
        restored = _restored(grounds, postgres)
        open_then, leased = _open(restored, scene), _open(restored, scene, leased=True)
        known = _known(restored, before), _known(restored, after)
        assert known == (set(before.accepted), set()), "the restore has not come to its moment"
        assert leased, "nothing was in flight at the moment"
        switched = _switch(grounds, postgres)
        took = wait_for(lambda: scene.owed() == 0, SETTLE_SECONDS, "the end of what was open then", every=0.5)
        again = [one.message_id for one in scene.receipts() if one.at > switched]
        assert set(again) == open_then
        assert len(again) == len(open_then), "there was a storm of resends"
        scene.bound = len(open_then)
        note = f"{len(open_then)} open then, {len(leased)} of them under a lease; all sent again {took:.0f} s later"
        scene.conclude(before | after, time.monotonic() - began, note)
    finally:
        postgres.send_callers_to(CLUSTER)
        postgres.forget_restored()


def _conclude(scene: Scene, book: Book, change: Change) -> None:
    scene.settle(SETTLE_SECONDS)
    # What was sent in the second before, and could not be noted any more, is sent again.
    scene.bound += int(RATE)
    taken = sorted(one.at for one in book.accepted.values())
    longest = max(later - sooner for sooner, later in pairwise(taken))
    note = (
        f"{change.before} to {change.now}: nobody led for {change.without_leader:.1f} s, none taken for {longest:.1f} s"
    )
    scene.conclude(book, change.whole, note)
    assert taken[-1] > max((one.began for one in book.harmed()), default=0.0), "it has not been well since"


def _sent(scene: Scene) -> Book:
    with scene.load(rate=RATE) as load:
        time.sleep(BEFORE_SECONDS)
        return load.stop()


def _restored(grounds: Grounds, postgres: Postgres) -> Database:
    """The restored one, as a worker sees it."""
    service = postgres.place.kube().get("v1", "Service", f"{RESTORED}-rw", NAMESPACE)
    before = urlsplit(grounds.database.url).hostname
    found = Database(grounds.database.url.replace(f"@{before}:", f"@{service['spec']['clusterIP']}:"))
    wait_for(lambda: _address(found) != "", SETTLE_SECONDS, "the way to the restored one", every=0.5)
    return found


def _address(database: Database) -> str:
    """That of the instance that answers, or nothing while none does."""
    with suppress(psycopg.OperationalError):
        return str(database.query("SELECT host(inet_server_addr())")[0][0])
    return ""


def _open(database: Database, scene: Scene, *, leased: bool = False) -> set[str]:
    """The messages whose delivery has not ended, or those of them that somebody is sending."""
    found = database.query(
        "SELECT message_id FROM due_deliveries WHERE environment_id = ANY(%s) AND (state = 1 OR NOT %s)",
        scene.organisations,
        leased,
    )
    return {ids.encode("msg", row[0]) for row in found}


def _known(database: Database, book: Book) -> set[str]:
    """Those of the messages that a database has."""
    wanted = [_uuid(one) for one in book.accepted]
    return {ids.encode("msg", row[0]) for row in database.query("SELECT id FROM messages WHERE id = ANY(%s)", wanted)}


def _uuid(message: str) -> UUID:
    found = ids.decode("msg", message)
    assert found is not None, message
    return found


def _switch(grounds: Grounds, postgres: Postgres) -> float:
    """Has everybody call the restored one, as a release with other URLs would; returns when that began."""
    wanted = postgres.place.kube().get("v1", "Pod", f"{RESTORED}-0", NAMESPACE)["status"]["podIP"]
    began = time.monotonic()
    postgres.send_callers_to(RESTORED)
    wait_for(lambda: _address(grounds.database) == wanted, SETTLE_SECONDS, "the way to the other", every=0.5)
    postgres.ask(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename IN ({ROLES})")  # noqa: S608 ours
    return began
