"""The laboratory: servers, a receiver and installations that rows break, and the scene that each row plays on."""

import json
import math
import secrets
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from app.cli.dev.demo import Api
from app.cli.dev.ports import LOOPBACK, any_free
from app.cli.dev.process import Child, Program
from app.cli.dev.roles import database_of
from app.domain import ids
from app.kit.db import make_engine, make_sessions
from tests.api.client import new_tenant
from tests.egress.peers import NameServer
from tests.faults.client import Book, Load, Target
from tests.faults.installation import Postgres, Redis
from tests.faults.ledger import State, Verdict, judge, state_of
from tests.faults.processes import connected_to, descendants, wait_for
from tests.faults.receiver import Behaviour, Receipt, Receiver
from tests.servers import ROOT, Servers, cloned_database, process_environment
from tests.system import POSTRIDER, System, prepared_system

LEASE_SECONDS = 4.0
TIMEOUT_SECONDS = 2.0
API_PROCESSES = WORKER_PROCESSES = 2
CAP = 8


@dataclass(frozen=True)
class Row:
    """A line of the table at the end."""

    name: str
    accepted: int
    delivered: int
    lost: int
    doubled: int
    bound: int
    recovery: float | None
    note: str = ""


@dataclass(frozen=True)
class Fate:
    """What an attempt at an endpoint came to: why there was no whole answer, if so, and how long it took."""

    endpoint: str
    failure: str | None
    seconds: float


class Lease(NamedTuple):
    """The right to make an attempt, of whoever took it: the number of the attempt is the fence."""

    endpoint_id: UUID
    message_id: UUID
    attempt: int


@dataclass
class Lab:
    """What all rows share."""

    postgres: Postgres
    redis: Redis
    receiver: Receiver
    template: str
    names: NameServer
    bounded: bool
    rows: list[Row] = field(default_factory=list)
    systems: list[System] = field(default_factory=list)

    @property
    def servers(self) -> Servers:
        """As the other tests know them."""
        return Servers(self.postgres.url, self.redis.url)

    @contextmanager
    def prepared(self, prefix: Sequence[str] = (), **environment: str) -> Iterator[System]:
        """An installation on a database of its own, of which nothing runs yet; its parts start behind the prefix."""
        with cloned_database(self.servers, self.template) as urls:
            base = process_environment(urls, self.redis.url)
            values = {
                "POSTRIDER_DELIVERY__LEASE_SECONDS": str(LEASE_SECONDS),
                "POSTRIDER_EGRESS__TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
                "POSTRIDER_DELIVERY__DRAIN_SECONDS": "5",
                "POSTRIDER_EGRESS__NAMESERVERS": json.dumps([self.names.address]),
            }
            with prepared_system({**base, **values, **environment}, (*prefix, *POSTRIDER)) as system:
                self.systems.append(system)
                try:
                    yield system
                finally:
                    self.systems.remove(system)

    @contextmanager
    def installed(self, prefix: Sequence[str] = (), **environment: str) -> Iterator[System]:
        """An installation of which every part runs."""
        with self.prepared(prefix, **environment) as system:
            system.start(api=API_PROCESSES, workers=WORKER_PROCESSES)
            self.make_whole(system)
            yield system

    def make_whole(self, system: System) -> None:
        """Starts the worker again where a row ended it; returns when everything serves."""
        if system.children["worker"].ended() is not None:
            start_worker_again(system)
        system.wait_healthy()
        wait_for(lambda: len(deliverers(system)) >= WORKER_PROCESSES, 40, "the workers")

    def database_of(self, system: System) -> str:
        """The name of an installation's database."""
        return database_of(system.environment["POSTRIDER_DATABASE__WORKER_URL"])


def worker_children(system: System) -> list[int]:
    """The processes that deliver, or will."""
    return descendants(system.children["worker"].pid)


def deliverers(system: System) -> list[int]:
    """The workers that have come as far as the database."""
    port = urlsplit(system.environment["POSTRIDER_DATABASE__WORKER_URL"]).port or 0
    return connected_to(port, worker_children(system))


def start_worker_again(system: System) -> None:
    """A new worker in the place of one that has ended, or ends now."""
    system.children.pop("worker").stop()
    system.start_part("worker", f"--processes={WORKER_PROCESSES}")


