"""What goes wrong, one thing after the other: each is caused, and ends with its block."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import aiohttp
import psycopg

from app.cli.dev.ports import any_free
from app.cli.dev.roles import DatabaseUrls, plain_url
from tests.e2e.customer import Caller
from tests.kit.rate_limits.own_redis import OwnRedis
from tests.observe.check.traffic import Town, patiently
from tests.otlp import PATH, Collector
from tests.people.visitor import Visitor, new_person
from tests.receiver import Answer, Receiver
from tests.system import System

REPEAT_SECONDS = 0.05
TRIES = 20
"""So many wrong passwords: the rate limit of the address is below."""


@dataclass(frozen=True)
class World:
    """What things can be done to."""

    system: System
    database: DatabaseUrls
    receiver: Receiver
    collector: Collector
    redis: OwnRedis
    town: Town


@contextmanager
def endpoint_fails(world: World) -> Iterator[None]:
    """It answers 500 every other time: too often for anybody's peace, and too seldom for its breaker."""
    url = f"{world.receiver.base}{world.receiver.path(*[Answer(500), Answer(204)] * 5_000)}"
    with _endpoint(world, url):
        yield


@contextmanager
def endpoint_is_gone(world: World) -> Iterator[None]:
    """Nobody listens there any more."""
    with _endpoint(world, f"http://127.0.0.1:{any_free()}/"):
        yield


@contextmanager
def route_fails(world: World) -> Iterator[None]:
    """It reads a column that is gone, and somebody asks again and again."""
    rename = "ALTER TABLE event_types RENAME COLUMN {} TO {}"
    with psycopg.connect(plain_url(world.database.migrator), autocommit=True) as owner:
        owner.execute(rename.format("description", "gone").encode())
        try:
            with _repeatedly(lambda: _ask_in_vain(world.town.customer.api)):
                yield
        finally:
            owner.execute(rename.format("gone", "description").encode())


@contextmanager
def sign_ins_fail(world: World) -> Iterator[None]:
    """Wrong passwords, for an address that somebody has."""
    asyncio.run(_guess(world))
    yield


@contextmanager
def limit_is_passed(world: World) -> Iterator[None]:
    """Keys that nobody has, more of them than may be tried."""
    stranger = Caller(world.system.url, "sk_nobody")
    answers = [stranger.call("GET", "/app").status for _ in range(3 * TRIES)]
    assert set(answers) == {401, 429}
    yield


@contextmanager
def collector_fails(world: World) -> Iterator[None]:
    """It takes no spans any more."""
    world.collector.receiver.tell(PATH, Answer(500))
    yield
    world.collector.receiver.tell(PATH, Answer(200))


@contextmanager
def redis_is_gone(world: World) -> Iterator[None]:
    """It is started again at the end, and has forgotten everything."""
    world.redis.stop()
    yield
    world.redis.start()


@contextmanager
def too_much_is_asked(_: World) -> Iterator[None]:
    """More than lines are written for each second, which the traffic is anyway."""
    yield


Fault = Callable[[World], AbstractContextManager[None]]
FAULTS: Mapping[str, Fault] = {
    "an endpoint fails": endpoint_fails,
    "an endpoint is gone": endpoint_is_gone,
    "a sign-in fails": sign_ins_fail,
    "somebody goes beyond a rate limit": limit_is_passed,
    "more is asked than is written down": too_much_is_asked,
    "a route fails": route_fails,
    "an alert fires": route_fails,
    "the collector fails": collector_fails,
    "Redis is gone": redis_is_gone,
}
"""By the names that panels give them."""


@contextmanager
def _repeatedly(act: Callable[[], None]) -> Iterator[None]:
    """Until the block ends: a series that is new starts at the count of its first scrape, so only later ones rise."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(REPEAT_SECONDS):
            act()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield
        finally:
            over.set()
        working.result()


def _ask_in_vain(api: Caller) -> None:
    reply = api.call("GET", "/event-type")
    assert reply.status == 500, reply.raw


@contextmanager
def _endpoint(world: World, url: str) -> Iterator[None]:
    customer = world.town.customer
    made = customer.endpoint(url, retrySchedule=[0, *[1] * 19])
    try:
        yield
    finally:
        customer.api.call("DELETE", f"/app/{customer.app}/endpoint/{made}")


async def _guess(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(TRIES):
            person = new_person(world.system.sessions, world.town.person.organisation_id, password=None)
            reply = await patiently(Visitor(http, world.system.url), person, "a wrong password")
            assert reply.status == 401, reply.raw
