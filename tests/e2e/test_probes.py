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

import pytest
from sqlalchemy import text

from app.kit.db import make_engine
from tests.faults.processes import wait_for
from tests.servers import Servers, cloned_database, process_environment
from tests.system import System, prepared_system

PROBES = ("/livez", "/readyz", "/startupz")


@pytest.fixture(scope="module")
def system(servers: Servers, template: str) -> Iterator[System]:
    with cloned_database(servers, template) as urls:
        environment = process_environment(urls, "redis://127.0.0.1:1/0")
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
