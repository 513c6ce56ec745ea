"""Seals the audit log, outside of the transactions that write it."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app.features.audit import queries
from app.features.audit.anchors import AnchorFolder
from app.features.audit.operations import seal
from app.kit.encryption import KeyRing

TURN_SECONDS = 2.0
AT_ONCE = 100
logger = logging.getLogger(__name__)


class Sealer:
    """Seals what waits, an organisation after the other, and carries the anchors out of the database."""

    def __init__(self, sessions: sessionmaker[Session], ring: KeyRing, anchors: Path | None) -> None:
        self._sessions = sessions
        self._ring = ring
        self._anchors = AnchorFolder(anchors) if anchors else None
        self._behind: set[UUID] | None = None

    def run(self, seconds: float = TURN_SECONDS) -> int:
        """Seals until nothing waits or the time is over; says how many seals there were."""
        end = time.monotonic() + seconds
        count = 0
        for organisation_id in self._waiting(end):
            while self._seal(organisation_id):
                count += 1
                if time.monotonic() >= end:
                    break
        self._carry_out()
        return count

    def _waiting(self, end: float) -> Iterator[UUID]:
        last: UUID | None = None
        while time.monotonic() < end:
            with self._sessions() as db:
                found = db.scalars(queries.waiting(last, AT_ONCE)).all()
            yield from found
            if not found:
                return
            last = found[-1]

    def _seal(self, organisation_id: UUID) -> bool:
        with self._sessions.begin() as db:
            made = seal(db, self._ring, organisation_id)
        if made is None:
            return False
        logger.info("audit anchor: %s", made.anchor())
        if self._behind is not None:
            self._behind.add(organisation_id)
        return True

    def _carry_out(self) -> None:
        """Brings the files up to date: at first all of them, since nobody knows where the last process was killed."""
        if self._anchors is None:
            return
        if self._behind is None:
            with self._sessions() as db:
                self._behind = set(db.scalars(queries.sealed()))
        while self._behind:
            organisation_id = self._behind.pop()
            try:
                self._anchors.catch_up(self._sessions, organisation_id)
            except OSError:
                self._behind.add(organisation_id)
                raise
