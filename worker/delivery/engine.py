"""The delivery loop of one worker process: record what came back, claim what is due, send it, again."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from app.features.messages.operations import forget_partitions
from app.kit.db import is_conflict
from app.kit.dedicated import Dedicated
from app.kit.telemetry.hearts import unheard
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import CYCLE_FAILURES
from app.models import Lane
from worker.delivery.claim import Claimed, Claimer, Demand
from worker.delivery.job import EndpointKey, Job, Sent
from worker.delivery.measures import measure_cycle, watch
from worker.delivery.record import record, release
from worker.delivery.tracing import trace_recording
from worker.delivery.transport import Transport
from worker.stopping import Stopping

# While there is work a cycle begins so long after the one before, or half as long as that took, within a bound.
PACE_SECONDS, LONGEST_PACE_SECONDS = 0.003, 0.03
# Nobody waits for a result to be recorded, unless deliveries wait for the room that it takes.
RECORD_SECONDS = 0.02
ASK_AGAIN_SECONDS = 0.05
# Where there was something to deliver there soon is more: looking again costs a quarter of what being called does.
WARM_SECONDS, LOOK_AGAIN_SECONDS = 0.3, 0.015
FAILURE_PAUSE_SECONDS = 0.5
REPEATS = 3
LANES_IN_FLIGHT = {Lane.first: 1.0, Lane.retry: 0.5, Lane.replay: 0.25}
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many deliveries are in flight at most, how often to look unasked, how long a shutdown may take (seconds).

    Of no other than these `lanes`: the first of them may fill the process, each later one a smaller part of it.
    """

    in_flight: int
    sweep_seconds: float
    drain_seconds: float
    lanes: Sequence[Lane] = tuple(Lane)

    def of_lanes(self) -> Mapping[int, int]:
        """How many of each lane are in flight at most."""
        whole = max((LANES_IN_FLIGHT[lane] for lane in self.lanes), default=1.0)
        return {int(lane): int(self.in_flight * LANES_IN_FLIGHT[lane] / whole) for lane in self.lanes}


