"""A flood of sign-ins leaves the API about as quick as it was: hashing waits in line, and in front of nobody."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import pytest

from tests.e2e.customer import Customer
from tests.e2e.test_fairness import (
    SETTLING_SECONDS,
    WINDOW_SECONDS,
    WINDOWS,
    WITHIN,
    Flood,
    p99_ms,
    posting,
)
from tests.servers import ROOT

CONNECTIONS = 64
WARMING_SECONDS = 6.0
"""Until every process has shown its pages once."""


@contextmanager
def knocking(url: str, seconds: float) -> Iterator[Flood]:
    """A flood of sign-ins that lasts so long, pauses included."""
    # At nice, for it stands for machines elsewhere, which would take no time from the ones that serve.
    words = ["nice", "-n", "19", sys.executable, "-m", "tests.e2e.knocking", url, str(CONNECTIONS), str(seconds)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        yield Flood(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
async def test_a_flood_of_sign_ins_delays_no_message(customer: Customer) -> None:
    quiet: list[float] = []
    flooded: list[float] = []
    seconds = WARMING_SECONDS + 2 * WINDOWS * (WINDOW_SECONDS + SETTLING_SECONDS)
    async with posting(customer) as loop:
        with knocking(customer.api.base, seconds) as flood:
            await asyncio.sleep(WARMING_SECONDS)
            for _ in range(WINDOWS):
                flood.pause()
                quiet.append(await p99_ms(loop))
                flood.go_on()
                flooded.append(await p99_ms(loop))
            answers = await asyncio.to_thread(flood.answers)
    assert set(loop.answers) == {202}
    assert answers[401] > 0
    assert set(answers) <= {401, 503}
    assert median(flooded) <= WITHIN * median(quiet), (sorted(quiet), sorted(flooded), answers)
