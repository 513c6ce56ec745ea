"""Clients as they should be: each message has an idempotency key, and is posted again until it is accepted."""

import asyncio
import errno
import io
import itertools
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Self

import aiohttp

from tests.faults.receiver import digest_of

EVENT_TYPE = "fault.event"
ACCEPTED = 202
PATIENCE_SECONDS = 40.0
AGAIN = frozenset({0, 429, 503})
"""Statuses after which a client tries again; 0 is no answer."""
# On a machine that is full of work it takes a while until one learns of it.
_CLOSE_SECONDS = 0.5
_SAID_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go: an application, by a key of its organisation."""

    name: str
    key: str
    app: str


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted message: the digest of its payload, and when the answer came (of time.monotonic)."""

    target: str
    digest: str
    at: float


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: when it began, how long it took, the status (0 without an answer), and whether it was proper.

    Proper is JSON, with Retry-After where the status asks to try again. It went `astray` when its connection, which had
    rested, was closed from the other side at that very moment: nobody has read it. `said` is the error, in short.
    """

    began: float
    seconds: float
    status: int
    proper: bool
    astray: bool = False
    said: str = ""

    @property
    def harmed(self) -> bool:
        """Whether the service failed the client, however well a later try went."""
        return not self.astray and (self.status == 0 or self.status >= 500)


@dataclass
class Book:
    """The client's side of the ledger; `offered` is the target of each digest that was ever posted."""

    accepted: dict[str, Sent] = field(default_factory=dict)
    offered: dict[str, str] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)
    given_up: int = 0

    def __or__(self, other: "Book") -> "Book":
        """What both clients know."""
        return Book(
            self.accepted | other.accepted,
            self.offered | other.offered,
            self.exchanges + other.exchanges,
            self.given_up + other.given_up,
        )

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came."""
        return Counter(one.status for one in self.exchanges)

    def seconds(self, since: float = 0.0, until: float = float("inf"), status: int = ACCEPTED) -> list[float]:
        """How long requests took that began in a span and brought this status."""
        return sorted(one.seconds for one in self.exchanges if since <= one.began < until and one.status == status)

    def slowest(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest request that began in a span, whatever it brought."""
        return max((one.seconds for one in self.exchanges if since <= one.began < until), default=0.0)

    def harmed(self, since: float = 0.0, until: float = float("inf")) -> list[Exchange]:
        """Requests that began in a span and failed for no fault of the client's."""
        return [one for one in self.exchanges if since <= one.began < until and one.harmed]

    @property
    def astray(self) -> int:
        """How many requests went to a connection that was being closed."""
        return sum(one.astray for one in self.exchanges)

    @property
    def improper(self) -> list[Exchange]:
        """Answers that a client cannot use."""
        return [one for one in self.exchanges if one.status and not one.proper]


def quantile(values: Sequence[float], part: float) -> float:
    """The value below which this part of the sorted values lies."""
    assert values, "nothing was measured"
    return values[min(len(values) - 1, int(len(values) * part))]


def connector(connections: int) -> aiohttp.BaseConnector:
    """Up to so many connections to wherever the URL says."""
    return aiohttp.TCPConnector(limit=connections)


