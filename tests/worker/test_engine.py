"""The engine and the processes around it: over a real socket, a real database and a real Celery."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from standardwebhooks import Webhook

from app.cli.dev.ports import any_free
from app.cli.dev.roles import DatabaseUrls
from app.domain.outcome import Failure
from app.features.background_tasks.operations import LeaseLostError
from app.kit.dedicated import Dedicated
from app.kit.queue import QUEUES
from app.kit.telemetry.hearts import own_hearts
from app.models import DueDelivery, DueState, Status
from app.settings import Settings
from tests.receiver import Answer, Receiver
from tests.servers import Servers
from tests.system import System, prepared_system
from tests.worker.house import SECRET, App, House, sent
from tests.worker.quarrel import quarrelling
from worker import sweeps
from worker.delivery.claim import Claimer
from worker.delivery.engine import Engine, Limits
from worker.delivery.job import Job, Sent
from worker.delivery.transport import Transport
from worker.management import LOOPS
from worker.process import Process
from worker.stopping import Stopping

DRAIN_SECONDS = 3.0
SLOW = 0.8
HANGING = Answer(200, after=30.0)


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """As the module's, with a short patience at the end."""
    return settings.model_copy(
        update={"delivery": settings.delivery.model_copy(update={"drain_seconds": DRAIN_SECONDS})}
    )


@dataclass
class Started:
    """A process's parts in this process, and its end."""

    process: Process
    stopping: Stopping

    def wake(self) -> None:
        self.process.engine.wake()


@contextmanager
def started(settings: Settings) -> Iterator[Started]:
    stopping = Stopping()
    process = Process(settings, stopping, own_hearts(LOOPS))
    process.start()
    try:
        yield Started(process, stopping)
    finally:
        process.stop()


@dataclass
class Target:
    """An application with one endpoint at the receiver."""

    house: House
    receiver: Receiver
    app: App
    path: str

    def send(self, number: int = 1) -> list[UUID]:
        return self.house.send(self.app, number)

    def wait_recorded(self, number: int) -> None:
        wait_for(lambda: len(self.house.attempts(self.app)) >= number)


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


@pytest.fixture
def target(house: House, receiver: Receiver) -> Target:
    app, path = house.app(), receiver.path()
    house.endpoint(app, url=receiver.base + path)
    return Target(house, receiver, app, path)


class TestDelivering:
    def test_a_delivery_arrives_signed_and_is_recorded(self, settings: Settings, target: Target) -> None:
        with started(settings) as running:
            (message,) = target.house.send(target.app, body=b'{"n": 1.0}')
            running.wake()
            (request,) = target.receiver.wait(target.path)
            target.wait_recorded(1)
        assert request.body == b'{"n": 1.0}'
        assert Webhook(SECRET).verify(request.body, dict(request.headers)) == {"n": 1.0}
        (tried,) = target.house.attempts(target.app)
        assert (tried.message_id, tried.status, tried.response_status) == (message, Status.success, 204)
        assert [row.status for row in target.house.deliveries(target.app)] == [Status.success]
        assert target.house.due() == []

    def test_what_nobody_woke_it_for_is_found_soon(self, settings: Settings, target: Target) -> None:
        with started(settings):
            time.sleep(0.1)
            target.send()
            target.receiver.wait(target.path, seconds=2.0)

    def test_a_crowd_for_one_endpoint_is_served_behind_its_gate(self, settings: Settings, target: Target) -> None:
        with started(settings) as running:
            target.send(60)
            running.wake()
            target.receiver.wait(target.path, 60)
            target.wait_recorded(60)
        assert target.house.due() == []
        assert len(target.receiver.at(target.path)) == 60

    def test_a_retry_bears_the_same_id(self, settings: Settings, target: Target) -> None:
        target.receiver.tell(target.path, Answer(500), Answer(200))
        with started(settings) as running:
            target.send()
            running.wake()
            target.wait_recorded(1)
            target.house.age(10)
            running.wake()
            first, second = target.receiver.wait(target.path, 2)
            target.wait_recorded(2)
        assert first.id == second.id

    def test_no_result_is_lost_when_the_server_ends_its_connections(
        self, settings: Settings, target: Target, servers: Servers, database: DatabaseUrls
    ) -> None:
        target.receiver.tell(target.path, Answer(200, after=0.3))
        with started(settings) as running:
            target.send(6)
            running.wake()
            target.receiver.wait(target.path, 6)
            terminate(servers, database)
            target.wait_recorded(6)
        assert len(target.receiver.at(target.path)) == 6
        assert {row.status for row in target.house.attempts(target.app)} == {Status.success}
        assert target.house.due() == []

    def test_it_takes_hold_of_a_request_that_cannot_be_made(self, settings: Settings, house: House) -> None:
        app = house.app()
        house.endpoint(app)
        house.send(app)
        job = house.claim_one()
        unsignable: Any = ((None, None),)
        broken = replace(job, destination=replace(job.destination, keys=unsignable))
        process = Process(settings, Stopping(), own_hearts(LOOPS))
        transport: Transport = process._transport
        transport.start()
        transport.send([broken])
        wait_for(lambda: bool(transport.results))
        transport.stop()
        assert transport.results[0].failure == Failure.LOCAL


