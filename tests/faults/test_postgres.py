"""PostgreSQL restarted, frozen, full or at odds with itself: 503 until it is back, and nothing accepted is lost."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest

from app.cli.dev.demo import Api
from app.cli.dev.roles import API, WORKER
from tests.faults.client import ACCEPTED, Book, Load
from tests.faults.installation import Postgres
from tests.faults.lab import API_PROCESSES, CAP, WORKER_PROCESSES, Lab, Scene
from tests.faults.processes import frozen, kill, wait_for
from tests.system import System

pytestmark = pytest.mark.timeout(900)
UNAVAILABLE = 503
API_CONNECTIONS, WORKER_CONNECTIONS = 8, 5
RECONNECT_SECONDS = 5.0
# What a request waits for at most: the patience of the group commit or of a statement, and to leave its connection.
LONGEST_REQUEST = 13.0


def _fast(postgres: Postgres) -> None:
    postgres.stop(signal.SIGINT)
    postgres.start()


def _immediate(postgres: Postgres) -> None:
    postgres.stop(signal.SIGQUIT)
    postgres.start()


def _backend(postgres: Postgres) -> None:
    """The server ends all other connections too, and recovers by itself."""
    kill(postgres.backends(WORKER)[0])
    wait_for(lambda: _answers(postgres), 30, "the recovery of PostgreSQL")


def _postmaster(postgres: Postgres) -> None:
    postgres.stop(signal.SIGKILL)
    postgres.start()


def _answers(postgres: Postgres) -> bool:
    try:
        postgres.query("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("restart", [_fast, _immediate, _backend, _postmaster])
def test_f10_postgres_restarted(lab: Lab, installation: System, restart: Callable[[Postgres], None]) -> None:
    """Answers are 202 or 503 with Retry-After; both sides are connected again within 5 s; no 202 is lost."""
    scene = Scene(lab, installation, f"F10 PostgreSQL restart,{restart.__name__.replace('_', ' ')}")
    recoveries = []
    with scene.load(rate=0 if not lab.bounded else 200) as load:
        for _ in _rounds(lab, load):
            scene.bound += CAP * len(scene.targets)
            restart(lab.postgres)
            recoveries.append(_recover(scene, load.book))
        book = load.stop()
    scene.settle(30)
    scene.conclude(book, recovery=max(recoveries), note=f"{book.statuses[UNAVAILABLE]} times 503")
    assert set(book.statuses) <= {ACCEPTED, UNAVAILABLE}
    assert max(recoveries) <= RECONNECT_SECONDS


def _rounds(lab: Lab, load: Load) -> Iterator[None]:
    rounds, between = (1, 200) if lab.bounded else (10, 2000)
    for number in range(rounds):
        load.wait_accepted((number + 1) * between, 120)
        yield


def _recover(scene: Scene, book: Book) -> float:
    """The seconds from now until a message that is accepted from now on is delivered."""
    healed = time.monotonic()
    return wait_for(lambda: _delivered_since(scene, book, healed), 60, f"a delivery after {scene.name}")


def _delivered_since(scene: Scene, book: Book, moment: float) -> bool:
    fresh = {name for name, sent in list(book.accepted.items()) if sent.at > moment}
    return any(one.at > moment and one.message_id in fresh for one in scene.receipts())


def test_f11_postgres_frozen(lab: Lab, installation: System) -> None:
    """Whoever asks meanwhile, known to the API or not, gets a 503 in bounded time; afterwards nothing has piled up."""
    scene = Scene(lab, installation, "F11 PostgreSQL SIGSTOP", tenants=2)
    seconds, more = (14, 200) if lab.bounded else (60, 18_000)
    with ExitStack() as stack:
        known, unknown = (scene.load(targets=[one], rate=150, connections=16) for one in scene.targets)
        stack.enter_context(known).wait_accepted(200, 30)
        scene.bound += CAP * len(scene.targets)
        began = time.monotonic()
        with frozen(lab.postgres.pids):
            stack.enter_context(unknown)
            pool = stack.enter_context(ThreadPoolExecutor())
            reads = [pool.submit(_read, scene.api(target)) for target in scene.targets]
            time.sleep(seconds)
        thawed = time.monotonic()
        recovery = _recover(scene, known.book)
        known.wait_accepted(len(known.book.accepted) + more, 180)
        book = known.stop() | unknown.stop()
    scene.settle(30)
    slowest = book.slowest(began, thawed)
    note = f"{book.statuses[UNAVAILABLE]} times 503, slowest {slowest:.1f} s"
    scene.conclude(book, recovery=recovery, note=note)
    assert set(book.statuses) == {ACCEPTED, UNAVAILABLE}
    assert slowest <= LONGEST_REQUEST
    assert {read.result()[0] for read in reads} == {UNAVAILABLE}
    assert max(read.result()[1] for read in reads) <= LONGEST_REQUEST
    assert recovery <= RECONNECT_SECONDS
    assert book.slowest(thawed + RECONNECT_SECONDS) <= 1.0
    assert len(lab.postgres.backends(API)) <= API_PROCESSES * API_CONNECTIONS
    assert len(lab.postgres.backends(WORKER)) <= WORKER_PROCESSES * WORKER_CONNECTIONS


def _read(api: Api) -> tuple[int, float]:
    """The status of a read, and the seconds that it took."""
    began = time.monotonic()
    status, _ = api.request("GET", "/app")
    return status, time.monotonic() - began
