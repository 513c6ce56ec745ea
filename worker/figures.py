"""Figures of the whole installation: told by one process at a time, the one that holds a lock in the database.

The others look every few seconds whether it is their turn. Whoever stops, or is cut off, loses the lock with its
connection and tells nothing any more. Each reading stands alone: one that fails or takes too long leaves the others be.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from app.domain.ids import timestamp
from app.features.deliveries import figures_queries as queries
from app.features.retention.operations import days_of
from app.kit.telemetry import figures
from app.kit.telemetry.logs import get_logger
from app.models import Lane
from worker.stopping import Stopping

INTERVAL_SECONDS = 5.0
LEAVE_SECONDS = 1.0
SHARE = 20
"""Of the time of a database's process each reading takes one part in so many at most."""
KEPT_SECONDS = 300.0
"""So old what was read may be that is shown still."""
SETTLED, BEFORE, STRIDE = timedelta(minutes=5), timedelta(minutes=1), timedelta(minutes=5)
"""After so long whatever is owed is open or has ended; whoever takes a turn begins so much before, and looks after so
much at once."""
PARTITIONED = ("messages", "deliveries", "attempts")
Reading = Callable[[Connection, datetime], Iterable[Metric]]
logger = get_logger(__name__)


class Shown:
    """What came of one reading: when it was read last, by the database's clock, and what it said."""

    def __init__(self, since: datetime, interval: float) -> None:
        self.read_at = since
        self._interval = interval
        self._figures: tuple[Metric, ...] = ()
        self._kept_until = 0.0
        self.next_at = 0.0
        """When it is to be read again (monotonic), as are the times behind it."""

    def show(self, told: Iterable[Metric], now: datetime) -> None:
        """What was just read takes the place of what was shown."""
        self._figures, self.read_at = tuple(told), now
        self._kept_until = time.monotonic() + KEPT_SECONDS

    def rest(self, took: float) -> None:
        """Lets it be read again the later, the longer that took."""
        self.next_at = time.monotonic() + max(self._interval, SHARE * took)

    @property
    def figures(self) -> tuple[Metric, ...]:
        """What may be shown."""
        return self._figures if time.monotonic() < self._kept_until else ()


