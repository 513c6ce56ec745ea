"""The broker killed, emptied, frozen or refusing: it carries wake-ups only, so nobody waits for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.faults.calm import Fault, length, play
from tests.faults.lab import API_PROCESSES, Lab
from tests.faults.processes import wait_for
from tests.system import System

pytestmark = pytest.mark.timeout(900)
USES = ("limits", "cache")


def test_f06_redis_absent(lab: Lab, installation: System) -> None:
    play(lab, installation, "F06 Redis killed, absent", lab.redis.absent)


def test_f07_redis_flushed(lab: Lab, installation: System) -> None:
    @contextmanager
    def flushed() -> Iterator[None]:
        for _ in range(20):
            lab.redis.command("FLUSHALL")
            time.sleep(0.1)
        yield

    play(lab, installation, "F07 Redis FLUSHALL under load", flushed)


def test_f08_redis_frozen(lab: Lab, installation: System) -> None:
    play(lab, installation, "F08 Redis SIGSTOP", lab.redis.frozen)


@pytest.mark.parametrize("name", ["memory", "read-only", "loading"])
def test_f09_redis_refuses(lab: Lab, installation: System, name: str) -> None:
    faults: dict[str, Fault] = {
        "memory": lambda: _full(lab),
        "read-only": lambda: _read_only(lab),
        "loading": lambda: _loading(lab, length(lab)),
    }
    ends = installation.log("api").count("redis_available")
    play(lab, installation, f"F09 Redis {name}", faults[name])

    # One outage for each use of each process, however many questions of another kind are answered meanwhile.
    assert installation.log("api").count("redis_available") - ends <= len(USES) * API_PROCESSES


@contextmanager
def _loading(lab: Lab, seconds: float) -> Iterator[None]:
    with lab.redis.loading(2 * seconds):
        wait_for(lambda: _is_loading(lab), 10, "Redis reading its data")
        yield


def _is_loading(lab: Lab) -> bool:
    try:
        lab.redis.command("GET", "x")
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    raise AssertionError("Redis has read its data too soon")


@contextmanager
def _full(lab: Lab) -> Iterator[None]:
    lab.redis.command("CONFIG", "SET", "maxmemory", "1mb")
    try:
        yield
    finally:
        lab.redis.command("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def _read_only(lab: Lab) -> Iterator[None]:
    lab.redis.command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        lab.redis.command("REPLICAOF", "NO", "ONE")
