"""Bad releases are taken back by themselves, and what they did to those who called meanwhile is counted."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.previous import Suites
from tests.cluster.rehearsals.released import Released
from tests.cluster.rehearsals.seen import BURN, Eyes
from tests.cluster.releases import (
    API,
    NAMESPACE,
    ROLLOUTS,
    Installation,
    NotSyncedError,
    Phase,
    Release,
    newest_revision,
)
from tests.cluster.traffic import FLAKY, Grounds, Scene, assert_unharmed
from tests.faults.client import Book
from tests.faults.receiver import Behaviour

RATE = 20.0
BEFORE_SECONDS = 5.0
STILL_SECONDS = 5.0
# Nobody goes back at once; a release that was taken back does no harm until then, and none to the next one.
ABORTED_SECONDS = 8.0
# Until then the gateway has heard of it.
SPREAD_SECONDS = 5.0
WOKEN_SECONDS = 240.0
FIRST, RETRY = "postrider-worker-first", "postrider-worker-retry"
SETTLE_SECONDS = 240
# Endpoints that were failed by a release get what they are owed within the rehearsal.
SCHEDULE = [0, *[5] * 19]


@dataclass(frozen=True)
class Bad:
    """A release that the Rollout `name` has to take back, within so many seconds of its being applied.

    At most the share `harms` of the requests meanwhile may fail, and at least one has to where it is not 0. What does
    not get on is given up after `deadline` seconds, about when others are judged: staging waits three minutes.
    """

    patch: str
    name: str
    seconds: float
    harms: float = 0.0
    tenants: int = 4
    deadline: int = 75


# Staging's weights of 10 and 50 % for half a minute each, a look every 15 s, and the third bad answer is the last.
JUDGED_SECONDS = 240.0
STUCK_SECONDS = 240.0
ERRORS = Bad("errors", API, JUDGED_SECONDS, harms=0.1)
NEVER_READY = Bad("never_ready", API, STUCK_SECONDS, deadline=45)
# Many endpoints: each stops to be sent to when it has refused five messages in a row.
WRONG_SIGNATURE = Bad("wrong_signature", FIRST, JUDGED_SECONDS, tenants=12, deadline=45)
CRASHING_WORKER = Bad("crashing_worker", RETRY, STUCK_SECONDS)
# What goes wrong with two parts at once is taken back by each for itself. An API that has callers is not released with
# a worker that delivers wrongly, as it may be tried by that one before it has any. What is slow comes from Git, later.
FAILING = [
    pytest.param((ERRORS,), id="errors", marks=pytest.mark.bounded_only),
    pytest.param((ERRORS, CRASHING_WORKER), id="errors, crashing", marks=pytest.mark.unbounded),
]


# And what their migrations say of it.
CANNOT_MIGRATE = {
    "failing_migration": "a step of the tests fails",
    "missing_key": "POSTRIDER_RESIDENCY: field required",
}


@pytest.fixture(scope="module")
def eyes(first_installation: Installation) -> Iterator[Eyes]:
    """Whoever is on call, from the first bad release on."""
    with Eyes(first_installation.kube) as opened:
        yield opened


@dataclass
class Rehearsed:
    """What came of a release: its load's book, and when it was `applied` and its rehearsal `ended`, by the clock."""

    scene: Scene
    book: Book = field(default_factory=Book)
    applied: float = 0.0
    ended: float = 0.0


@dataclass
class TakenBack:
    """A release that was `aborted` by the clock, for what the `phases` say, and of which deliveries are owed yet."""

    rehearsed: Rehearsed
    bads: Sequence[Bad]
    aborted: float
    phases: Mapping[str, Phase]

    def conclude(self) -> None:
        """Judges it, once nothing is owed any more."""
        book, scene, harms = self.rehearsed.book, self.rehearsed.scene, sum(one.harms for one in self.bads)
        scene.settle(SETTLE_SECONDS)
        refused = sum(one.status == 401 for one in scene.receipts())
        why = "; ".join(self.phases[one.name].why[:90] for one in self.bads)
        scene.conclude(book, self.aborted - self.rehearsed.applied, f"{refused} refused by receivers; {why}")
        harmed = len(book.harmed(self.rehearsed.applied))
        assert harmed <= harms * len(book.exchanges)
        assert not harms or harmed
        assert_unharmed(book, self.aborted + SPREAD_SECONDS)
        assert (refused > 0) is (WRONG_SIGNATURE in self.bads)


@pytest.fixture(scope="module")
def taken_back() -> list[TakenBack]:
    """What was taken back, and is judged in the end: the leases and breakers that it leaves last for a minute."""
    return []


@contextmanager
def under_load(
    grounds: Grounds,
    installation: Installation,
    name: str,
    tenants: int = 4,
    behaviour: Behaviour | None = FLAKY,
) -> Iterator[Rehearsed]:
    """Callers before, while and after the block releases what is bad; it ends with what ran before, whole again."""
    before = len(installation.history)
    rehearsed = Rehearsed(Scene(grounds, name, tenants=tenants, behaviour=behaviour, schedule=SCHEDULE))
    with rehearsed.scene.load(rate=RATE) as load:
        time.sleep(BEFORE_SECONDS)
        rehearsed.applied = time.monotonic()
        yield rehearsed
        rehearsed.ended = time.monotonic()
        installation.go_back(len(installation.history) - before)
        time.sleep(BEFORE_SECONDS)
        rehearsed.book = load.stop()


