"""A worker cut off from its servers: what it holds comes to others when its lease lapses, and is written down once."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.dev.roles import WORKER
from tests.faults.lab import LEASE_SECONDS, Lab, Scene, second_worker
from tests.faults.processes import connected_to, descendants, wait_for
from tests.faults.receiver import Behaviour
from tests.faults.relay import Relay, running_relay
from tests.system import System

pytestmark = pytest.mark.timeout(900)
SLACK_SECONDS = 3.0
ZOMBIES = "results came after their lease ended"


def test_f24_worker_cut_off(lab: Lab, installation: System) -> None:
    """Cut off in the middle of a transaction, a worker keeps no delivery back for longer than its lease."""
    scene = Scene(lab, installation, "F24 worker cut off", tenants=6)
    scene.behave(Behaviour(after=0.1))
    seconds = 7 if lab.bounded else 60
    waits = []
    with _distant_worker(lab, installation) as wires, scene.load(rate=100 if lab.bounded else 150) as load:
        for _ in range(1 if lab.bounded else 3):
            load.wait_accepted(len(load.book.accepted) + 300, 60)
            with _cut_in_transaction(lab, wires[0]), wires[1].cut():
                scene.note_in_flight()
                began = time.monotonic()
                waits.append(scene.settle_these(set(load.book.accepted), 60))
                time.sleep(max(0.0, seconds - (time.monotonic() - began)))
            healed = time.monotonic()
        load.wait_accepted(len(load.book.accepted) + 200, 60)
        book = load.stop()
        scene.settle(30)
    note = f"taken over within {max(waits):.1f} s"
    scene.conclude(book, recovery=scene.recovery(book, healed), note=note)
    assert scene.written_twice() == 0
    assert max(waits) <= LEASE_SECONDS + SLACK_SECONDS


@contextmanager
def _distant_worker(lab: Lab, system: System) -> Iterator[tuple[Relay, Relay]]:
    """A second worker whose servers are at the other end of wires: PostgreSQL's, Redis's."""
    with (
        tempfile.TemporaryDirectory(prefix="postrider-wires-") as name,
        running_relay(Path(name), lab.postgres.port) as postgres,
        running_relay(Path(name), lab.redis.port) as redis,
    ):
        environment = {
            "POSTRIDER_DATABASE__WORKER_URL": _through(postgres, system.environment["POSTRIDER_DATABASE__WORKER_URL"]),
            "POSTRIDER_REDIS__URL": _through(redis, system.environment["POSTRIDER_REDIS__URL"]),
        }
        with second_worker(system, Path(name), environment) as worker:
            wait_for(lambda: bool(connected_to(postgres.port, descendants(worker.pid))), 30, "the distant worker")
            yield postgres, redis


def _through(wire: Relay, url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{wire.port}/")


@contextmanager
def _cut_in_transaction(lab: Lab, wire: Relay) -> Iterator[None]:
    """Cuts the wire at a moment when a transaction is open at its other end."""
    for _ in range(500):
        with wire.cut():
            time.sleep(0.02)  # what is in the server already gets its answer
            if _is_transaction_open(lab):
                yield
                return
        time.sleep(0.02)
    raise AssertionError("no transaction was caught")


def _is_transaction_open(lab: Lab) -> bool:
    """Whether a worker's transaction waits for its client; those that nobody holds up go on within a moment."""
    held = "SELECT pid, xact_start FROM pg_stat_activity WHERE usename = %s AND state = 'idle in transaction'"
    before = set(lab.postgres.query(held, WORKER))
    time.sleep(0.5)
    return bool(before & set(lab.postgres.query(held, WORKER)))