def start_api_again(system: System) -> None:
    """A new API in the place of the one that ends now."""
    system.children.pop("api").stop()
    port = urlsplit(system.url).port
    system.start_part("api", f"--port={port}", f"--workers={API_PROCESSES}", "--drain-seconds=5")


@contextmanager
def changed(
    lab: Lab, system: System, worker: Mapping[str, str], api: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs the worker, and the API unless it stays as it is, with more in their environment; as before afterwards."""

    def start(more_of_worker: Mapping[str, str], more_of_api: Mapping[str, str]) -> None:
        usual = system.environment
        system.environment = {**usual, **more_of_worker}
        start_worker_again(system)
        if api is not None:
            system.environment = {**usual, **more_of_api}
            start_api_again(system)
        system.environment = usual
        lab.make_whole(system)

    start(worker, api or {})
    try:
        yield
    finally:
        start({}, {})


@contextmanager
def second_worker(system: System, folder: Path, environment: Mapping[str, str]) -> Iterator[Child]:
    """One more worker, of one process, with some of its environment changed."""
    argv = [sys.executable, "-m", "app.cli.main", "worker", "--processes=1"]
    program = Program(
        "worker-2", argv, folder / "worker-2.log", env={**system.environment, **environment}, cwd=ROOT, stop_seconds=15
    )
    child = Child(program, folder)
    try:
        yield child
    finally:
        child.stop()


def api_children(system: System) -> list[int]:
    """The processes that serve requests."""
    return descendants(system.children["api"].pid)


class Scene:
    """One row on an installation: tenants of its own, their endpoints at the receiver, and the ledger of both."""

    def __init__(self, lab: Lab, system: System, name: str, *, tenants: int = 2) -> None:
        self.lab, self.system, self.name = lab, system, name
        self.database = lab.database_of(system)
        self._prefix = f"/{name.split(maxsplit=1)[0]}-{secrets.token_hex(4)}"
        self._apis: dict[str, Api] = {}
        self._organisations: list[UUID] = []
        self._endpoints: dict[str, str] = {}
        self._disabled: dict[str, float] = {}
        self.bound = 0
        self.targets = [self._make_target(f"t{number}") for number in range(tenants)]

    def path(self, target: Target, endpoint: str = "main") -> str:
        """An endpoint's path at the receiver."""
        return f"{self._prefix}/{target.name}/{endpoint}"

    def api(self, target: Target) -> Api:
        """The API as the target's organisation calls it."""
        return self._apis[target.name]

    def add_endpoint(self, target: Target, name: str, url: str | None = None, **values: object) -> str:
        """Registers an endpoint, by default at the receiver; its id."""
        body = {"url": url or self.lab.receiver.url(self.path(target, name)), **values}
        made = self.api(target).call("POST", f"/app/{target.app}/endpoint", body)
        self._endpoints[self.path(target, name)] = made["id"]
        return str(made["id"])

    def disable(self, target: Target, name: str = "main") -> None:
        """Disables an endpoint; what begins to be sent to it later is a fault."""
        path = self.path(target, name)
        self.api(target).call("PATCH", f"/app/{target.app}/endpoint/{self._endpoints[path]}", {"disabled": True})
        self._disabled[path] = time.monotonic()

    def behave(self, behaviour: Behaviour | None = None, endpoint: str = "main") -> None:
        """Tells the receiver what the endpoints of this name do."""
        for target in self.targets:
            self.lab.receiver.tell(self.path(target, endpoint), behaviour)

    def load(self, **options: Any) -> Load:  # noqa: ANN401  # those of Load
        """Clients of all targets."""
        return Load(self.system.url, options.pop("targets", self.targets), **options)

    def in_flight(self) -> int:
        """How many deliveries are under a lease."""
        return self._count("SELECT count(*) FROM due_deliveries WHERE state = 1 AND environment_id = ANY(%s)")

    def owed(self) -> frozenset[str]:
        """The messages that are owed to somebody."""
        return self._messages("SELECT DISTINCT message_id FROM due_deliveries WHERE environment_id = ANY(%s)")

    def sending(self) -> frozenset[str]:
        """The messages that are under a lease."""
        statement = "SELECT DISTINCT message_id FROM due_deliveries WHERE state = 1 AND environment_id = ANY(%s)"
        return self._messages(statement)

    def leases(self) -> frozenset[Lease]:
        """The leases of this moment; whose they are, the database does not say."""
        statement = (
            "SELECT endpoint_id, message_id, attempt FROM due_deliveries WHERE state = 1 AND environment_id = ANY(%s)"
        )
        rows = self.lab.postgres.query(statement, self._organisations, database=self.database)
        return frozenset(Lease(*row) for row in rows)

    def unrecorded(self, leases: frozenset[Lease]) -> frozenset[Lease]:
        """Those by which no attempt has been written down."""
        statement = (
            "SELECT endpoint_id, message_id, number FROM attempts "
            "WHERE environment_id = ANY(%s) AND message_id = ANY(%s)"
        )
        messages = [one.message_id for one in leases]
        rows = self.lab.postgres.query(statement, self._organisations, messages, database=self.database)
        return leases - {Lease(*row) for row in rows}

    def transactions(self) -> frozenset[tuple[int, datetime]]:
        """The worker's transactions of this moment: whose backend serves each, and when it began."""
        statement = (
            "SELECT pid, xact_start FROM pg_stat_activity "
            "WHERE datname = %s AND usename = %s AND xact_start IS NOT NULL"
        )
        role = urlsplit(self.system.environment["POSTRIDER_DATABASE__WORKER_URL"]).username
        return frozenset(self.lab.postgres.query(statement, self.database, role))

    def received(self) -> frozenset[str]:
        """The messages that have come to the receiver."""
        return frozenset(one.message_id for one in self.receipts())

    def open(self) -> int:
        """How many deliveries are owed."""
        return self._count("SELECT count(*) FROM due_deliveries WHERE environment_id = ANY(%s)")

    def stored(self) -> frozenset[str]:
        """The messages of the scene's applications that are committed."""
        applications = [ids.decode("app", target.app) for target in self.targets]
        statement = "SELECT id FROM messages WHERE application_id = ANY(%s)"
        rows = self.lab.postgres.query(statement, applications, database=self.database)
        return frozenset(ids.encode("msg", row[0]) for row in rows)

    def latencies(self, book: Book, since: float = 0.0, until: float = math.inf) -> list[float]:
        """Seconds from acceptance to the first receipt of what was accepted in a span, sorted."""
        came = {one.message_id: one.at for one in reversed(self.receipts())}
        sent = ((came[name], one.at) for name, one in book.accepted.items() if since <= one.at < until)
        return sorted(received - accepted for received, accepted in sent)

    def is_broken(self, target: Target) -> bool:
        """Whether the breaker of the target's endpoint is open."""
        endpoint = ids.decode("ep", self._endpoints[self.path(target)])
        statement = "SELECT open_until > now() FROM endpoint_health WHERE endpoint_id = %s"
        return self.lab.postgres.query(statement, endpoint, database=self.database) == [(True,)]

    def make_retries(self, ago: str) -> None:
        """Moves what is owed in time: each has failed once, and its second try was due so long ago."""
        statement = (
            "UPDATE due_deliveries SET lane = 1, attempt = 1, failures = 1, due_at = now() - %s::interval "
            "WHERE environment_id = ANY(%s)"
        )
        self.lab.postgres.query(statement, ago, self._organisations, database=self.database)

    def is_disabled(self, target: Target, name: str) -> bool:
        """Whether an endpoint is disabled."""
        endpoint = self._endpoints[self.path(target, name)]
        found: bool = self.api(target).call("GET", f"/app/{target.app}/endpoint/{endpoint}")["disabled"]
        return found

    def fates(self, endpoints: Collection[str]) -> list[Fate]:
        """The attempts that are on record of endpoints, by their ids."""
        statement = "SELECT endpoint_id, failure, duration_ms FROM attempts WHERE endpoint_id = ANY(%s)"
        wanted = [ids.decode("ep", one) for one in endpoints]
        rows = self.lab.postgres.query(statement, wanted, database=self.database)
        return [Fate(ids.encode("ep", row[0]), row[1], row[2] / 1000) for row in rows]

    def written_twice(self) -> int:
        """How many deliveries have more than one successful attempt on record."""
        statement = (
            "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE environment_id = ANY(%s) AND status = 0 "
            "GROUP BY endpoint_id, message_id HAVING count(*) > 1) AS twice"
        )
        return self._count(statement)

    def note_in_flight(self) -> int:
        """Lets as many come twice as are in flight at this moment, right after a kill."""
        count = self.in_flight()
        self.bound += count
        return count

    def settle(self, seconds: float) -> float:
        """The seconds until nothing is owed any more."""
        return wait_for(lambda: self.open() == 0, seconds, f"the end of {self.name}'s deliveries")

    def settle_these(self, messages: Collection[str], seconds: float) -> float:
        """The seconds until none of these messages is owed any more."""
        return wait_for(lambda: self.owed().isdisjoint(messages), seconds, f"the end of some of {self.name}'s")

    def receipts(self) -> list[Receipt]:
        """What has come to the scene's endpoints, oldest first."""
        return self.lab.receiver.receipts(self._prefix)

    def judge(self, book: Book) -> Verdict:
        """The ledger's verdict on everything that `book` was promised."""
        # In this order: what ends in between is received.
        state, receipts = self._state(), self.receipts()
        main = {target.name: self.path(target) for target in self.targets}
        verdict = judge(book, main, receipts, state)
        verdict.unwanted = [
            one.message_id for one in receipts if one.at > self._disabled.get(one.path, math.inf) + TIMEOUT_SECONDS
        ]
        return verdict

    def conclude(self, book: Book, *, recovery: float | None = None, note: str = "") -> Verdict:
        """Judges, writes the row down, and asserts that the ledger is sound and the answers were proper."""
        verdict = self.judge(book)
        counts = verdict.accepted, verdict.delivered, len(verdict.lost), verdict.doubled
        self.lab.rows.append(Row(self.name, *counts, self.bound, recovery, note))
        verdict.assert_sound(self.bound)
        assert not book.improper, f"answers that no client can use: {book.improper[:3]}"
        return verdict

    def recovery(self, book: Book, since: float) -> float:
        """Seconds from a fault's end to the first acceptance and the first receipt after it, whichever is later."""
        accepted = min((one.at for one in book.accepted.values() if one.at > since), default=math.inf)
        received = min((one.at for one in self.receipts() if one.at > since), default=math.inf)
        return max(accepted, received) - since

    def _make_target(self, name: str) -> Target:
        engine = make_engine(self.system.environment["POSTRIDER_DATABASE__WORKER_URL"], pool_size=1)
        try:
            tenant = new_tenant(make_sessions(engine))
        finally:
            engine.dispose()
        self._organisations.append(tenant.id)
        self._apis[name] = api = Api(urlsplit(self.system.url).port or 0, tenant.key)
        target = Target(name, tenant.key, api.call("POST", "/app", {"name": f"{self.name} {name}"})["id"])
        self.add_endpoint(target, "main")
        return target

    def _state(self) -> State:
        mains = [ids.decode("ep", self._endpoints[self.path(target)]) for target in self.targets]
        return state_of(partial(self.lab.postgres.query, database=self.database), mains)

    def _messages(self, statement: str) -> frozenset[str]:
        rows = self.lab.postgres.query(statement, self._organisations, database=self.database)
        return frozenset(ids.encode("msg", row[0]) for row in rows)

    def _count(self, statement: str) -> int:
        found: int = self.lab.postgres.query(statement, self._organisations, database=self.database)[0][0]
        return found


@contextmanager
def running_receiver(folder: Path, host: str = LOOPBACK, port: int = 0) -> Iterator[Receiver]:
    """The receiver's process, on a free port unless one is given."""
    port, log = port or any_free(), folder / "receipts"
    log.touch(mode=0o600)
    argv = [sys.executable, "-m", "tests.faults.receiver", host, str(port), str(log)]
    child = Child(Program("receiver", argv, folder / "receiver.log", cwd=ROOT, stop_seconds=5), folder)
    receiver = Receiver(host, port, log)
    try:
        wait_for(receiver.is_ready, 20, "the receiver")
        yield receiver
    finally:
        child.stop()


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as text."""
    head = f"{'row':<34}{'accepted':>9}{'delivered':>10}{'lost':>6}{'doubled':>16}{'recovery':>10}  note"
    return [head, *(_line(row) for row in rows)]


def _line(row: Row) -> str:
    doubled = f"{row.doubled} of {row.bound}"
    recovery = "-" if row.recovery is None else f"{row.recovery:.1f} s"
    counts = f"{row.accepted:>9}{row.delivered:>10}{row.lost:>6}{doubled:>16}{recovery:>10}"
    return f"{row.name:<34}{counts}  {row.note}"
