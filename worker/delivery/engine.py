"""The delivery loop of one worker process: record what came back, claim what is due, send it, again."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from app.features.messages.operations import forget_partitions
from app.models import Lane
from worker.delivery.claim import Claimed, Claimer, Demand
from worker.delivery.job import DueKey, EndpointKey, Job, Sent
from worker.delivery.record import record, release
from worker.delivery.transport import Transport
from worker.stopping import Stopping

# What comes within so long is handled in one transaction; more, up to a bound, when transactions take longer.
GATHER_SECONDS = 0.002
MOST_GATHERED_SECONDS = 0.03
ASK_AGAIN_SECONDS = 0.05
# Where there was something to deliver there soon is more: looking again costs a quarter of what being called does.
WARM_SECONDS, LOOK_AGAIN_SECONDS = 0.2, 0.015
FAILURE_PAUSE_SECONDS = 0.5
LANES_IN_FLIGHT = {Lane.first: 1.0, Lane.retry: 0.5, Lane.replay: 0.25}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many deliveries are in flight at most, how often to look unasked, how long a shutdown may take (seconds)."""

    in_flight: int
    sweep_seconds: float
    drain_seconds: float


class Engine:
    """Owns a thread, its sessions and what is in flight. One for each worker process, made after the fork."""

    def __init__(self, sessions: sessionmaker[Session], claimer: Claimer, limits: Limits, stopping: Stopping) -> None:
        self._sessions = sessions
        self._claimer = claimer
        self._limits = limits
        self._transport: Transport
        self._signal = threading.Event()
        self._asked = True
        self._more = False
        self._stopping = stopping
        self._stopped = False
        self._flying: dict[DueKey, Job] = {}
        self._unrecorded: list[Sent] = []
        self._pokes: set[EndpointKey] = set()
        self._looked = 0.0
        self._found = 0.0
        self._took = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self, transport: Transport) -> None:
        """Starts to deliver through the transport, which must notify by `notice`."""
        self._transport = transport
        self._thread.start()

    def wake(self) -> None:
        """Says that something is due."""
        self._asked = True
        self._signal.set()

    def notice(self) -> None:
        """Says that a result has come."""
        self._signal.set()

    def stop(self) -> None:
        """Claims no more, waits for what is in flight within the limit, gives the rest back."""
        self._stopped = True
        self._signal.set()
        if self._thread.is_alive():
            self._thread.join(self._limits.drain_seconds + 5)

    def _run(self) -> None:
        while not self._stopped:
            self._step(claiming=not self._stopping.is_set())
            self._rest()
        self._drain()

    def _rest(self) -> None:
        """Sleeps until there is something to do; gathers what comes close together into one transaction."""
        wait = self._pause()
        if wait > 0:
            self._signal.wait(wait)
            self._signal.clear()
        is_much = len(self._transport.results) >= self._limits.in_flight // 4
        if (self._flying or self._more) and not is_much:
            time.sleep(min(max(GATHER_SECONDS, self._took), MOST_GATHERED_SECONDS))

    def _pause(self) -> float:
        """Seconds to sleep unless somebody calls; results are all that is waited for once the end has begun."""
        if self._stopping.is_set():
            return self._limits.sweep_seconds
        if self._asked or self._more:
            return 0.0
        return self._interval() - (time.monotonic() - self._looked)

    def _interval(self) -> float:
        """How long nothing is looked at unless somebody calls; those who are to ask again do so soon."""
        if time.monotonic() - self._found < WARM_SECONDS:
            return LOOK_AGAIN_SECONDS
        return ASK_AGAIN_SECONDS if self._pokes else self._limits.sweep_seconds

    def _step(self, *, claiming: bool) -> None:
        self._gather()
        wants = claiming and (self._asked or self._more or bool(self._unrecorded) or self._sweep_is_due())
        if not wants and not self._unrecorded:
            return
        try:
            claimed = self._transact(list(self._unrecorded), claiming=wants)
        except Exception:
            # Nothing is lost: results stay here until they are recorded, leases run out by themselves.
            logger.exception("a cycle failed; the next one tries again")
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
                logger.exception("the result of an attempt could not be recorded")
                self._settle([one], self._pokes | {one.job.key.endpoint})

    def _sweep_is_due(self) -> bool:
        return time.monotonic() - self._looked >= self._interval()

    def _gather(self) -> None:
        results = self._transport.results
        while results:
            self._unrecorded.append(results.popleft())

    def _transact(self, results: Sequence[Sent], *, claiming: bool) -> Claimed:
        """Records and claims in one transaction, so that a cycle costs one commit."""
        ended = {one.job.key for one in results}
        pokes = self._pokes | {key.endpoint for key in ended}
        self._asked, asked = False, self._asked
        began = time.monotonic()
        try:
            with self._sessions.begin() as db:
                recorded = record(db, results)
                claimed = self._claimer.claim(db, self._demand(ended, pokes)) if claiming else Claimed(busy=pokes)
        except BaseException:
            self._asked = asked
            raise
        self._settle(results, claimed.busy)
        self._took = time.monotonic() - began
        if claiming:
            self._looked = time.monotonic()
            self._more = claimed.more
        if recorded.zombies:
            logger.warning("results came after their lease ended: %d", recorded.zombies)
        return claimed

    def _settle(self, results: Sequence[Sent], pokes: set[EndpointKey]) -> None:
        ended = {id(one) for one in results}
        self._unrecorded = [one for one in self._unrecorded if id(one) not in ended]
        for one in results:
            # The same delivery may be under way again, should this have come after its lease.
            if self._flying.get(one.job.key) is one.job:
                del self._flying[one.job.key]
        self._pokes = set(pokes)

    def _demand(self, ended: set[DueKey], pokes: set[EndpointKey]) -> Demand:
        flying = [job for key, job in self._flying.items() if key not in ended]
        lanes = Counter(job.lane for job in flying)
        room = {
            int(lane): max(0, int(self._limits.in_flight * part) - lanes[int(lane)])
            for lane, part in LANES_IN_FLIGHT.items()
        }
        tenants = Counter(job.key.organisation_id for job in flying)
        return Demand(room, self._limits.in_flight // 2, tenants, pokes)

    def _fly(self, claimed: Claimed) -> None:
        if claimed.jobs:
            self._found = time.monotonic()
            self._flying.update((job.key, job) for job in claimed.jobs)
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
            with self._sessions.begin() as db:
                release(db, left)
        except (SQLAlchemyError, OSError):
            logger.exception("what was not sent could not be given back; its leases run out by themselves")
