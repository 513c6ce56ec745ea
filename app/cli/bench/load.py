"""Load on an ingest: as fast as it answers, or at a fixed rate."""

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.cli.bench.wire import Caller, Connection, Requests, Server

ACCEPTED = 202
_DRAIN_SECONDS = 2.0
_TICK_SECONDS = 0.002


@dataclass(slots=True)
class Outcome:
    """What a run brought: answers by status in `seconds`, connections that were lost, our own CPU time.

    `accepted_in_all` counts messages that were accepted before and after the time that is measured, too.
    """

    seconds: float
    answers: Counter[int]
    accepted_in_all: int
    lost: int
    cpu_seconds: float
    posted: dict[str, float] = field(default_factory=dict)
    answer_seconds: list[float] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """How many were accepted."""
        return self.answers[ACCEPTED]


class Loop(Protocol):
    """Decides when connections post."""

    def begin(self, connection: Connection) -> None:
        """A connection is free for the first time."""

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        """A connection is free again."""

    def stop(self) -> None:
        """Posts no more."""


class ClosedLoop:
    """Every connection posts again as soon as it is answered."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._running = True
        self.answers: Counter[int] = Counter()

    def begin(self, connection: Connection) -> None:
        """Posts."""
        connection.post(next(self._requests))

    def answered(self, connection: Connection, status: int, _: bytes) -> None:
        """Counts, and posts again."""
        self.answers[status] += 1
        if self._running:
            connection.post(next(self._requests))

    def stop(self) -> None:
        """Posts no more."""
        self._running = False


class OpenLoop:
    """Posts `rate` times a second, however slow the answers are; a request may wait for a free connection.

    What is due is posted together at each tick, so that a rate costs the machine no more than the posts do. A message
    is meant for the moment of its tick, and what makes it later counts: this process, and connections that are taken.
    """

    def __init__(self, requests: Requests, rate: float) -> None:
        self._requests = requests
        self._interval = 1 / rate
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._under_way: dict[Connection, float] = {}
        self._running = False
        self.answers: Counter[int] = Counter()
        self._accepted: list[tuple[bytes, float]] = []
        self.answer_seconds: list[float] = []

    def begin(self, connection: Connection) -> None:
        """Keeps it for later."""
        self._free.append(connection)

    def start(self) -> None:
        """Begins to post."""
        self._running = True
        self._next = self._at = time.monotonic()
        self._tick()

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        """Counts, and sends what waits for a connection."""
        intended = self._under_way.pop(connection)
        self.answers[status] += 1
        if status == ACCEPTED:
            self._accepted.append((body, intended))
            self.answer_seconds.append(time.monotonic() - intended)
        if self._waiting:
            self._post(connection, self._waiting.popleft())
        else:
            self._free.append(connection)

    def posted(self) -> dict[str, float]:
        """The moment (of time.monotonic) at which each message was to be posted, by its id."""
        return {json.loads(body)["id"]: moment for body, moment in self._accepted}

    def stop(self) -> None:
        """Posts no more; what waits for a connection still goes."""
        self._running = False

    def _tick(self) -> None:
        now = time.monotonic()
        # A timer may be early by the loop's own clock.
        moment = min(self._at, now)
        while self._next <= moment:
            self._intend(moment)
            self._next += self._interval
        if self._running:
            self._at = max(self._next, self._at + _TICK_SECONDS)
            asyncio.get_running_loop().call_later(max(0.0, self._at - now), self._tick)

    def _intend(self, moment: float) -> None:
        if self._free:
            self._post(self._free.popleft(), moment)
        else:
            self._waiting.append(moment)

    def _post(self, connection: Connection, moment: float) -> None:
        self._under_way[connection] = moment
        connection.post(next(self._requests))


class Pool:
    """Connections of one loop; one that is lost is opened again."""

    def __init__(self, server: Server, loop: Loop) -> None:
        self._server = server
        self._loop = loop
        self._open: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.lost = 0

    async def open(self) -> None:
        """Adds a connection; OSError when nobody listens."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self._loop.answered, self._on_lost), self._server.host, self._server.port
        )
        self._open.add(connection)
        self._loop.begin(connection)

    def close(self) -> None:
        """Closes all."""
        for connection in self._open:
            connection.close()

    def _on_lost(self, connection: Connection) -> None:
        self.lost += 1
        self._open.discard(connection)
        task = asyncio.get_running_loop().create_task(self.open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)


async def post_at_will(
    server: Server, callers: Sequence[Caller], *, connections: int, warmup: float, seconds: float
) -> Outcome:
    """What `connections` get accepted in `seconds` when each posts one message after the other."""
    loop = ClosedLoop(Requests(server, callers))
    pool = Pool(server, loop)
    for _ in range(connections):
        # One after the other, under load: a process that is busy leaves the next connection to its neighbour.
        await pool.open()
    await asyncio.sleep(warmup)
    before, began, cpu = loop.answers.copy(), time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    after, took, cpu = loop.answers.copy(), time.monotonic() - began, time.process_time() - cpu
    loop.stop()
    await asyncio.sleep(0.2)
    pool.close()
    after.subtract(before)
    return Outcome(took, after, loop.answers[ACCEPTED], pool.lost, cpu)


async def post_at_rate(
    server: Server, callers: Sequence[Caller], *, connections: int, rate: float, seconds: float
) -> Outcome:
    """How long messages take that are posted at a fixed rate."""
    loop = OpenLoop(Requests(server, callers), rate)
    pool = Pool(server, loop)
    for _ in range(connections):
        await pool.open()
    began, cpu = time.monotonic(), time.process_time()
    loop.start()
    await asyncio.sleep(seconds)
    loop.stop()
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    # Servers close what is idle while the last answers come.
    lost = pool.lost
    await asyncio.sleep(_DRAIN_SECONDS)
    pool.close()
    return Outcome(took, loop.answers, loop.answers[ACCEPTED], lost, cpu, loop.posted(), loop.answer_seconds)
