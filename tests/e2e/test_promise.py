"""The promise in small: what was accepted arrives, whatever is killed meanwhile, and under the same id."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.cli.dev.ports import any_free
from app.cli.dev.process import Child, wait_until
from app.cli.dev.roles import API, WORKER, DatabaseUrls, database_of, plain_url
from app.domain.ids import decode
from tests.e2e.broker import Broker, running_broker
from tests.e2e.customer import Customer, eventually
from tests.receiver import Answer, Receiver
from tests.servers import ROOT, Servers, process_environment
from tests.system import System, running_system

LEASE_SECONDS, CAP = 3.0, 8
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as started:
        yield started


@pytest.fixture(scope="module")
def system(database: DatabaseUrls, broker: Broker) -> Iterator[System]:
    """An installation of this module's own, whose leases are short."""
    environment = process_environment(database, broker.url) | {
        "POSTRIDER_EGRESS__TIMEOUT_SECONDS": "2",
        "POSTRIDER_DELIVERY__LEASE_SECONDS": str(LEASE_SECONDS),
        "POSTRIDER_DELIVERY__CONCURRENCY_PER_ENDPOINT": str(CAP),
    }
    with running_system(environment, api=1) as started:
        yield started


def everything(worker: Child) -> None:
    """The whole worker at once, as when its machine is lost."""
    os.killpg(worker.pid, signal.SIGKILL)


def main_process(worker: Child) -> None:
    """The process above the pool."""
    os.kill(worker.pid, signal.SIGKILL)


def one_of_the_pool(worker: Child) -> None:
    """A process that delivers, as the kernel does when memory runs out."""
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)


@pytest.mark.parametrize("kill", [everything, main_process, one_of_the_pool])
def test_a_killed_worker_loses_nothing(
    customer: Customer, system: System, receiver: Receiver, kill: Callable[[Child], None]
) -> None:
    path = receiver.path(Answer(200, after=0.2))
    customer.endpoint(f"{receiver.base}{path}")
    accepted = [customer.send({"n": number}) for number in range(60)]
    assert len(receiver.wait(path, 10)) < len(accepted)
    kill(system.children["worker"])
    if kill is not one_of_the_pool:  # which its own supervisor replaces
        system.children["worker"].stop()
        system.start_part("worker", "--processes=2")
    seen = receiver.wait_until(path, lambda some: {one.id for one in some} == set(accepted), 30)
    twice = {one: count for one, count in Counter(one.id for one in seen).items() if count > 1}
    assert len(twice) <= CAP
    assert set(twice.values()) <= {2}
    assert len({one.body for one in seen}) == len(accepted)
    eventually(lambda: all(customer.attempts(one) for one in accepted))


def test_a_terminated_worker_finishes_what_it_sends_and_doubles_nothing(
    customer: Customer, system: System, receiver: Receiver
) -> None:
    path = receiver.path(Answer(200, after=0.5))
    customer.endpoint(f"{receiver.base}{path}")
    accepted = [customer.send({"n": number}) for number in range(30)]
    receiver.wait(path, 4)
    system.children["worker"].stop()
    between = len(receiver.at(path))
    assert between < len(accepted)
    system.start_part("worker", "--processes=2")
    seen = receiver.wait_until(path, lambda some: len({one.id for one in some}) == len(accepted), 30)
    assert Counter(one.id for one in seen) == Counter(accepted)


def test_deliveries_go_on_while_the_broker_is_away(customer: Customer, broker: Broker, receiver: Receiver) -> None:
    path = receiver.path(Answer(500), Answer(200))
    customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 1])
    broker.kill()
    try:
        asked = time.monotonic()
        accepted = [customer.send({"n": number}) for number in range(5)]
        assert time.monotonic() - asked < 5 * 1.0
        first = receiver.wait(path, 5, 10)
        assert max(one.at for one in first) - asked < 2 + 5 * 1.0
        seen = receiver.wait_until(path, lambda some: len(some) == 6, 10)
        assert {one.id for one in seen} == set(accepted)
    finally:
        broker.start()
    later = customer.send()
    assert receiver.wait(path, 7, 10)[-1].id == later


