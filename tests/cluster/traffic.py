"""Callers and receivers of a rehearsal: tenants with endpoints, their load, and the ledger of both sides."""

import http.client
import json
import math
import secrets
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import aiohttp
import psycopg
from aiohttp.abc import AbstractResolver, ResolveResult

from app.cli.dev.roles import plain_url
from app.domain import ids
from app.kit.db import make_engine, make_sessions
from tests.api.client import Tenant, new_tenant
from tests.faults.client import Book, Load, Target
from tests.faults.ledger import Verdict, judge, state_of
from tests.faults.processes import wait_for
from tests.faults.receiver import Behaviour, Receipt, Receiver

ANSWER_SECONDS = 20.0
AGAIN = frozenset({0, 429, 500, 502, 503, 504})
"""Whoever calls a service that is being released tries again whatever failed; each failure counts all the same."""
FLAKY = Behaviour(status=500, every=20)
"""Some first tries fail, as they do anywhere, so that there are retries to make."""
DATABASE_SECONDS = 10
# Tenants that are made at a time, each by calls one after the other.
TOGETHER = 4


class CallError(Exception):
    """What the API said instead of doing it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The way in: the URL that callers know, the address that its name stands for, and the authority they trust."""

    url: str
    address: str
    authority: Path | None = None

    def call(self, key: str, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 JSON
        """What the API answers below /api/v1; CallError for a status that is no success."""
        text = None if body is None else json.dumps(body)
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "host": self._parts.netloc}
        with closing(self._connection()) as connection:
            connection.request(method, f"/api/v1{path}", text, headers)
            answer = connection.getresponse()
            said = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise CallError(f"{method} {path} answered {answer.status}: {said.decode(errors='replace')[:300]}")
        return json.loads(said) if said else None

    def connector(self, connections: int) -> aiohttp.BaseConnector:
        """Up to so many connections of a load."""
        return aiohttp.TCPConnector(
            limit=connections, resolver=_Resolver(self.address), ssl=self._trust() if self.authority else False
        )

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def _connection(self) -> http.client.HTTPConnection:
        """A connection to the address, whose name is that of the URL."""
        host, port = self._parts.hostname or "", self._parts.port or (443 if self.authority else 80)
        connection = http.client.HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        connection.sock = socket.create_connection((self.address, port), ANSWER_SECONDS)
        if self.authority:
            connection.sock = self._trust().wrap_socket(connection.sock, server_hostname=host)
        return connection


class _Resolver(AbstractResolver):
    """Every name stands for one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(
            hostname=host, host=self._address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
        )
        return [found]

    async def close(self) -> None:
        """Holds nothing."""


@dataclass(frozen=True, slots=True)
class Database:
    """The installation's database as a role sees it that sees every tenant: the worker's."""

    url: str

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement brings, in a transaction of its own; nothing when it brings no rows."""
        with psycopg.connect(plain_url(self.url), connect_timeout=DATABASE_SECONDS) as connection:
            found = connection.execute(statement.encode(), values or None)
            return found.fetchall() if found.description else []

    def tenant(self) -> Tenant:
        """A fresh organisation with a key, made as the command line does."""
        engine = make_engine(self.url, pool_size=1)
        try:
            return new_tenant(make_sessions(engine))
        finally:
            engine.dispose()


@dataclass(frozen=True)
class Row:
    """A line of the table at the end. `harmed` are requests that failed, `bound` how many messages may come twice."""

    name: str
    book: Book
    verdict: Verdict
    bound: int
    seconds: float
    note: str = ""

    @property
    def line(self) -> str:
        """As text."""
        book, verdict = self.book, self.verdict
        counts = len(book.exchanges), len(book.harmed()), book.astray
        ends = verdict.accepted, verdict.delivered, len(verdict.lost), len(verdict.foreign)
        doubled = f"{verdict.doubled} of {self.bound}"
        return (
            f"{self.name:<30}{counts[0]:>9}{counts[1]:>7}{counts[2]:>7}{ends[0]:>9}{ends[1]:>10}{ends[2]:>5}{ends[3]:>8}"
            f"{doubled:>11}{self.seconds:>7.0f} s  {self.note}"
        )


HEAD = (
    f"{'rehearsal':<30}{'requests':>9}{'harmed':>7}{'astray':>7}{'accepted':>9}{'delivered':>10}{'lost':>5}"
    f"{'foreign':>8}{'doubled':>11}{'took':>9}  note"
)


@dataclass
class Grounds:
    """What all rehearsals share: the way in, the database, the receiver, and what was counted."""

    entry: Entry
    database: Database
    receiver: Receiver
    rows: list[Row] = field(default_factory=list)


