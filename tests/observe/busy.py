"""Traffic and faults for what `make run` started, so that its dashboards have something to show.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make run
    .venv/bin/python -m tests.observe.busy --minutes 20

Traces are taken on port 4318. One process of the API and one that delivers are called the canary.
"""

import argparse
import asyncio
import json
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import aiohttp
import psycopg

from app.cli.dev.folder import Folder, write_private
from app.cli.dev.ports import any_free
from app.cli.dev.roles import create_roles, plain_url
from app.features.organisations import queries
from app.kit.db import make_engine, make_sessions
from tests.e2e.customer import Caller, Customer
from tests.otlp import PATH
from tests.people.visitor import Visitor, new_person
from tests.receiver import Answer, Receiver

COLLECTOR_PORT = 4318
MOST_A_SECOND, LEAST_A_SECOND = 16, 4
BROWSERS = ("X11; Linux x86_64", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7")
RETRIES = [0, 2, 5, 10, 20]
STABLE = {"postrider-api": 1, "postrider-worker": 2, "postrider-beat": None}
"""How many processes of each part are of the version so far; the workers' first one starts the others."""


class Busy:
    """One customer, one person and several faults, for so many seconds."""

    def __init__(self, folder: Folder, receiver: Receiver, seconds: float) -> None:
        known = dict(line.split("=", 1) for line in folder.ready.read_text().splitlines())
        self._folder, self._receiver, self._seconds = folder, receiver, seconds
        self._urls = create_roles(json.loads(folder.stores.read_text())["postgres"])
        self._url, self._key = known["POSTRIDER_URL"], known["POSTRIDER_API_KEY"]
        self._customer = Customer(Caller(self._url, self._key))
        self._over = Event()
        self.answers: Counter[str] = Counter()

    def run(self) -> None:
        """Returns when the time is over. What failed that should not have is raised."""
        name_canaries(self._folder.targets)
        with ThreadPoolExecutor() as pool:
            jobs = [pool.submit(job) for job in (self._send, self._read, self._sign_in)]
            try:
                self._cause_faults()
            finally:
                self._over.set()
            for job in jobs:
                job.result()

    def _cause_faults(self) -> None:
        """One after the other, with calm between them."""
        flaky = self._receiver.path()
        for path in (self._receiver.path(), self._receiver.path(Answer(after=0.3)), flaky):
            self._customer.endpoint(f"{self._receiver.base}{path}", retrySchedule=RETRIES)
        faults: tuple[tuple[float, Callable[[float], None]], ...] = (
            (0.20, lambda seconds: self._fail_endpoints(flaky, seconds)),
            (0.05, self._fail_a_route),
            (0.15, self._guess_passwords),
            (0.04, self._stop_redis),
        )
        calm = (1 - sum(share for share, _ in faults)) / (len(faults) + 1)
        for share, cause in faults:
            time.sleep(calm * self._seconds)
            cause(share * self._seconds)
        time.sleep(calm * self._seconds)

    def _fail_endpoints(self, flaky: str, seconds: float) -> None:
        """One endpoint answers 500, and nobody listens at another."""
        self._receiver.tell(flaky, Answer(500))
        gone = self._customer.endpoint(f"http://127.0.0.1:{any_free()}/", retrySchedule=RETRIES)
        time.sleep(seconds)
        self._receiver.tell(flaky)
        self._customer.api.call("DELETE", f"/app/{self._customer.app}/endpoint/{gone}", headers={"if-match": "*"})

    def _fail_a_route(self, seconds: float) -> None:
        """Takes a table away that reads need."""
        with psycopg.connect(plain_url(self._urls.migrator), autocommit=True) as db:
            db.execute("ALTER TABLE event_types RENAME TO event_types_gone")
            try:
                time.sleep(seconds)
            finally:
                db.execute("ALTER TABLE event_types_gone RENAME TO event_types")

    def _guess_passwords(self, seconds: float) -> None:
        asyncio.run(self._guess(time.monotonic() + seconds))

    async def _guess(self, until: float) -> None:
        """Wrong ones, for one account after the other."""
        async with aiohttp.ClientSession() as http:
            while time.monotonic() < until:
                visitor = Visitor(http, self._url)
                await visitor.sign_in(f"a{self.answers.total()}@example.test", "a wrong password")
                self.answers[f"guess {visitor.page.status}"] += 1
                await asyncio.sleep(1)

    def _stop_redis(self, seconds: float) -> None:
        redis = json.loads((self._folder.pids / "redis.pid").read_text())["identity"]["pid"]
        os.kill(redis, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(redis, signal.SIGCONT)

    def _send(self) -> None:
        """Messages, in waves."""
        began = time.monotonic()
        while not self._over.is_set():
            wave = (1 - math.cos((time.monotonic() - began) * 4 * math.pi / self._seconds)) / 2
            body = {"eventType": "busy.test", "payload": {"n": self.answers["messages 202"]}}
            reply = self._customer.api.call("POST", f"/app/{self._customer.app}/msg", body)
            self.answers[f"messages {reply.status}"] += 1
            time.sleep(1 / (LEAST_A_SECOND + wave * (MOST_A_SECOND - LEAST_A_SECOND)))

    def _read(self) -> None:
        """What a customer looks at, and now and then somebody with a key that nobody knows."""
        stranger = Caller(self._url, "sk_nobody")
        while not self._over.wait(0.4):
            for path in ("/event-type", f"/app/{self._customer.app}/endpoint", f"/app/{self._customer.app}/msg"):
                self.answers[f"reads {self._customer.api.call('GET', path).status}"] += 1
            if self.answers.total() % 7 == 0:
                self.answers[f"strangers {stranger.call('GET', '/app').status}"] += 1

    def _sign_in(self) -> None:
        engine = make_engine(self._urls.migrator, pool_size=1)
        try:
            sessions = make_sessions(engine)
            with sessions() as db:
                organisation = db.scalars(queries.organisations()).first()
            assert organisation is not None
            asyncio.run(self._come_and_go(new_person(sessions, organisation).email))
        finally:
            engine.dispose()

    async def _come_and_go(self, address: str) -> None:
        """Somebody who signs in again and again, from one browser after another."""
        async with aiohttp.ClientSession() as http:
            while not self._over.is_set():
                for browser in BROWSERS:
                    visitor = Visitor(http, self._url, {"user-agent": f"Mozilla/5.0 ({browser}) Busy/1"})
                    await visitor.sign_in(address)
                    self.answers[f"sign-ins {visitor.page.status}"] += 1
                    await asyncio.sleep(5)
                await visitor.another().submit("/password/forgotten", email=address)


def name_canaries(targets: Path) -> None:
    """Has some processes scraped as another version; Prometheus reads the file anew."""
    found: dict[str, list[str]] = {}
    for one in json.loads(targets.read_text()):
        found.setdefault(one["labels"]["job"], []).extend(one["targets"])
    split = [
        {"targets": some, "labels": {"job": job, "version": version}}
        for job, all_ in found.items()
        for version, some in (("stable", all_[: STABLE[job]]), ("canary", all_[len(all_[: STABLE[job]]) :]))
        if some
    ]
    write_private(targets, json.dumps(split, indent=1))


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Whoever takes webhooks, and beside it whoever takes traces."""
    with Receiver() as receiver, Receiver(port=COLLECTOR_PORT) as collector:
        collector.tell(PATH, Answer(200))
        yield receiver


if __name__ == "__main__":
    given = argparse.ArgumentParser(description="Traffic and faults for what `make run` started.")
    given.add_argument("--data", type=Path, default=Path(".postrider"))
    given.add_argument("--minutes", type=float, default=20)
    options = given.parse_args()
    with receiving() as taker:
        busy = Busy(Folder(options.data), taker, options.minutes * 60)
        busy.run()
    print(json.dumps(busy.answers, indent=1))  # noqa: T201 what it is asked for
