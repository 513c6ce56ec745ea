"""Who reads metrics from the ports of an installation: well, slowly, or as if it had lost its mind."""

import asyncio
import os
import random
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.cli.dev.ports import LOOPBACK
from app.cli.dev.process import Child, Program
from tests.faults.processes import wait_for
from tests.servers import ROOT

ASK = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
MANY = 400
_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_SMALL = (socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)


@contextmanager
def scraping(kind: str, ports: Sequence[int], folder: Path) -> Iterator[None]:
    """A process that reads from these ports for the length of the block."""
    argv = [sys.executable, "-m", "tests.faults.scraper", kind, *map(str, ports)]
    log = folder / f"scraper-{kind}.log"
    child = Child(Program(f"scraper-{kind}", argv, log, cwd=ROOT, stop_seconds=5), folder)
    try:
        wait_for(lambda: "ready" in log.read_text(), 20, "a scraper")
        yield
        assert child.ended() is None, child.last_words()
    finally:
        child.stop()


async def _slow(port: int) -> None:
    """Asks, and takes the answer a byte a second."""
    with await _connected(port) as connection:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, ASK)
        received = ASK
        while received:
            await asyncio.sleep(_SECONDS)
            received = await loop.sock_recv(connection, 1)


async def _dripping(port: int) -> None:
    """Asks a byte a second."""
    with await _connected(port) as connection:
        for byte in ASK:
            await asyncio.get_running_loop().sock_sendall(connection, bytes([byte]))
            await asyncio.sleep(_SECONDS)


async def _silent(port: int) -> None:
    """Never says anything."""
    with await _connected(port) as connection:
        await asyncio.get_running_loop().sock_recv(connection, 1)


async def _greedy(port: int) -> None:
    """Asks again as soon as it is answered."""
    with await _connected(port) as connection:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, ASK)
        while await loop.sock_recv(connection, 65536):
            pass


async def _garbling(port: int) -> None:
    """Says what is no HTTP, and hangs up."""
    with await _connected(port) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, os.urandom(random.randrange(1, 4096)))


async def _hanging_up(port: int) -> None:
    """Asks, and is gone."""
    with await _connected(port) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, ASK)


async def _connected(port: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003 it takes no name
    connection.setsockopt(*_SMALL)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (LOOPBACK, port))
    except BaseException:
        connection.close()
        raise
    return connection


Visit = Callable[[int], Coroutine[Any, Any, None]]
KINDS: dict[str, Sequence[Visit]] = {
    "slow": [_slow, _dripping] * (MANY // 2),
    "raving": [_silent] * MANY + [_greedy, _garbling, _hanging_up] * 4,
}


async def _again_and_again(visit: Visit, port: int) -> None:
    while True:
        with suppress(OSError):
            await visit(port)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _main(kind: str, ports: Sequence[int]) -> None:
    async with asyncio.TaskGroup() as group:
        for port in ports:
            for visit in KINDS[kind]:
                group.create_task(_again_and_again(visit, port))
        sys.stdout.write("ready\n")
        sys.stdout.flush()


if __name__ == "__main__":
    # What it takes of the processor itself is not the fault that is looked at.
    os.nice(19)
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(sys.argv[1], [int(one) for one in sys.argv[2:]]))