@pytest.mark.parametrize("bads", FAILING)
def test_a_release_that_fails_callers_is_taken_back(
    eyes: Eyes,
    grounds: Grounds,
    installation: Installation,
    released: Released,
    taken_back: list[TakenBack],
    bads: tuple[Bad, ...],
) -> None:
    for one in bads:
        released.image(one.patch)
    eyes.began = time.time()
    taken_back.append(_released_and_taken_back(grounds, installation, released, *bads))


@pytest.mark.unbounded
def test_a_release_without_traffic_waits_for_somebody(
    installation: Installation, released: Released, suites_of_before: Suites
) -> None:
    # Nobody calls meanwhile, and so nobody is harmed by what they take of the machine.
    assert suites_of_before.process.poll() is None
    installation.release(_with((ERRORS,), released))
    installation.wait_phase(API, "Paused", 120)
    began = time.monotonic()
    while "InconclusiveAnalysisRun" not in _pauses(installation):
        assert time.monotonic() - began < JUDGED_SECONDS, "silence was taken for consent"
        assert installation.phases()[API].name != "Healthy", "silence was taken for consent"
        time.sleep(1)
    took = time.monotonic() - began
    time.sleep(STILL_SECONDS)
    assert installation.phases()[API].name == "Paused"
    installation.abort(API)
    installation.wait_aborted(API, 60)
    installation.go_back()
    print(f"\nwithout traffic the release waits for somebody after {took:.0f} s")  # noqa: T201 the figure is asked for


def test_callers_who_are_failed_wake_whoever_is_on_call(eyes: Eyes) -> None:
    """It is looked for after others: what was failed burns the budget of hours, and is seen over minutes."""
    eyes.wait_fired(WOKEN_SECONDS)
    took = min(one.times[0] for one in eyes.fired()) - eyes.began
    print(f"\n{BURN} fires {took:.0f} s after the first bad release")  # noqa: T201 the figure is asked for


@pytest.mark.unbounded
def test_a_release_that_is_never_ready_or_delivers_wrongly_harms_no_caller(
    grounds: Grounds, installation: Installation, released: Released, taken_back: list[TakenBack]
) -> None:
    taken_back.append(_released_and_taken_back(grounds, installation, released, NEVER_READY, WRONG_SIGNATURE))
    assert_unharmed(taken_back[-1].rehearsed.book)


def _released_and_taken_back(grounds: Grounds, installation: Installation, released: Released, *bads: Bad) -> TakenBack:
    """Releases all of them at once, and goes back when each part has taken its own back."""
    release = _with(bads, released, {"rollouts": {"deadlineSeconds": max(one.deadline for one in bads)}})
    name, tenants = ", ".join(one.patch for one in bads), max(one.tenants for one in bads)
    # A breaker that is tried when its endpoint happens to fail stays open for twice as long.
    behaviour = None if WRONG_SIGNATURE in bads else FLAKY
    with under_load(grounds, installation, f"2 {name}", tenants, behaviour) as rehearsed:
        installation.release(release)
        for one in bads:
            installation.wait_aborted(one.name, one.seconds)
        aborted, phases = time.monotonic(), installation.phases()
        time.sleep(ABORTED_SECONDS)
    return TakenBack(rehearsed, bads, aborted, phases)


def _with(bads: tuple[Bad, ...], released: Released, *said: Mapping[str, Any]) -> Release:
    """What runs, with what else is said, in which each bad part has an image of its own."""
    release = released.found(*said)
    for one in bads:
        release = release.but(one.name, released.image(one.patch).reference)
    return release


@pytest.mark.unbounded
def test_a_release_that_cannot_migrate_touches_nothing(
    grounds: Grounds, installation: Installation, released: Released
) -> None:
    before = _names(installation)
    with under_load(grounds, installation, f"2 {', '.join(CANNOT_MIGRATE)}") as rehearsed:
        for patch, said in CANNOT_MIGRATE.items():
            # Another try would end as the first did.
            release = released(patch, {"migrations": {"backoffLimit": 0}})
            with pytest.raises(NotSyncedError):
                installation.release(release)
            assert said in installation.last_words("job-name=postrider-migrations")
            assert _names(installation) == before
            assert grounds.database.query("SELECT version_num FROM alembic_version") == [(newest_revision(),)]
            assert grounds.database.query("SELECT to_regclass('half_done')") == [(None,)]
    rehearsed.scene.settle(SETTLE_SECONDS)
    rehearsed.scene.conclude(rehearsed.book, rehearsed.ended - rehearsed.applied, "no pod was replaced")
    assert_unharmed(rehearsed.book)


def test_what_bad_releases_held_up_comes_in_the_end(taken_back: list[TakenBack]) -> None:
    assert taken_back, "nothing was taken back: run the rehearsals before this one as well"
    for one in taken_back:
        one.conclude()


def _names(installation: Installation) -> set[str]:
    return {pod["metadata"]["name"] for pod in installation.pods() if "job-name" not in pod["metadata"]["labels"]}


def _pauses(installation: Installation) -> set[str]:
    status = installation.kube.get(ROLLOUTS, "Rollout", API, NAMESPACE)["status"]
    return {str(one["reason"]) for one in status.get("pauseConditions", [])}
