"""Queues mail, and carries it out of the queue."""

import json
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import email
from app.features.mail import queries
from app.features.mail.letters import Letter, write
from app.kit.clock import new_id
from app.kit.encryption import KeyRing
from app.kit.wakes import Wake, ask
from app.models import Mail

SEALED_COLUMN = b"mails.sealed"
REST_MINUTES = (1, 4, 16, 60)


def queue(db: Session, ring: KeyRing, owner_id: UUID, letter: Letter) -> UUID:
    """Puts a letter to a person, or for an organisation, into the queue; it leaves after the commit.

    The transaction names the owner. ValueError for what is no address; UndefinedError where a value is missing.
    """
    if email.key(letter.address) is None:
        msg = "a letter needs a mail address"
        raise ValueError(msg)
    write(letter, "")
    mail_id = new_id()
    db.execute(queries.add(owner_id, mail_id, letter.kind, seal(ring, owner_id, mail_id, letter)))
    ask(db, Wake.mail)
    return mail_id


def binding(owner_id: UUID, mail_id: UUID) -> bytes:
    """What the text of this mail is authenticated with."""
    return SEALED_COLUMN + b":" + owner_id.bytes + mail_id.bytes


def seal(ring: KeyRing, owner_id: UUID, mail_id: UUID, letter: Letter) -> bytes:
    """A letter as it is stored."""
    held = json.dumps({"address": letter.address, "values": dict(letter.values)})
    return ring.encrypt(held.encode(), binding(owner_id, mail_id))


def unseal(ring: KeyRing, mail: Mail) -> Letter:
    """The letter of a stored mail that was not sent yet. Raises Undecryptable."""
    assert mail.sealed is not None
    held = json.loads(ring.decrypt(mail.sealed, binding(mail.owner_id, mail.id)))
    return Letter(mail.kind, str(held["address"]), {str(name): str(value) for name, value in held["values"].items()})


def claim(db: Session) -> Mail | None:
    """The mail that waits longest, kept from others for a while; None when none is due."""
    return db.scalars(queries.claim()).one_or_none()


def give_up(db: Session) -> int:
    """Gives up what is too old; returns how many mails that was."""
    return len(db.scalars(queries.give_up()).all())


def rest(attempts: int) -> timedelta:
    """How long a mail rests that failed so often."""
    return timedelta(minutes=REST_MINUTES[min(attempts, len(REST_MINUTES)) - 1])
