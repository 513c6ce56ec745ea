"""Probes and metrics of real processes: each for itself, on a port of its own."""

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import text

from app.cli.dev.roles import database_of, plain_url
from app.kit.db import make_engine
from tests.faults.processes import wait_for
from tests.servers import Servers, cloned_database, process_environment
from tests.system import System, prepared_system

pytestmark = pytest.mark.timeout(180)
PROBES = ("/livez", "/readyz", "/startupz")
STANDS_STILL_SECONDS = 10.0


@pytest.fixture(scope="module")
def system(servers: Servers, template: str) -> Iterator[System]:
    with cloned_database(servers, template) as urls:
        environment = process_environment(urls, "redis://127.0.0.1:1/0")
        environment |= {"POSTRIDER_TELEMETRY__STANDS_STILL_SECONDS": str(STANDS_STILL_SECONDS)}
        with prepared_system(environment) as system:
            system.start(api=2, workers=2)
            yield system


def ask(port: int, path: str) -> tuple[int, str]:
    """The status and text of an answer; 0 where nobody listens."""
    return ask_url(f"http://127.0.0.1:{port}{path}")


def answers(port: int, path: str, status: int) -> bool:
    return ask(port, path)[0] == status


def ask_url(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 our own
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def listening(system: System, *parts: str) -> list[int]:
    """The ports on which somebody answers: that of the workers' main process, and one for each other."""
    return [port for part in parts for port in system.management_ports(part) if ask(port, "/livez")[0]]


def test_every_process_answers_on_a_port_of_its_own_and_needs_no_redis(system: System) -> None:
    wait_for(lambda: len(listening(system, "api", "worker", "beat")) == 2 + 3 + 1, 30, "all ports")
    for port in listening(system, "api", "worker", "beat"):
        for path in PROBES:
            wait_for(partial(answers, port, path, 200), 10, f"{path} on {port}")
        status, metrics = ask(port, "/metrics")
        assert status == 200
        assert "process_start_time_seconds" in metrics


def test_the_public_port_says_it_in_a_word_and_has_no_metrics(system: System) -> None:
    assert [ask_url(f"{system.url}{path}") for path in PROBES] == [(200, "ok\n")] * 3
    assert ask_url(f"{system.url}/metrics")[0] == 404


def test_an_older_schema_than_the_build_needs_is_said_by_all_that_work_on_it_and_ends_nobody(system: System) -> None:
    ports = listening(system, "api", "worker")
    with revision_of_before(system):
        for port in ports:
            wait_for(partial(answers, port, "/readyz", 503), 10, f"the refusal of {port}")
            assert "run `postrider migrate`" in ask(port, "/readyz")[1]
            assert ask(port, "/livez")[0] == 200
        assert ask_url(f"{system.url}/readyz") == (503, "unavailable\n")
    for port in ports:
        wait_for(partial(answers, port, "/readyz", 200), 10, f"the return of {port}")


@contextmanager
def revision_of_before(system: System) -> Iterator[None]:
    engine = make_engine(system.environment["POSTRIDER_DATABASE__MIGRATOR_URL"])
    statement = text("UPDATE alembic_version SET version_num = :revision")
    try:
        with engine.begin() as connection:
            now = connection.scalar(text("SELECT version_num FROM alembic_version"))
            connection.execute(statement, {"revision": "0009"})
        yield
        with engine.begin() as connection:
            connection.execute(statement, {"revision": now})
    finally:
        engine.dispose()


def test_nobody_dies_of_a_database_or_a_redis_that_is_away(system: System, servers: Servers) -> None:
    """Longer than a loop may stand still: to start again would bring neither of them back."""
    ports = listening(system, "api", "worker", "beat")
    with database_away(system, servers):
        for port in listening(system, "api", "worker"):
            wait_for(partial(answers, port, "/readyz", 503), 15, f"the refusal of {port}")
        until = time.monotonic() + STANDS_STILL_SECONDS + 3
        while time.monotonic() < until:
            assert [ask(port, "/livez") for port in ports] == [(200, "ok\n")] * len(ports)
            time.sleep(1)
    for port in ports:
        wait_for(partial(answers, port, "/readyz", 200), 30, f"the return of {port}")


@contextmanager
def database_away(system: System, servers: Servers) -> Iterator[None]:
    """The server lets nobody into the installation's database."""
    name = database_of(system.environment["POSTRIDER_DATABASE__WORKER_URL"])
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        try:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


def test_a_worker_whose_engine_stands_still_does_not_live_but_its_neighbours_do(system: System) -> None:
    """Whoever holds a lock on what is due keeps the engines from their claims, and nobody from the schema."""
    wait_for(lambda: len(listening(system, "worker")) == 3, 30, "the workers")
    main, *children = listening(system, "worker")
    others = listening(system, "api", "beat")
    with locked(system, "due_deliveries"):
        for port in (main, *children):
            wait_for(partial(engine_stands, port), STANDS_STILL_SECONDS + 15, f"the end of {port}")
        assert "process " in ask(main, "/livez")[1]
        assert [ask(port, "/livez")[0] for port in others] == [200] * len(others)
        assert ask(main, "/readyz")[0] == 200
    for port in (main, *children):
        wait_for(partial(answers, port, "/livez", 200), 15, f"the return of {port}")


def engine_stands(port: int) -> bool:
    status, said = ask(port, "/livez")
    return status == 503 and "the engine has stood still for" in said


@contextmanager
def locked(system: System, table: str) -> Iterator[None]:
    """Nobody else reads or writes the table."""
    with psycopg.connect(plain_url(system.environment["POSTRIDER_DATABASE__MIGRATOR_URL"])) as owner:
        owner.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def test_whoever_drains_takes_no_more_and_says_so(system: System) -> None:
    ports = listening(system, "api")
    host, port = urlsplit(system.url).hostname, urlsplit(system.url).port
    with socket.create_connection((host, port)) as slow:
        # Half a request, for which the process waits until its patience ends.
        slow.sendall(b"POST /api/v1/app HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        time.sleep(0.5)
        os.kill(system.children["api"].pid, signal.SIGTERM)
        words = {ask(one, "/readyz")[1] for one in ports for _ in wait_a_little()}
    assert "draining\n" in words


def wait_a_little() -> Iterator[None]:
    """So often that one answer falls into the draining, which lasts seconds."""
    for _ in range(10):
        yield None
        time.sleep(0.05)