def terminate(servers: Servers, database: DatabaseUrls) -> None:
    """Ends the worker's connections to the module's database."""
    named = psycopg.conninfo.conninfo_to_dict(database.worker)
    ours = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(ours, [named["dbname"], "postrider-worker"])


@dataclass
class Answers:
    """In place of a transport: what comes of each job at once, as the test says."""

    outcome: Callable[[Job], Sent]
    results: deque[Sent] = field(default_factory=deque)
    notify: Callable[[], None] = lambda: None

    def send(self, jobs: Sequence[Job]) -> None:
        self.results.extend(map(self.outcome, jobs))
        self.notify()

    def abandon(self) -> list[Job]:
        return []


class TestFaults:
    @contextmanager
    def engine(self, house: House, outcome: Callable[[Job], Sent]) -> Iterator[Engine]:
        answers: Any = Answers(outcome)
        claimer = Claimer(house.ring, cap=8, lease=timedelta(seconds=30))
        engine = Engine(Dedicated(house.sessions.kw["bind"]), claimer, Limits(256, 1.0, DRAIN_SECONDS), Stopping())
        answers.notify = engine.notice
        engine.start(answers)
        try:
            yield engine
        finally:
            engine.stop()

    def test_a_result_that_cannot_be_recorded_keeps_back_no_other(self, house: House) -> None:
        app = house.app()
        bad, good = house.endpoint(app), house.endpoint(app)

        def outcome(job: Job) -> Sent:
            return sent(job, 500, detail="nul \0") if job.key.endpoint_id == bad else sent(job)

        with self.engine(house, outcome) as engine:
            house.send(app, 3)
            engine.wake()
            wait_for(lambda: len(house.deliveries(app)) == 3)
            house.send(app)
            engine.wake()
            wait_for(lambda: len(house.deliveries(app)) == 4)
        assert {row.endpoint_id for row in house.deliveries(app)} == {good}
        assert {row.endpoint_id for row in house.due()} == {bad}

    def test_a_conflict_is_repeated_at_once(
        self, house: House, database: DatabaseUrls, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = house.app()
        house.endpoint(app)
        with quarrelling(database, "attempts", times=2), self.engine(house, sent) as engine:
            house.send(app, 3)
            engine.wake()
            wait_for(lambda: len(house.deliveries(app)) == 3)
        assert len(house.attempts(app)) == 3
        assert "cycle_failed" not in caplog.messages

    def test_a_claim_that_fails_stops_neither_the_engine_nor_its_results(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = house.app()
        house.endpoint(app)
        broken = iter([False, True, False])
        claim = Claimer.claim

        def sometimes(self: Claimer, *arguments: Any) -> Any:  # noqa: ANN401 as claim
            if next(broken, False):
                raise LookupError
            return claim(self, *arguments)

        monkeypatch.setattr(Claimer, "claim", sometimes)
        with self.engine(house, sent) as engine:
            house.send(app, 3)
            engine.wake()
            wait_for(lambda: len(house.deliveries(app)) == 3)
        assert len(house.attempts(app)) == 3


class TestSweeping:
    def test_whatever_goes_wrong_with_tasks_gates_are_mended_again_and_again(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lose_the_lease(_: object) -> int:
            raise LeaseLostError

        monkeypatch.setattr(sweeps, "run_due_tasks", lose_the_lease)
        monkeypatch.setattr(sweeps, "INTERVAL_SECONDS", 0.05)
        app = house.app()
        house.endpoint(app)
        sweeper = sweeps.Sweeper(house.sessions, Stopping(), seal=lambda: None)
        sweeper.start()
        for _ in range(2):
            house.clear()
            house.send(app)
            house.change(DueDelivery, {"state": DueState.held})
            wait_for(lambda: len(house.gates()) == 1)
        sweeper.stop()


class TestStopping:
    def test_what_is_in_flight_is_awaited_and_recorded(self, settings: Settings, target: Target) -> None:
        target.receiver.tell(target.path, Answer(200, after=SLOW))
        with started(settings) as running:
            target.send(3)
            running.wake()
            target.receiver.wait(target.path, 3)
        assert [row.status for row in target.house.attempts(target.app)] == [Status.success] * 3
        assert target.house.due() == []

    def test_the_rest_is_given_back_at_once_within_the_limit(self, settings: Settings, target: Target) -> None:
        target.receiver.tell(target.path, HANGING)
        with started(settings) as running:
            target.send(3)
            running.wake()
            target.receiver.wait(target.path, 3)
            began = time.monotonic()
        assert DRAIN_SECONDS <= time.monotonic() - began < DRAIN_SECONDS + 1.5
        assert target.house.states() == {DueState.ready: 3}
        assert len(target.house.claim().jobs) == 3
        assert target.house.attempts(target.app) == []

    def test_once_the_end_begins_nothing_more_is_claimed_and_results_are_recorded(
        self, settings: Settings, target: Target
    ) -> None:
        target.receiver.tell(target.path, Answer(200, after=SLOW))
        with started(settings) as running:
            target.send(2)
            running.wake()
            target.receiver.wait(target.path, 2)
            running.stopping.set()
            target.send()
            running.wake()
            target.wait_recorded(2)
            worked = time.process_time()
            time.sleep(0.4)
            assert time.process_time() - worked < 0.2
        assert len(target.receiver.at(target.path)) == 2
        assert target.house.states() == {DueState.ready: 1}

    def test_a_database_that_does_not_answer_keeps_no_process_from_its_end(
        self, settings: Settings, target: Target
    ) -> None:
        with target.house.sessions() as other:
            other.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            other.execute(text("LOCK TABLE due_deliveries"))
            with started(settings) as running:
                running.wake()
                wait_for(lambda: bool(other.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted"))))
                began = time.monotonic()
            # The engine and the sweeper are each waited for, 5 s longer than they may take.
            assert time.monotonic() - began < DRAIN_SECONDS + 14

    def test_a_process_that_never_started_stops(self, settings: Settings) -> None:
        engine = Process(settings, Stopping(), own_hearts(LOOPS)).engine
        engine.stop()

    def test_the_flag_reaches_children_and_needs_no_lock(self) -> None:
        stopping = Stopping()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            while not stopping.is_set():
                time.sleep(0.01)
            os.write(writer, b"seen")
            os._exit(0)
        stopping.set()
        assert os.read(reader, 4) == b"seen"
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


class TestCelery:
    """`postrider worker`: Celery's main process with two children that deliver."""

    PROCESSES = 2

    @pytest.fixture
    def system(self, environment: dict[str, str]) -> Iterator[System]:
        patience = {"POSTRIDER_DELIVERY__DRAIN_SECONDS": str(DRAIN_SECONDS)}
        with prepared_system(environment | patience) as prepared:
            yield prepared

    def start(self, system: System, target: Target) -> int:
        """The worker's pid, once it has delivered."""
        child = system.start_part("worker", f"--processes={self.PROCESSES}")
        target.send()
        target.receiver.wait(target.path, seconds=30)
        target.wait_recorded(1)
        wait_for(lambda: len(children(child.pid)) == self.PROCESSES)
        return child.pid

    def in_flight(self, target: Target, answer: Answer, number: int = 3) -> None:
        """Lets the receiver take its time over some deliveries."""
        target.receiver.tell(target.path, answer)
        target.send(number)
        target.receiver.wait(target.path, 1 + number)

    def test_on_sigterm_what_is_in_flight_lands_and_nothing_more_is_claimed(
        self, system: System, target: Target
    ) -> None:
        pid = self.start(system, target)
        self.in_flight(target, Answer(200, after=SLOW))
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: "Warm shutdown" in system.log("worker"))
        time.sleep(0.3)  # until the claim has ended that may have begun before
        target.send()
        wait_for(lambda: system.children["worker"].ended() == 0, 15)
        assert len(target.receiver.at(target.path)) == 4
        assert len(target.house.attempts(target.app)) == 4
        assert target.house.states() == {DueState.ready: 1}

    def test_without_a_broker_it_delivers_and_gives_back_what_hangs_on_sigterm(
        self, system: System, target: Target
    ) -> None:
        system.environment["POSTRIDER_REDIS__URL"] = f"redis://127.0.0.1:{any_free()}/0"
        pid = self.start(system, target)
        processes = children(pid)
        self.in_flight(target, HANGING)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not any(map(is_running, [pid, *processes])), DRAIN_SECONDS + 8)
        assert time.monotonic() - began >= DRAIN_SECONDS
        assert target.house.states() == {DueState.ready: 3}
        assert len(target.house.claim().jobs) == 3

    def test_no_child_outlives_its_main_process(self, system: System, target: Target) -> None:
        pid = self.start(system, target)
        processes = children(pid)
        self.in_flight(target, HANGING)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, processes)), 5)
        assert target.house.states() == {DueState.sending: 3}
        target.house.age(30)
        assert len(target.house.claim().jobs) == 3

    def test_each_queue_has_an_exchange_of_its_own(self, environment: dict[str, str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            from worker.celery_app import celery

            queues = celery.amqp.queues
        assert {(queues[name].exchange.name, queues[name].routing_key) for name in QUEUES.values()} == {
            (name, name) for name in QUEUES.values()
        }


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if parent_and_state(path)[0] == pid]


def is_running(pid: int) -> bool:
    """Whether the process is there, and not only waiting to be buried."""
    return parent_and_state(Path(f"/proc/{pid}/stat"))[1] not in {"", "Z", "X"}


def parent_and_state(path: Path) -> tuple[int, str]:
    try:
        state, parent, *_ = path.read_text().rpartition(")")[2].split()
    except OSError:
        return 0, ""
    return int(parent), state