class _Passage:
    """What became of one request's way: whether its connection had served before, and when it was written."""

    def __init__(self) -> None:
        self.rested = False
        self.written_at: float | None = None

    def was_closed(self, error: aiohttp.ClientError) -> bool:
        """Whether the other side closed a connection that had rested, rather than fail the request.

        A pipe breaks only under what is still being written: however late one learns of it, nobody has read it all.
        """
        is_broken = isinstance(error, OSError) and error.errno == errno.EPIPE
        soon = self.written_at is None or time.monotonic() - self.written_at < _CLOSE_SECONDS
        return self.rested and (is_broken or soon)

    @classmethod
    def tracing(cls) -> aiohttp.TraceConfig:
        """Has aiohttp tell the passage that is given to a request."""
        traced = aiohttp.TraceConfig()
        traced.on_connection_reuseconn.append(cls._note_rest)
        traced.on_request_headers_sent.append(cls._note_writing)
        return traced

    @staticmethod
    async def _note_rest(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.rested = True

    @staticmethod
    async def _note_writing(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.written_at = time.monotonic()


class Load:
    """Posts from a thread of its own while the block runs, `rate` messages a second or, with 0, as fast as it can.

    It ends after `count` messages where that is given. `payload` makes one of its number. `stop` posts no
    more new ones and lets those under way end. `connect` makes the connections, and after the statuses of `again`
    a message is posted again.
    """

    def __init__(
        self,
        url: str,
        targets: Sequence[Target],
        *,
        rate: float = 0.0,
        count: int | None = None,
        connections: int = 16,
        pad: int = 200,
        retries: bool = True,
        payload: Callable[[int], bytes] | None = None,
        connect: Callable[[int], aiohttp.BaseConnector] = connector,
        again: Collection[int] = AGAIN,
    ) -> None:
        self.book = Book()
        self._connect, self._again = connect, again
        self._url, self._rate, self._connections = url, rate, connections
        self._targets = itertools.cycle(targets)
        self._numbers = itertools.count() if count is None else iter(range(count))
        self._pad, self._retries, self._make = "x" * pad, retries, payload
        self._run_id = secrets.token_hex(6)
        self._next = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> Book:
        """Posts no more; returns when what was under way has ended."""
        self._stopping.set()
        return self.join()

    def join(self, seconds: float = 900.0) -> Book:
        """Waits for the end of a load with a count."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the load does not end"
        return self.book

    def wait_accepted(self, count: int, seconds: float) -> None:
        """Returns when so many were accepted."""
        until = time.monotonic() + seconds
        while len(self.book.accepted) < count:
            assert time.monotonic() < until, f"{len(self.book.accepted)} of {count} accepted; {self.book.statuses}"
            time.sleep(0.02)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        connecting, traced = self._connect(self._connections), [_Passage.tracing()]
        async with aiohttp.ClientSession(timeout=timeout, connector=connecting, trace_configs=traced) as http:
            self._next = time.monotonic()
            await asyncio.gather(*(self._post_all(http) for _ in range(self._connections)))

    async def _post_all(self, http: aiohttp.ClientSession) -> None:
        while not self._stopping.is_set():
            number = next(self._numbers, None)
            if number is None:
                return
            await self._pace()
            await self._deliver(http, next(self._targets), number)

    async def _pace(self) -> None:
        if self._rate:
            turn = max(self._next, time.monotonic() - 0.1)
            self._next = turn + 1 / self._rate
            await asyncio.sleep(turn - time.monotonic())

    async def _deliver(self, http: aiohttp.ClientSession, target: Target, number: int) -> None:
        payload = self._payload(target, number) if self._make is None else self._make(number)
        digest = digest_of(payload)
        self.book.offered[digest] = target.name
        body = b'{"eventType": "%b", "payload": %b}' % (EVENT_TYPE.encode(), payload)
        for _ in range(200):
            status, message_id = await self._post(http, target, body, f"{self._run_id}-{number}")
            if status == ACCEPTED:
                self.book.accepted[message_id] = Sent(target.name, digest, time.monotonic())
                return
            if status not in self._again or not self._retries:
                break
            await asyncio.sleep(random.uniform(0.1, 0.5))
        self.book.given_up += 1

    def _payload(self, target: Target, number: int) -> bytes:
        return json.dumps({"run": self._run_id, "to": target.name, "n": number, "pad": self._pad}).encode()

    async def _post(self, http: aiohttp.ClientSession, target: Target, body: bytes, key: str) -> tuple[int, str]:
        headers = {
            "authorization": f"Bearer {target.key}",
            "content-type": "application/json",
            "idempotency-key": key,
        }
        began, status, proper, message_id = time.monotonic(), 0, False, ""
        passage, astray, said = _Passage(), False, ""
        url = f"{self._url}/api/v1/app/{target.app}/msg"
        try:
            async with http.post(url, data=io.BytesIO(body), headers=headers, trace_request_ctx=passage) as answer:
                status, text = answer.status, await answer.read()
                said = "" if status == ACCEPTED else text.decode(errors="replace")[:_SAID_CHARACTERS]
                values = json.loads(text)
                proper = answer.status not in AGAIN or "retry-after" in answer.headers
                message_id = values.get("id", "")
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            status, astray, said = 0, passage.was_closed(error), repr(error)
        except (aiohttp.ClientError, TimeoutError) as error:
            status, said = 0, repr(error)
        except ValueError:
            proper = False
        self.book.exchanges.append(Exchange(began, time.monotonic() - began, status, proper, astray, said))
        return status, message_id
