"""What programs and people do while all is well; it goes on in a thread of its own while faults are caused."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from app.kit.clock import utc_now
from tests.api.client import Reply
from tests.e2e.customer import Caller, Customer
from tests.people.visitor import PASSWORD, Known, Visitor, new_person
from tests.receiver import Receiver
from tests.system import System

BUSY = 503


@dataclass(frozen=True)
class Town:
    """Who is there: a customer with an endpoint that is well, and two people at browsers."""

    customer: Customer
    person: Known
    colleague: Known
    endpoint: str
    url: str


def founded(system: System, receiver: Receiver) -> Town:
    """A new one."""
    tenant = system.new_tenant()
    customer = Customer(Caller(system.url, tenant.key))
    endpoint = customer.endpoint(f"{receiver.base}{receiver.path()}")
    person, colleague = (new_person(system.sessions, tenant.organisation_id) for _ in range(2))
    return Town(customer, person, colleague, endpoint, system.url)


class Day:
    """Everybody is at work, in a thread of its own."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="traffic")

    def require_well(self) -> None:
        """Raises what went wrong with somebody's work."""
        if self._error is not None:
            raise self._error

    def begin(self) -> None:
        """Returns at once."""
        self._thread.start()

    def end(self) -> None:
        """Returns when all have gone home."""
        self._is_over.set()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        try:
            asyncio.run(_day(self._town, self._is_over))
        except BaseException as error:  # noqa: BLE001 it is raised where somebody sees it
            self._error = error


@contextmanager
def busy(town: Town) -> Iterator[Day]:
    """Everybody is at work for the block."""
    day = Day(town)
    day.begin()
    try:
        yield day
    finally:
        day.end()
    day.require_well()


async def _day(town: Town, done: threading.Event) -> None:
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        visitor = Visitor(http, town.url)
        await _arrive(visitor, town.person)
        for pause, act in (
            (0.1, lambda: asyncio.to_thread(town.customer.send)),
            (0.3, lambda: asyncio.to_thread(town.customer.api.get, "/app")),
            (1.0, lambda: _read(visitor)),
            (5.0, lambda: _look_in(Visitor(http, town.url), town.colleague)),
            (5.0, lambda: asyncio.to_thread(_replay, town)),
            (6.0, lambda: asyncio.to_thread(_mistake, town.url)),
        ):
            tasks.create_task(_again_and_again(act, pause, done))


async def _again_and_again(act: Callable[[], Awaitable[object]], pause: float, done: threading.Event) -> None:
    while not done.is_set():
        await act()
        await asyncio.sleep(pause)


async def patiently(visitor: Visitor, person: Known, password: str = PASSWORD) -> Reply:
    """Signs in, and comes back where too many do at this moment."""
    while True:
        reply = await visitor.sign_in(person.email, password)
        if reply.status != BUSY:
            return reply
        await asyncio.sleep(1)


async def _arrive(visitor: Visitor, person: Known) -> None:
    reply = await patiently(visitor, person)
    assert reply.status == 303, reply.raw


async def _read(visitor: Visitor) -> None:
    reply = await visitor.get("/account")
    assert reply.status == 200, reply


async def _look_in(visitor: Visitor, person: Known) -> None:
    """Somebody who forgot the password remembers it after all."""
    assert (await visitor.submit("/password/forgotten", email=person.email)).status in {202, 429}
    await _arrive(visitor, person)


def _replay(town: Town) -> None:
    path = f"/app/{town.customer.app}/endpoint/{town.endpoint}/replay-missing"
    town.customer.api.post(path, {"since": (utc_now() - timedelta(minutes=1)).isoformat()}, 202)


def _mistake(url: str) -> None:
    """A program with a key that has long ended."""
    assert Caller(url, "sk_ended").call("GET", "/app").status in {401, 429}
