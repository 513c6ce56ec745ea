"""Figures of the whole installation: told by one process at a time, the one that holds a lock in the database.

The others look every few seconds whether it is their turn. Whoever stops, or is cut off, loses the lock with its
connection and tells nothing any more.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine

from app.domain.ids import timestamp
from app.features.deliveries import figures_queries as queries
from app.features.retention.operations import days_of
from app.kit.telemetry.logs import get_logger
from app.models import DueState, Lane
from worker.stopping import Stopping

INTERVAL_SECONDS = 5.0
SHARE = 20
"""Of the time of a database's process the reading takes one part in so many at most."""
SETTLED, BEFORE = timedelta(minutes=5), timedelta(minutes=1)
"""After so long whatever is owed is open or has ended; whoever takes a turn begins so much before."""
PARTITIONED = ("messages", "deliveries", "attempts")
STATES = ("ready", "later", "sending", "held")
Figures = tuple[Metric, ...]
logger = get_logger(__name__)


@dataclass(slots=True)
class _Reckoning:
    """How far the messages were looked after, and how many obligations were found to be lost."""

    until: datetime
    lost: int = 0


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
        self._reckoning: _Reckoning | None = None
        self._shown: Figures = ()
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def collect(self) -> Iterable[Metric]:
        """What is told now; nothing while it is somebody else's turn."""
        return self._shown

    def describe(self) -> Iterable[Metric]:
        """Nothing: whether there is anything to tell shows later."""
        return ()

    def start(self) -> None:
        """Begins to look whether it is its turn."""
        self._registry.register(self)
        self._thread.start()

    def stop(self) -> None:
        """Leaves the turn to others."""
        self._ended.set()
        self._thread.join(timeout=queries.STATEMENT_SECONDS + 1)
        self._registry.unregister(self)

    def _run(self) -> None:
        while not self._ended.is_set() and not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._take_part()
            except Exception as error:  # noqa: BLE001 whatever it is, the next turn tries again
                # What is not read any more must not be shown, and another may do better.
                logger.warning("figures_not_read", error=type(error).__name__, effect="another process may tell them")
                self._leave()
            self._ended.wait(max(self._interval, SHARE * (time.monotonic() - began)))
        self._leave()

    def _take_part(self) -> None:
        if self._connection is None:
            self._connection = self._take_turn()
        if self._connection is not None:
            with self._connection.begin():
                self._shown = tuple(self._read(self._connection))

    def _take_turn(self) -> Connection | None:
        connection = self._database.connect()
        try:
            if connection.execute(queries.take_turn()).scalar_one():
                connection.execute(queries.limit_statements())
                connection.commit()
                # The lock is the connection's, which must end with the turn, and not go back to the pool with it.
                connection.detach()
                self._reckoning = None
                return connection
        except BaseException:
            connection.invalidate()
            raise
        connection.close()
        return None

    def _leave(self) -> None:
        self._shown = ()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _read(self, db: Connection) -> Iterator[Metric]:
        now = db.execute(queries.now()).scalar_one()
        yield from _due(db)
        yield _sendable(db)
        yield _of_states("postrider_breakers", "Endpoints whose breaker is not closed.", _breakers(db))
        yield _of_states("postrider_endpoints", "Endpoints there are.", _endpoints(db))
        yield from _waiting(db)
        yield _gauge("postrider_partition_days_ahead", "For so many days there are partitions.", _days_ahead(db, now))
        yield _gauge("postrider_unsealed_audit_seconds", "Age of the oldest audit event without a seal.", _age(db, now))
        yield self._lost(db, now)
        yield _gauge("postrider_figures_timestamp_seconds", "When these were read (Unix time).", now.timestamp())

    def _lost(self, db: Connection, now: datetime) -> Metric:
        if self._reckoning is None:
            self._reckoning = _Reckoning(now - SETTLED - BEFORE)
        reckoning = self._reckoning
        until = now - SETTLED
        reckoning.lost += db.execute(queries.lost(reckoning.until, until)).scalar_one()
        reckoning.until = until
        words = "Deliveries of messages that were accepted minutes ago which are neither open nor ended."
        return CounterMetricFamily("postrider_lost_deliveries", words, value=reckoning.lost)


def _due(db: Connection) -> Iterator[Metric]:
    numbers = {(lane, state): 0 for lane in Lane for state in STATES}
    oldest = dict.fromkeys(Lane, 0.0)
    for row in db.execute(queries.due()):
        lane, state = Lane(row.lane), _state(row.state, is_due=row.is_due)
        numbers[lane, state] += row.number
        if state == "ready":
            oldest[lane] = max(oldest[lane], row.oldest)
    due = GaugeMetricFamily("postrider_due_deliveries", "Deliveries that are owed.", labels=("lane", "state"))
    for (lane, state), number in numbers.items():
        due.add_metric((lane.name, state), number)
    late = GaugeMetricFamily("postrider_oldest_due_seconds", "For how long one may have gone.", labels=("lane",))
    for lane, seconds in oldest.items():
        late.add_metric((lane.name,), seconds)
    yield from (due, late)


def _sendable(db: Connection) -> Metric:
    family = GaugeMetricFamily("postrider_sendable_deliveries", "Deliveries that may go now.", labels=("lane",))
    for lane in Lane:
        family.add_metric((lane.name,), db.execute(queries.sendable(lane)).scalar_one())
    return family


def _state(state: int, *, is_due: bool) -> str:
    """A lease that has run out makes a delivery ready again; of what is held, the gate says when it may go."""
    if state == DueState.held:
        return "held"
    if is_due:
        return "ready"
    return "sending" if state == DueState.sending else "later"


def _breakers(db: Connection) -> dict[str, float]:
    opened, half_open = db.execute(queries.breakers()).one()
    return {"open": opened, "half_open": half_open}


def _endpoints(db: Connection) -> dict[str, float]:
    enabled, disabled = db.execute(queries.endpoints()).one()
    return {"enabled": enabled, "disabled": disabled}


def _waiting(db: Connection) -> Iterator[Metric]:
    number, oldest = db.execute(queries.mails()).one()
    yield _gauge("postrider_mails_waiting", "Mails that wait to be sent.", number)
    yield _gauge("postrider_oldest_mail_seconds", "Since when the oldest mail waits.", oldest)
    number, oldest = db.execute(queries.background_tasks()).one()
    yield _gauge("postrider_background_tasks_waiting", "Background tasks that wait for their next step.", number)
    yield _gauge("postrider_oldest_background_task_seconds", "For how long the oldest waits.", oldest)


def _days_ahead(db: Connection, now: datetime) -> int:
    last = min(max(days_of(db, parent)) for parent in PARTITIONED)
    return (last - now.date()).days


def _age(db: Connection, now: datetime) -> float:
    oldest = db.execute(queries.oldest_unsealed()).scalar_one()
    return 0.0 if oldest is None else max(0.0, (now - timestamp(UUID(oldest))).total_seconds())


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _of_states(name: str, words: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=("state",))
    for state, value in values.items():
        family.add_metric((state,), value)
    return family