class Engine:
    """Owns a thread, its connection and what is in flight. One for each worker process, made after the fork.

    It calls `beat` each time that its loop turns.
    """

    def __init__(
        self,
        connection: Dedicated,
        claimer: Claimer,
        limits: Limits,
        stopping: Stopping,
        beat: Callable[[], None] = unheard,
    ) -> None:
        self._beat = beat
        self._connection = connection
        self._claimer = claimer
        self._limits = limits
        self._of_lanes = limits.of_lanes()
        self._transport: Transport
        self._signal = threading.Event()
        self._asked = True
        self._more = False
        self._stopping = stopping
        self._stopped = False
        self._given_up = False
        self._flying: set[Job] = set()
        # Counted as they come and go: several hundred are in flight where a cycle has a few dozen.
        self._of_tenants: Counter[UUID] = Counter()
        self._unrecorded: list[Sent] = []
        self._pokes: set[EndpointKey] = set()
        self._waiting_since = 0.0
        self._crowded = False
        self._looked = 0.0
        self._found = 0.0
        self._took = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self, transport: Transport) -> None:
        """Starts to deliver through the transport, which must notify by `notice`."""
        self._transport = transport
        watch(lambda: list(self._flying), self._limits.in_flight)
        self._thread.start()

    def wake(self) -> None:
        """Says that something is due."""
        self._asked = True
        self._signal.set()

    def notice(self) -> None:
        """Says that a result has come."""
        # Where it is set already, it is cleared before results are looked at; to set it costs ten times the question.
        if not self._signal.is_set():
            self._signal.set()

    def stop(self) -> None:
        """Claims no more, waits for what is in flight within the limit, gives the rest back."""
        self._stopped = True
        self._signal.set()
        if self._thread.is_alive():
            self._thread.join(self._limits.drain_seconds + 5)
            self._given_up = self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopped:
            self._beat()
            self._step(claiming=not self._stopping.is_set())
            self._rest()
        if not self._given_up:
            self._drain()
        # Here: whoever waits for this thread in vain must not wait for its connection too.
        self._connection.close()

    def _rest(self) -> None:
        """Sleeps until there is something to do; while there is, for as long as what comes is worth a transaction."""
        if self._is_warm() and not self._stopping.is_set():
            if not self._is_much(len(self._transport.results)):
                time.sleep(min(max(PACE_SECONDS, self._took / 2), LONGEST_PACE_SECONDS))
        elif (wait := self._pause()) > 0:
            self._signal.wait(wait)
            self._signal.clear()

    def _is_warm(self) -> bool:
        return self._more or time.monotonic() - self._found < WARM_SECONDS

    def _is_much(self, results: int) -> bool:
        return results >= self._limits.in_flight // 4

    def _pause(self) -> float:
        """Seconds to sleep unless somebody calls; results are all that is waited for once the end has begun."""
        if self._stopping.is_set():
            return self._limits.sweep_seconds
        return 0.0 if self._asked else self._interval() - (time.monotonic() - self._looked)

    def _interval(self) -> float:
        """How long nothing is looked at unless somebody calls; those who are to ask again do so soon."""
        if self._more or self._found >= self._looked:
            return 0.0
        if self._is_warm():
            return LOOK_AGAIN_SECONDS
        return ASK_AGAIN_SECONDS if self._pokes else self._limits.sweep_seconds

    def _step(self, *, claiming: bool) -> None:
        self._gather()
        results = list(self._unrecorded) if not claiming or self._must_record() else []
        wants = claiming and (self._asked or bool(results) or self._look_is_due())
        if not wants and not results:
            return
        try:
            claimed = self._transact(results, claiming=wants)
        except Exception:
            # Nothing is lost: results stay here until they are recorded, leases run out by themselves.
            logger.exception("cycle_failed", effect="the next one tries again")
            CYCLE_FAILURES.inc()
            forget_partitions()
            self._isolate()
            time.sleep(FAILURE_PAUSE_SECONDS)
            return
        self._fly(claimed)

    def _isolate(self) -> None:
        """Records results one by one, so that one that cannot be recorded keeps back no other."""
        for one in list(self._unrecorded):
            try:
                self._transact([one], claiming=False)
            except (OperationalError, InterfaceError, OSError):
                return
            except Exception:
                # Its lease runs out, and it is tried again.
                logger.exception("attempt_not_recorded", effect="its lease runs out, and it is tried again")
                self._settle([one], self._pokes | {one.job.key.endpoint})

    def _must_record(self) -> bool:
        """Whether results are many, have waited long enough, or keep others from being delivered."""
        if not self._unrecorded:
            return False
        is_late = time.monotonic() - self._waiting_since >= RECORD_SECONDS
        in_the_way = self._crowded or self._is_much(len(self._unrecorded))
        return is_late or in_the_way or not self._is_warm()

    def _look_is_due(self) -> bool:
        return time.monotonic() - self._looked >= self._interval()

    def _gather(self) -> None:
        results = self._transport.results
        if results and not self._unrecorded:
            self._waiting_since = time.monotonic()
        while results:
            self._unrecorded.append(results.popleft())

    def _transact(self, results: Sequence[Sent], *, claiming: bool) -> Claimed:
        for _ in range(REPEATS):
            try:
                return self._transact_once(results, claiming=claiming)
            except DBAPIError as error:
                if not is_conflict(error):
                    raise
        return self._transact_once(results, claiming=claiming)

    def _transact_once(self, results: Sequence[Sent], *, claiming: bool) -> Claimed:
        """Records and claims in one transaction, so that a cycle costs one commit."""
        ended = {one.job for one in results}
        pokes = self._pokes | {job.key.endpoint for job in ended}
        self._asked, asked = False, self._asked
        began = time.monotonic()
        try:
            with self._connection.begin() as db:
                recorded = record(db, results)
                claimed = self._claimer.claim(db, self._demand(ended, pokes)) if claiming else Claimed(busy=pokes)
        except BaseException:
            self._asked = asked
            raise
        self._settle(results, claimed.busy)
        self._took = time.monotonic() - began
        trace_recording(results, self._took)
        measure_cycle(claimed, recorded, self._took)
        if claiming:
            self._looked = time.monotonic()
            self._more = claimed.more
            self._crowded = claimed.crowded
        if recorded.zombies:
            logger.warning("results_after_lease", results=recorded.zombies, effect="they are dropped")
        return claimed

    def _settle(self, results: Sequence[Sent], pokes: set[EndpointKey]) -> None:
        ended = {id(one) for one in results}
        self._unrecorded = [one for one in self._unrecorded if id(one) not in ended]
        self._flying.difference_update(one.job for one in results)
        self._of_tenants -= _by_tenant(one.job for one in results)
        self._pokes = set(pokes)

    def _demand(self, ended: set[Job], pokes: set[EndpointKey]) -> Demand:
        flying = self._flying - ended
        lanes = Counter(job.lane for job in flying)
        room = {lane: max(0, most - lanes[lane]) for lane, most in self._of_lanes.items()}
        tenants = self._of_tenants - _by_tenant(ended)
        return Demand(room, self._limits.in_flight // 2, tenants, pokes)

    def _fly(self, claimed: Claimed) -> None:
        if claimed.jobs:
            self._found = time.monotonic()
            self._flying.update(claimed.jobs)
            self._of_tenants += _by_tenant(claimed.jobs)
            self._transport.send(claimed.jobs)

    def _drain(self) -> None:
        end = time.monotonic() + self._limits.drain_seconds
        while self._flying and time.monotonic() < end:
            self._signal.wait(0.05)
            self._signal.clear()
            self._step(claiming=False)
        left = self._transport.abandon()
        self._step(claiming=False)
        try:
            with self._connection.begin() as db:
                release(db, left)
        except (SQLAlchemyError, OSError):
            logger.exception("deliveries_not_given_back", effect="their leases run out by themselves")


def _by_tenant(jobs: Iterable[Job]) -> Counter[UUID]:
    return Counter(job.key.environment_id for job in jobs)
