"""One organisation's flood leaves another's messages about as quick as they were, and is alone in being refused."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from app.cli.bench.load import OpenLoop, Pool
from app.cli.bench.numbers import percentile
from app.cli.bench.wire import Caller, Requests, Server, write_callers
from tests.e2e.customer import Customer, eventually
from tests.servers import ROOT

WINDOWS, WINDOW_SECONDS, SETTLING_SECONDS = 9, 1.2, 0.3
# The slowest few of a window scatter so much that one series alone does not tell a ratio near the bound from the bound.
# Stopping as soon as it holds lets a ratio pass that is a little above it.
MOST_SERIES = 4
RATE, FLOOD_CONNECTIONS = 200, 256
WITHIN = 2.0


class Flood:
    """Someone who posts as fast as they are answered, over many connections, from a process of their own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def answers(self) -> Counter[int]:
        """What was answered, by status, once it is over."""
        self.go_on()
        out, _ = self._process.communicate(timeout=30)
        return Counter({int(status): count for status, count in json.loads(out)["answers"].items()})


@contextmanager
def flooding(customer: Customer, seconds: float, folder: Path) -> Iterator[Flood]:
    """A flood that lasts so long, pauses included."""
    keys = folder / "keys"
    write_callers(keys, [Caller(customer.api.key, customer.app)])
    # Only when nobody else wants to run: it stands for machines elsewhere, which take no time from the ones that serve.
    words = ["chrt", "--idle", "0", sys.executable, "-m", "app.cli.bench.accept", f"--url={customer.api.base}"]
    options = [f"--keys-file={keys}", f"--connections={FLOOD_CONNECTIONS}", f"--seconds={seconds}"]
    process = subprocess.Popen([*words, *options], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        yield Flood(process)
    finally:
        process.kill()
        process.communicate()


@asynccontextmanager
async def posting(customer: Customer) -> AsyncIterator[OpenLoop]:
    """Messages at a steady rate; each is measured from when it was to be posted."""
    server = Server.at(customer.api.base)
    loop = OpenLoop(Requests(server, [Caller(customer.api.key, customer.app)]), RATE)
    pool = Pool(server, loop)
    for _ in range(8):
        await pool.open()
    loop.start()
    yield loop
    loop.stop()
    await asyncio.sleep(1)
    pool.close()


async def p99_ms(loop: OpenLoop) -> float:
    """Of the answers of a window that begins when what was before has settled; its length where none came."""
    await asyncio.sleep(SETTLING_SECONDS)
    first = len(loop.answer_seconds)
    await asyncio.sleep(WINDOW_SECONDS)
    found: Any = percentile(loop.answer_seconds[first:], 0.99, scale=1000)
    return WINDOW_SECONDS * 1000 if found is None else float(found)


@pytest.mark.acceptance("L05")
@pytest.mark.timeout(240)
async def test_a_flood_delays_nobody_else_and_is_refused(
    customer: Customer, stranger: Customer, tmp_path: Path
) -> None:
    quiet: list[float] = []
    flooded: list[float] = []
    answers: Counter[int] = Counter()
    async with posting(stranger) as loop:
        for _ in range(MOST_SERIES):
            answers += await compare(customer, loop, tmp_path, quiet, flooded)
            if is_about_as_quick(quiet, flooded):
                break
    assert set(loop.answers) == {202}
    assert set(answers) == {202, 429}
    assert is_about_as_quick(quiet, flooded), (sorted(quiet), sorted(flooded), answers)


async def compare(
    customer: Customer, loop: OpenLoop, folder: Path, quiet: list[float], flooded: list[float]
) -> Counter[int]:
    """Adds what a series of windows finds, by turns without and with a flood; returns what the flood was answered."""
    with flooding(customer, 2 * WINDOWS * (WINDOW_SECONDS + SETTLING_SECONDS), folder) as flood:
        await asyncio.to_thread(refused, customer)
        # A second of quiet is compared with the next one of flood, and medians of many are, because other work on
        # the machine comes and goes in seconds and slows both alike; a minute of each would measure that work.
        for _ in range(WINDOWS):
            flood.pause()
            quiet.append(await p99_ms(loop))
            flood.go_on()
            flooded.append(await p99_ms(loop))
        return await asyncio.to_thread(flood.answers)


def is_about_as_quick(quiet: list[float], flooded: list[float]) -> bool:
    """Whether the bound holds by all that was measured."""
    return median(flooded) <= WITHIN * median(quiet)


def refused(customer: Customer) -> None:
    """Returns when the flood has led to a refusal that says when to come again."""
    body = {"eventType": "e2e.test", "payload": {}}
    reply = eventually(
        lambda: (reply := customer.api.call("POST", f"/app/{customer.app}/msg", body)).status == 429 and reply
    )
    assert reply.code == "limit_reached"
    assert int({name.lower(): value for name, value in reply.headers.items()}["retry-after"]) >= 1
