"""Anchors: copies of the seals outside of the database, by which a log that was cut short is found out."""

import fcntl
import json
import os
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app.domain.audit_chain import Seal
from app.domain.ids import encode
from app.features.audit import queries
from app.features.audit.documents import seal_of

# Longer than any anchor: what is read from a file's end to find its last line.
TAIL = 4096
AT_ONCE = 1000


class AnchorFolder:
    """A folder with a file for each organisation, to which a line is added for each seal.

    Whoever adds to a file first brings it up to date, so that what one process could not write another one does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, organisation_id: UUID) -> Path:
        """The file of an organisation."""
        return self._folder / f"{encode('org', organisation_id)}.jsonl"

    def catch_up(self, sessions: sessionmaker[Session], organisation_id: UUID) -> int:
        """Adds the seals that the file lacks; says how many.

        OSError when it cannot be written, ValueError when it is no such file.
        """
        with self.path(organisation_id).open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            first = last = _last_number(file.fileno())
            while found := _seals(sessions, organisation_id, last):
                file.writelines(f"{one.anchor()}\n".encode() for one in found)
                last = found[-1].number
            file.flush()
            os.fsync(file.fileno())
        return last - first


def _last_number(file: int) -> int:
    """The number of the last whole line, 0 without any; what a crash left of a line is cut off."""
    size = os.fstat(file).st_size
    tail = os.pread(file, TAIL, max(0, size - TAIL))
    whole = tail[: tail.rfind(b"\n") + 1]
    if not whole and size > TAIL:
        raise ValueError("the file does not end in anchors")
    os.ftruncate(file, size - len(tail) + len(whole))
    return int(json.loads(whole.splitlines()[-1])["number"]) if whole else 0


def _seals(sessions: sessionmaker[Session], organisation_id: UUID, after: int) -> list[Seal]:
    with sessions() as db:
        return list(map(seal_of, db.scalars(queries.seals(organisation_id, after).limit(AT_ONCE))))