class Teller(Collector):
    """Reads the figures while it is this process's turn, in a thread of its own, and shows them to the registry."""

    def __init__(
        self,
        database: Engine,
        registry: CollectorRegistry,
        stopping: Stopping,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._database = database
        self._registry = registry
        self._stopping = stopping
        self._interval = interval
        self._ended = threading.Event()
        self._connection: Connection | None = None
        self._readings: Mapping[str, Reading] = {}
        self._shown: Mapping[str, Shown] = {}
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def collect(self) -> Iterable[Metric]:
        """What is told now; nothing while it is somebody else's turn."""
        shown = self._shown
        if shown:
            yield figures.READ_AT.by({(name,): one.read_at.timestamp() for name, one in shown.items()})
        for one in shown.values():
            yield from one.figures

    def describe(self) -> Iterable[Metric]:
        """Nothing: whether there is anything to tell shows later."""
        return ()

    def start(self) -> None:
        """Begins to look whether it is its turn."""
        self._registry.register(self)
        self._thread.start()

    def stop(self) -> None:
        """Leaves the turn to others: at once, or with the process where the database lets a reading wait."""
        self._ended.set()
        self._thread.join(timeout=LEAVE_SECONDS)
        self._registry.unregister(self)

    def _run(self) -> None:
        while not self._is_over():
            rest = self._interval
            try:
                rest = self._take_part()
            except Exception as error:  # noqa: BLE001 whatever it is, the next turn tries again
                # What is not read any more must not be shown, and another may do better.
                logger.warning("figures_not_read", error=type(error).__name__, effect="another process may tell them")
                self._leave()
            self._ended.wait(rest)
        self._leave()

    def _is_over(self) -> bool:
        return self._ended.is_set() or self._stopping.is_set()

    def _take_part(self) -> float:
        """Reads whatever is to be read by now, if it is this process's turn; returns for how long to rest."""
        if self._connection is None:
            self._connection = self._take_turn()
        if self._connection is None:
            return self._interval
        for name, shown in self._shown.items():
            if shown.next_at <= time.monotonic() and not self._is_over():
                self._read(self._connection, name, shown)
        return max(0.0, min(one.next_at for one in self._shown.values()) - time.monotonic())

    def _read(self, db: Connection, name: str, shown: Shown) -> None:
        began = time.monotonic()
        try:
            with db.begin():
                now = db.execute(queries.now()).scalar_one()
                shown.show(self._readings[name](db, now), now)
        except Exception as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise
            logger.warning("figure_not_read", figure=name, error=type(error).__name__, effect="its age is told")
        shown.rest(time.monotonic() - began)

    def _take_turn(self) -> Connection | None:
        connection = self._database.connect()
        try:
            if connection.execute(queries.take_turn()).scalar_one():
                connection.execute(queries.limit_statements())
                now = connection.execute(queries.now()).scalar_one()
                connection.commit()
                # The lock is the connection's, which must end with the turn, and not go back to the pool with it.
                connection.detach()
                self._readings = readings(now)
                self._shown = {name: Shown(now, self._interval) for name in self._readings}
                return connection
        except BaseException:
            connection.invalidate()
            raise
        connection.close()
        return None

    def _leave(self) -> None:
        self._shown = {}
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def readings(now: datetime) -> dict[str, Reading]:
    """What is read in a turn that begins now, by the names under which their ages are told."""
    return {
        "due": _due,
        "sendable": _sendable,
        "breakers": _breakers,
        "endpoints": _endpoints,
        "mails": _mails,
        "background_tasks": _background_tasks,
        "partitions": _partitions,
        "audit": _unsealed,
        "lost": partial(_lost, _Reckoning(now - SETTLED - BEFORE)),
    }


def _due(db: Connection, _now: datetime) -> Iterator[Metric]:
    rows = {lane: db.execute(queries.due(lane)).one() for lane in Lane}
    states = ("ready", "later", "sending", "held")
    yield figures.DUE.by({(lane.name, one): getattr(row, one) for lane, row in rows.items() for one in states})
    yield figures.OLDEST_DUE.by({(lane.name,): row.oldest for lane, row in rows.items()})


def _sendable(db: Connection, _now: datetime) -> Iterator[Metric]:
    yield figures.SENDABLE.by({(lane.name,): db.execute(queries.sendable(lane)).scalar_one() for lane in Lane})


def _breakers(db: Connection, _now: datetime) -> Iterator[Metric]:
    opened, half_open = db.execute(queries.breakers()).one()
    yield figures.BREAKERS.by({("open",): opened, ("half_open",): half_open})


def _endpoints(db: Connection, _now: datetime) -> Iterator[Metric]:
    enabled, disabled = db.execute(queries.endpoints()).one()
    yield figures.ENDPOINTS.by({("enabled",): enabled, ("disabled",): disabled})


def _mails(db: Connection, _now: datetime) -> Iterator[Metric]:
    number, oldest = db.execute(queries.mails()).one()
    yield from (figures.MAILS_WAITING.of(number), figures.OLDEST_MAIL.of(oldest))


def _background_tasks(db: Connection, _now: datetime) -> Iterator[Metric]:
    number, oldest = db.execute(queries.background_tasks()).one()
    yield from (figures.TASKS_WAITING.of(number), figures.OLDEST_TASK.of(oldest))


def _partitions(db: Connection, now: datetime) -> Iterator[Metric]:
    last = min(max(days_of(db, parent)) for parent in PARTITIONED)
    yield figures.PARTITIONS_AHEAD.of((last - now.date()).days)


def _unsealed(db: Connection, now: datetime) -> Iterator[Metric]:
    oldest = db.execute(queries.oldest_unsealed()).scalar_one()
    yield figures.UNSEALED.of(0.0 if oldest is None else max(0.0, (now - timestamp(UUID(oldest))).total_seconds()))


@dataclass(slots=True)
class _Reckoning:
    """How far the messages were looked after, and how many obligations were found to be lost."""

    until: datetime
    lost: int = 0


def _lost(reckoning: _Reckoning, db: Connection, now: datetime) -> Iterator[Metric]:
    until = min(now - SETTLED, reckoning.until + STRIDE)
    reckoning.lost += db.execute(queries.lost(reckoning.until, until)).scalar_one()
    reckoning.until = until
    yield figures.LOST.of(reckoning.lost)
