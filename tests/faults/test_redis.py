"""The broker killed, emptied, frozen or refusing: it carries wake-ups only, so nobody waits for it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import redis

from tests.faults.client import Book, quantile
from tests.faults.lab import Lab, Scene
from tests.faults.processes import wait_for
from tests.system import System

pytestmark = pytest.mark.timeout(900)
BOUNDED_RATE, RATE = 150.0, 300.0
LONGEST_REQUEST = 1.0
SWEEP_SECONDS = 2.0
Fault = Callable[[], AbstractContextManager[None]]


def _play(lab: Lab, system: System, name: str, fault: Fault, seconds: float) -> tuple[Scene, Book, float, float]:
    """A scene with a fault of some seconds between as long a calm before it and a short one after it."""
    scene = Scene(lab, system, name, tenants=4)
    with scene.load(rate=BOUNDED_RATE if lab.bounded else RATE) as load:
        time.sleep(1)
        calm = time.monotonic()
        time.sleep(min(seconds, 10))
        began = time.monotonic()
        with fault():
            time.sleep(seconds)
            ended = time.monotonic()
        healed = time.monotonic()
        time.sleep(2)
        book = load.stop()
    scene.settle(30)
    before, during = book.seconds(calm, began), book.seconds(began, ended)
    p99 = quantile(before, 0.99), quantile(during, 0.99)
    note = f"p99 of 202: {p99[0] * 1000:.0f} -> {p99[1] * 1000:.0f} ms, slowest {book.slowest(began, ended):.2f} s"
    scene.conclude(book, recovery=scene.recovery(book, healed), note=note)
    _assert_undisturbed(scene, book, began, ended, p99)
    return scene, book, began, ended


def _assert_undisturbed(scene: Scene, book: Book, began: float, ended: float, p99: tuple[float, float]) -> None:
    assert set(book.statuses) == {202}, book.statuses
    assert book.slowest(began, ended) <= LONGEST_REQUEST
    # A floor, for twice very little is noise on a machine that others use.
    assert p99[1] <= max(2 * p99[0], 0.5)
    _assert_delivered_meanwhile(scene, book, began, ended)


def _assert_delivered_meanwhile(scene: Scene, book: Book, began: float, ended: float) -> None:
    """Deliveries went on by the workers' own timer."""
    waits = scene.latencies(book, began, ended - SWEEP_SECONDS)
    assert quantile(waits, 0.99) <= SWEEP_SECONDS + 0.5, f"deliveries waited up to {waits[-1]:.1f} s"


def test_f06_redis_absent(lab: Lab, installation: System) -> None:
    _play(lab, installation, "F06 Redis killed, absent", lab.redis.absent, 5 if lab.bounded else 60)


def test_f07_redis_flushed(lab: Lab, installation: System) -> None:
    @contextmanager
    def flushed() -> Iterator[None]:
        for _ in range(20):
            lab.redis.command("FLUSHALL")
            time.sleep(0.1)
        yield

    _play(lab, installation, "F07 Redis FLUSHALL under load", flushed, 3 if lab.bounded else 60)


def test_f08_redis_frozen(lab: Lab, installation: System) -> None:
    _play(lab, installation, "F08 Redis SIGSTOP", lab.redis.frozen, 5 if lab.bounded else 60)


@pytest.mark.parametrize("name", ["memory", "read-only", "loading"])
def test_f09_redis_refuses(lab: Lab, installation: System, name: str) -> None:
    seconds = 3 if lab.bounded else 60
    faults: dict[str, Fault] = {
        "memory": lambda: _full(lab),
        "read-only": lambda: _read_only(lab),
        "loading": lambda: _loading(lab, seconds),
    }
    _play(lab, installation, f"F09 Redis {name}", faults[name], seconds)


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
