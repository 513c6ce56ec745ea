"""What every worker process does by its own timer, so that it is done while the broker is away."""

import threading
from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from app.features.deliveries import claim_queries
from app.features.organisations import expiry
from app.kit.telemetry.hearts import unheard
from app.kit.telemetry.logs import get_logger
from worker.background import run_due_tasks
from worker.stopping import Stopping

INTERVAL_SECONDS = 2.0
logger = get_logger(__name__)


class Sweeper:
    """Seals the audit log, runs due background tasks, mends gates and warns of ending keys, in a thread of its own."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        stopping: Stopping,
        seal: Callable[[], object],
        beat: Callable[[], None] = unheard,
    ) -> None:
        self._beat = beat
        self._sessions = sessions
        self._stopping = stopping
        self._seal = seal
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Starts the timer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the timer after the sweep that runs."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ended.is_set() and not self._stopping.is_set():
            self._beat()
            for act in (self._seal, self._run_tasks, self._mend_gates, self._warn_of_ends):
                try:
                    act()
                except Exception:
                    # Whatever it is, neither this thread nor another act may end with it.
                    logger.exception("sweep_failed", effect="the next one tries again")
            self._ended.wait(INTERVAL_SECONDS)

    def _run_tasks(self) -> None:
        run_due_tasks(self._sessions)

    def _mend_gates(self) -> None:
        with self._sessions.begin() as db:
            db.execute(claim_queries.orphans())

    def _warn_of_ends(self) -> None:
        with self._sessions.begin() as db:
            expiry.warn(db)
