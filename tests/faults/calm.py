"""Faults that nobody may notice: as many messages are accepted, as fast, and delivered meanwhile."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median

from tests.faults.client import Book, quantile
from tests.faults.lab import Lab, Scene
from tests.system import System

BOUNDED_RATE, RATE = 150.0, 300.0
LONGEST_REQUEST = 2.0
"""Seconds: less than anything waits for those who fail here, more than a machine that others use stands still."""
SWEEP_SECONDS = 2.0
WINDOWS = 5
"""A span has so many parts and is judged by the one in the middle, for the machine stands still in one now and then."""
Fault = Callable[[], AbstractContextManager[None]]


def play(lab: Lab, system: System, name: str, fault: Fault) -> tuple[Scene, Book, float, float]:
    """Plays a scene with a fault of some seconds between as long a calm before it and a short one after it."""
    seconds = length(lab)
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
    p99 = _usual_p99(book, calm, began), _usual_p99(book, began, ended)
    note = f"p99 of 202: {p99[0] * 1000:.0f} -> {p99[1] * 1000:.0f} ms, slowest {book.slowest(began, ended):.2f} s"
    scene.conclude(book, recovery=scene.recovery(book, healed), note=note)
    _assert_undisturbed(scene, book, began, ended, p99)
    return scene, book, began, ended


def length(lab: Lab) -> int:
    """Seconds of a fault."""
    return 3 if lab.bounded else 60


def _usual_p99(book: Book, since: float, until: float) -> float:
    """The p99, in seconds, of requests that were accepted in the usual part of a span."""
    width = (until - since) / WINDOWS
    parts = [book.seconds(since + width * number, since + width * (number + 1)) for number in range(WINDOWS)]
    return median(quantile(part, 0.99) for part in parts if part)


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