def test_wake_ups_work_again_once_the_broker_is_back(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")

    def latency() -> float:
        began, number = time.monotonic(), len(receiver.at(path))
        customer.send()
        return receiver.wait(path, number + 1)[-1].at - began

    # A worker that only looked by itself would need half a second as a rule.
    eventually(lambda: max(latency() for _ in range(5)) < 0.3, 30)


def test_the_answer_comes_after_the_commit(customer: Customer, system: System) -> None:
    with psycopg.connect(plain_url(system.environment["POSTRIDER_DATABASE__WORKER_URL"]), autocommit=True) as look:

        def is_durable_when_answered(number: int) -> bool:
            message = decode("msg", customer.send({"n": number}))
            found = look.execute("SELECT count(*) FROM messages WHERE id = %s", [message]).fetchone()
            return found == (1,)

        assert all(is_durable_when_answered(number) for number in range(50))


@pytest.fixture
def refusing_commits(database: DatabaseUrls) -> Iterator[None]:
    """COMMIT fails for what says so: the statements before it succeed."""
    with psycopg.connect(plain_url(database.migrator), autocommit=True) as migrator:
        migrator.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
               AS $$ BEGIN RAISE EXCEPTION 'not at commit'; END $$"""
        )
        for table, column in (("messages", "event_type"), ("applications", "name")):
            migrator.execute(
                f"""CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW WHEN (NEW.{column} = 'fails.at.commit') EXECUTE FUNCTION refuse()"""
            )
        yield
        for table in ("messages", "applications"):
            migrator.execute(f"DROP TRIGGER refuse ON {table}")
        migrator.execute("DROP FUNCTION refuse()")


def test_a_failed_commit_is_never_answered_with_success(
    customer: Customer, system: System, refusing_commits: None
) -> None:
    reply = customer.api.call("POST", "/app", {"name": "fails.at.commit", "uid": "never"})
    assert reply.status >= 500
    assert customer.api.call("GET", "/app/never").status == 404
    before = len(customer.api.get(f"/app/{customer.app}/msg")["data"])

    def post(number: int) -> int:
        event_type = "fails.at.commit" if number % 10 == 0 else "fine"
        body = {"eventType": event_type, "payload": {"n": number}}
        return customer.api.call("POST", f"/app/{customer.app}/msg", body).status

    # Many at once, so that good ones share a transaction with bad ones.
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(post, range(60)))
    bad = {status for number, status in enumerate(statuses) if number % 10 == 0}
    good = [status for number, status in enumerate(statuses) if number % 10]
    assert min(bad) >= 500
    assert good == [202] * 54
    found = customer.api.get(f"/app/{customer.app}/msg", limit=250)["data"]
    assert Counter(one["eventType"] for one in found[: len(found) - before]) == {"fine": 54}


def test_a_repeated_request_is_carried_out_once(customer: Customer, system: System, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    body = {"eventType": "e2e.test", "payload": {"n": 1}}
    ready = threading.Barrier(12)

    def post(_: int) -> tuple[int, str]:
        ready.wait()
        reply = customer.api.call("POST", f"/app/{customer.app}/msg", body, headers={"idempotency-key": "the-same"})
        return reply.status, reply.body["id"]

    with ThreadPoolExecutor(12) as pool:
        answers = set(pool.map(post, range(12)))
    assert len(answers) == 1
    (answer,) = answers
    assert answer[0] == 202
    receiver.wait(path, 1)
    time.sleep(1)
    assert [one.id for one in receiver.at(path)] == [answer[1]]


@contextmanager
def changed_role(servers: Servers, database: DatabaseUrls, setting: str) -> Iterator[None]:
    """The API's and the workers' sessions in this database begin with a setting."""
    name = sql.Identifier(database_of(database.api))
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        for role in (API, WORKER):
            change = sql.SQL("ALTER ROLE {} IN DATABASE {} SET " + setting)
            admin.execute(change.format(sql.Identifier(role), name))
        yield
        for role in (API, WORKER):
            admin.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(sql.Identifier(role), name))


@pytest.mark.parametrize("part", ["api", "worker"])
def test_a_database_that_could_lose_data_is_refused(
    servers: Servers, database: DatabaseUrls, system: System, part: str
) -> None:
    options = [f"--port={any_free()}"] if part == "api" else []
    with changed_role(servers, database, "synchronous_commit = off"):
        ended = subprocess.run(
            [sys.executable, "-m", "app.cli.main", part, *options],
            env=system.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode not in {0, None}
    assert "synchronous_commit=off" in ended.stdout + ended.stderr


def test_a_worker_that_starts_without_its_database_delivers_once_it_is_there(
    customer: Customer, servers: Servers, database: DatabaseUrls, system: System, receiver: Receiver
) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    system.children["worker"].stop()
    accepted = [customer.send() for _ in range(5)]
    name = sql.Identifier(database_of(database.api))
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            worker = system.start_part("worker", "--processes=2")
            assert wait_until(lambda: b" ready." in worker.program.log.read_bytes(), 30)
            time.sleep(2)
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    seen = receiver.wait(path, 5, 30)
    assert {one.id for one in seen} == set(accepted)
    assert worker.ended() is None
