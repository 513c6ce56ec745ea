"""Seals the audit log, outside of the transactions that write it."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.audit import queries
from app.features.audit.anchors import AnchorFolder
from app.features.audit.operations import seal
from app.kit.encryption import KeyRing
from app.kit.telemetry.logs import get_logger

TURN_SECONDS = 2.0
logger = get_logger(__name__)


class Sealer:
    """Seals what waits, an organisation after the other, and carries the anchors out of the database."""

    def __init__(self, sessions: sessionmaker[Session], ring: KeyRing, anchors: Path | None) -> None:
        self._sessions = sessions
        self._ring = ring
        self._anchors = AnchorFolder(anchors) if anchors else None
        self._behind: set[UUID] | None = None
        self._last: UUID | None = None

    def run(self, seconds: float = TURN_SECONDS) -> int:
        """Seals until nothing waits or the time is over, each organisation in its turn; says how many seals it made."""
        end = time.monotonic() + seconds
        count = 0
        while made := sum(map(self._seal, self._waiting(end))):
            count += made
        self._carry_out()
        return count

    def _waiting(self, end: float) -> Iterator[UUID]:
        """The organisations whose turn it is, on from the one that was the last before."""
        while time.monotonic() < end:
            with self._sessions() as db:
                self._last = db.scalar(queries.waiting(self._last))
            if self._last is None:
                return
            yield self._last

    def _seal(self, organisation_id: UUID) -> bool:
        try:
            with self._sessions.begin() as db:
                made = seal(db, self._ring, organisation_id)
        except IntegrityError:
            # Its place in the chain is taken, which no sealer does to another one.
            broken = encode("org", organisation_id)
            logger.error("audit_log_broken", organisation_id=broken, remedy="postrider audit verify")  # noqa: TRY400 in a line
            return False
        if made is None:
            return False
        logger.info("audit_sealed", anchor=made.anchor())
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
        failure: Exception | None = None
        for organisation_id in sorted(self._behind):
            try:
                self._anchors.catch_up(self._sessions, organisation_id)
            except (OSError, ValueError) as error:
                failure = failure or error
            else:
                self._behind.discard(organisation_id)
        if failure is not None:
            logger.error("audit_anchors_wait", organisations=len(self._behind), error=str(failure))
