"""Migrations take their turn, step aside for others, and go on where they were interrupted."""

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import psycopg
import pytest

from app.cli.dev.roles import plain_url
from tests.cluster import pods
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import NAMESPACE, Installation, newest_revision
from tests.cluster.traffic import Database, Grounds, Scene, assert_unharmed
from tests.faults.processes import wait_for

RATE = 10.0
STEPS = [("first",), ("second",)]
ENDED_SECONDS = 150.0
JOB = "postrider-migrations"


@pytest.fixture(autouse=True)
def _schema_of_before(migrator: Database) -> Iterator[None]:
    """Takes the steps of the rehearsal back."""
    yield
    migrator.query("ALTER TABLE applications DROP COLUMN IF EXISTS rehearsed")
    migrator.query("DROP TABLE IF EXISTS rehearsed_steps")
    migrator.query("UPDATE alembic_version SET version_num = %s", newest_revision())


def test_of_two_at_once_one_waits(
    grounds: Grounds, migrator: Database, installation: Installation, released: Released
) -> None:
    scene = Scene(grounds, "5 two migrations at once")
    with scene.load(rate=RATE) as load:
        began = time.monotonic()
        names = [_start(installation, released, number) for number in (1, 2)]
        assert [_end(installation, name) for name in names] == ["Complete", "Complete"]
        took = time.monotonic() - began
        book = load.stop()
    said = [_said(installation, name) for name in names]
    scene.settle(60)
    scene.conclude(book, took, f"{sum('another one runs' in one for one in said)} waited")
    assert migrator.query("SELECT name FROM rehearsed_steps ORDER BY name") == STEPS
    assert sum("another one runs" in one for one in said) == 1
    assert_unharmed(book)


def test_a_long_transaction_is_waited_for_without_holding_up_callers(
    grounds: Grounds, migrator: Database, installation: Installation, released: Released
) -> None:
    scene = Scene(grounds, "5 a long transaction")
    with scene.load(rate=RATE) as load:
        began = time.monotonic()
        with psycopg.connect(plain_url(migrator.url)) as holder:
            # It only rests, which the server lets nobody do for long; what it stands for is at work all the time.
            holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            holder.execute("LOCK TABLE applications IN ACCESS SHARE MODE")
            name = _start(installation, released, 1)
            wait_for(
                lambda: "it lets others go first" in _said(installation, name),
                ENDED_SECONDS,
                "a lock timeout",
                every=0.5,
            )
            assert migrator.query("SELECT name FROM rehearsed_steps") == STEPS[:1]
        assert _end(installation, name) == "Complete"
        took = time.monotonic() - began
        book = load.stop()
    tries = _said(installation, name).count("it lets others go first")
    scene.settle(60)
    scene.conclude(book, took, f"{tries} tries given up; the slowest request took {book.slowest():.1f} s")
    assert migrator.query("SELECT name FROM rehearsed_steps ORDER BY name") == STEPS
    assert_unharmed(book)


def test_an_interrupted_migration_is_resumed(
    grounds: Grounds, migrator: Database, installation: Installation, released: Released
) -> None:
    scene = Scene(grounds, "5 an interrupted migration")
    with scene.load(rate=RATE) as load:
        began = time.monotonic()
        name = _start(installation, released, 1)
        wait_for(lambda: _has_reached_second(migrator), ENDED_SECONDS, "the second step", every=0.5)
        (victim,) = _pods(installation, name)
        killed = pods.kill(victim)
        assert _end(installation, name) == "Complete"
        took = time.monotonic() - began
        book = load.stop()
    scene.settle(60)
    scene.conclude(book, took, f"{killed} processes killed in the second step; {len(_pods(installation, name))} pods")
    assert killed
    assert len(_pods(installation, name)) == 2
    assert migrator.query("SELECT name FROM rehearsed_steps ORDER BY name") == STEPS
    assert_unharmed(book)


def _start(installation: Installation, released: Released, number: int) -> str:
    """Starts the job of the release with two more steps, under a name of its own."""
    (found,) = [
        one for one in released("two_steps").manifests if one["metadata"]["name"] == JOB and one["kind"] == "Job"
    ]
    job: dict[str, Any] = deepcopy(dict(found))
    name = f"{JOB}-{number}-{int(time.time())}"
    job["metadata"] = {"name": name, "namespace": NAMESPACE, "labels": job["metadata"]["labels"]}
    installation.kube.create(job)
    return name


def _end(installation: Installation, name: str) -> str:
    """How a job ended."""

    def conditions() -> set[str]:
        status = installation.kube.get("batch/v1", "Job", name, NAMESPACE).get("status", {})
        held = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
        return held & {"Complete", "Failed"}

    wait_for(lambda: bool(conditions()), ENDED_SECONDS, f"the end of {name}", every=0.5)
    return conditions().pop()


def _pods(installation: Installation, name: str) -> list[Any]:
    return list(installation.kube.list("v1", "Pod", NAMESPACE, selector=f"job-name={name}"))


def _said(installation: Installation, name: str) -> str:
    return installation.last_words(f"job-name={name}")


def _has_reached_second(migrator: Database) -> bool:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
    return bool(migrator.query(statement)[0][0])