class Scene:
    """One rehearsal: tenants of its own, whose endpoints at the receiver take only what bears their signature.

    `bound` is how many messages may come twice; the endpoints have a retry `schedule` of their own where one is given.
    """

    def __init__(
        self,
        grounds: Grounds,
        name: str,
        *,
        tenants: int = 2,
        behaviour: Behaviour | None = FLAKY,
        schedule: Sequence[int] = (),
    ) -> None:
        self.grounds, self.name, self.bound = grounds, name, 0
        self._values: dict[str, object] = {"retrySchedule": list(schedule)} if schedule else {}
        self._prefix = f"/{name.split(maxsplit=1)[0]}-{secrets.token_hex(4)}"
        self.organisations: list[UUID] = []
        self._endpoints: list[UUID] = []
        with ThreadPoolExecutor(TOGETHER) as pool:
            self.targets = list(pool.map(self._make_target, (f"t{number}" for number in range(tenants))))
        self.behave(behaviour)

    def path(self, target: Target) -> str:
        """The path at the receiver of a target's endpoint."""
        return f"{self._prefix}/{target.name}"

    def behave(self, behaviour: Behaviour | None = None) -> None:
        """Tells the receiver what the endpoints do."""
        for target in self.targets:
            self.grounds.receiver.tell(self.path(target), behaviour)

    def load(self, *, rate: float, **options: Any) -> Load:  # noqa: ANN401  # those of Load
        """Clients of all targets, `rate` messages a second, that come through the entry."""
        entry = self.grounds.entry
        return Load(entry.url, self.targets, rate=rate, connect=entry.connector, again=AGAIN, **options)

    def owed(self) -> int:
        """How many deliveries have not ended."""
        return self._count("SELECT count(*) FROM due_deliveries WHERE environment_id = ANY(%s)")

    def in_flight(self) -> int:
        """How many deliveries are under a lease."""
        return self._count("SELECT count(*) FROM due_deliveries WHERE state = 1 AND environment_id = ANY(%s)")

    def note_in_flight(self) -> int:
        """Lets as many come twice as are in flight at this moment."""
        count = self.in_flight()
        self.bound += count
        return count

    def settle(self, seconds: float) -> float:
        """The seconds until nothing is owed any more."""
        return wait_for(lambda: self.owed() == 0, seconds, f"the end of {self.name}'s deliveries", every=0.5)

    def receipts(self) -> list[Receipt]:
        """What has come to the scene's endpoints, oldest first."""
        return self.grounds.receiver.receipts(self._prefix)

    def judge(self, book: Book) -> Verdict:
        """The ledger's verdict on everything that `book` was promised."""
        # In this order: what ends in between is received.
        state, receipts = state_of(self.grounds.database.query, self._endpoints), self.receipts()
        return judge(book, {target.name: self.path(target) for target in self.targets}, receipts, state)

    def conclude(self, book: Book, seconds: float, note: str = "") -> Verdict:
        """Judges, writes the row down, and asserts that nothing was lost, altered or told to somebody else."""
        verdict = self.judge(book)
        row = Row(self.name, book, verdict, self.bound, seconds, note)
        self.grounds.rows.append(row)
        print(f"\n{HEAD}\n{row.line}")  # noqa: T201 the figures are asked for
        assert verdict.accepted, f"nothing was accepted: {book.statuses}"
        verdict.assert_sound(self.bound)
        return verdict

    def _make_target(self, name: str) -> Target:
        tenant = self.grounds.database.tenant()
        self.organisations.append(tenant.id)
        call = partial(self.grounds.entry.call, tenant.key)
        target = Target(name, tenant.key, call("POST", "/app", {"name": f"{self.name} {name}"})["id"])
        endpoints = f"/app/{target.app}/endpoint"
        made = call("POST", endpoints, {"url": self.grounds.receiver.url(self.path(target)), **self._values})["id"]
        self.grounds.receiver.trust(self.path(target), call("GET", f"{endpoints}/{made}/secret")["key"])
        self._endpoints.append(_uuid("ep", made))
        return target

    def _count(self, statement: str) -> int:
        found: int = self.grounds.database.query(statement, self.organisations)[0][0]
        return found


def assert_unharmed(book: Book, since: float = 0.0, until: float = math.inf) -> None:
    """AssertionError, with when and how the first ones failed, where requests that began in a span were harmed."""
    found = book.harmed(since, until)
    began = book.exchanges[0].began if book.exchanges else 0.0
    told = "; ".join(
        f"after {one.began - began:.1f} s {one.status} in {one.seconds:.2f} s: {one.said}" for one in found[:5]
    )
    assert not found, f"{len(found)} of {len(book.exchanges)} requests failed: {told}"


def _uuid(prefix: str, text: str) -> UUID:
    found = ids.decode(prefix, text)
    assert found is not None, text
    return found


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as text."""
    return [HEAD, *(row.line for row in rows)]
