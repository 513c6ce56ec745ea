"""PostgreSQL restarted, frozen, full or at odds with itself: 503 until it is back, and nothing accepted is lost."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from app.cli.dev.demo import Api
from app.cli.dev.roles import API, WORKER
from tests.faults.client import ACCEPTED, Book, Load, Target
from tests.faults.failpoints import deadlocks, serialization_failures
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
    with scene.load(rate=200 if lab.bounded else 300) as load:
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
    fresh = {name for name, sent in book.accepted.copy().items() if sent.at > moment}
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


@pytest.mark.parametrize("part", [API, WORKER])
def test_f12_connections_run_out(lab: Lab, installation: System, part: str) -> None:
    """Whoever gets no connection is told 503; as soon as there are connections again, everything goes on."""
    scene = Scene(lab, installation, f"F12 no connections left, {part.removeprefix('postrider_')}")
    count = 200 if lab.bounded else 10_000
    with scene.load(rate=200 if lab.bounded else 300) as load:
        load.wait_accepted(count, 60)
        scene.bound += CAP * len(scene.targets)
        with _crowded(lab.postgres, installation.environment["POSTRIDER_DATABASE__URL"]):
            wait_for(lambda: _is_out(lab, part), 30, f"{part} without a connection")
            if part == API:
                wait_for(lambda: load.book.statuses[UNAVAILABLE] > 0, 30, "a 503")
            time.sleep(1 if lab.bounded else 10)
        recovery = _recover(scene, load.book)
        load.wait_accepted(2 * count, 120)
        book = load.stop()
    scene.settle(30)
    scene.conclude(book, recovery=recovery, note=f"{book.statuses[UNAVAILABLE]} times 503")
    assert set(book.statuses) <= {ACCEPTED, UNAVAILABLE}
    assert recovery <= RECONNECT_SECONDS


@contextmanager
def _crowded(postgres: Postgres, url: str) -> Iterator[None]:
    """Takes every connection that an ordinary role may have, and those that become free."""
    with ExitStack() as stack:
        ended = threading.Event()

        def take() -> None:
            while not ended.is_set():
                try:
                    stack.enter_context(psycopg.connect(url, application_name="crowd"))
                except psycopg.OperationalError:
                    ended.wait(0.02)

        thread = threading.Thread(target=take)
        thread.start()
        try:
            wait_for(lambda: not _has_room(url), 30, "the last connection")
            yield
        finally:
            ended.set()
            thread.join()


def _has_room(url: str) -> bool:
    try:
        psycopg.connect(url, application_name="crowd").close()
    except psycopg.OperationalError:
        return False
    return True


def _is_out(lab: Lab, part: str) -> bool:
    """Ends the connections of a role, in case it was quicker than the crowd; whether it had none."""
    statement = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND application_name <> 'crowd'"
    )
    return not lab.postgres.query(statement, part)


def test_f12_idle_transactions_are_ended(lab: Lab, installation: System) -> None:
    """A transaction that is cut off in its middle is a 503, and leaves nothing of its tenant on the connection."""
    scene = Scene(lab, installation, "F12 idle transactions ended", tenants=4)
    seen: list[tuple[int, bool]] = []
    with scene.load(rate=100 if lab.bounded else 400) as load, ThreadPoolExecutor(len(scene.targets)) as pool:
        ended = threading.Event()
        reads = [pool.submit(_read_own, scene, target, ended) for target in scene.targets]
        killed = 0
        until = time.monotonic() + (4 if lab.bounded else 60)
        scene.bound += CAP * len(scene.targets)
        while time.monotonic() < until:
            ended.wait(0.1 if lab.bounded else 1)
            killed += len(
                lab.postgres.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE usename = ANY(%s) AND state = 'idle in transaction'",
                    [API, WORKER],
                )
            )
        recovery = _recover(scene, load.book)
        ended.set()
        for read in reads:
            seen += read.result()
        book = load.stop()
    scene.settle(30)
    scene.conclude(book, recovery=recovery, note=f"{killed} ended, {book.statuses[UNAVAILABLE]} times 503")
    assert killed
    assert set(book.statuses) <= {ACCEPTED, UNAVAILABLE}
    assert {status for status, _ in seen} <= {200, UNAVAILABLE}
    assert all(is_own for status, is_own in seen if status == 200)


def _read_own(scene: Scene, target: Target, ended: threading.Event) -> list[tuple[int, bool]]:
    """Lists the tenant's applications all the time: statuses, and whether its own one was there, and it alone."""
    seen = []
    while not ended.is_set():
        status, content = scene.api(target).request("GET", "/app")
        seen.append((status, status == 200 and [one["id"] for one in json.loads(content)["data"]] == [target.app]))
    return seen


@pytest.mark.parametrize("kind", ["deadlock", "serialization failure"])
def test_f13_conflicts(lab: Lab, installation: System, kind: str) -> None:
    """A transaction that the server gives up for another is repeated: no client notices, and nothing comes twice."""
    scene = Scene(lab, installation, f"F13 {kind}")
    count = 400 if lab.bounded else 20_000
    conflicts = deadlocks if kind == "deadlock" else serialization_failures
    with (
        conflicts(lab.postgres, scene.database, "messages") as stored,
        conflicts(lab.postgres, scene.database, "attempts") as recorded,
        scene.load(rate=150 if lab.bounded else 400, count=count) as load,
    ):
        book = load.join()
        took = scene.settle(60)
        given_up = stored(), recorded()
    scene.conclude(book, recovery=took, note=f"{given_up[0]} in the API, {given_up[1]} in workers")
    assert set(book.statuses) == {ACCEPTED}
    assert min(given_up) > 0
