"""Statements about mail that waits to be sent."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Insert, Select, Update, exists, func, insert, select, tuple_, update
from sqlalchemy.sql.dml import ReturningUpdate

from app.models import Mail

GIVEN_UP_AFTER = timedelta(days=1)
LEASE = timedelta(minutes=3)


def add(owner_id: UUID, mail_id: UUID, kind: str, sealed: bytes) -> Insert:
    """Adds a mail that is due at once. Nothing is read back."""
    return insert(Mail).values(owner_id=owner_id, id=mail_id, kind=kind, sealed=sealed, due_at=func.now())


def claim() -> Update:
    """Takes the mail that waits longest, for as long as the lease; its number of attempts is the fence."""
    due = (
        select(Mail.owner_id, Mail.id)
        .where(Mail.due_at <= func.now())
        .order_by(Mail.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return (
        update(Mail)
        .where(tuple_(Mail.owner_id, Mail.id).in_(due))
        .values(due_at=func.now() + LEASE, attempts=Mail.attempts + 1)
        .returning(Mail)
        .execution_options(synchronize_session=False)
    )


def is_due() -> Select[bool]:
    """Whether any mail waits."""
    return select(exists().where(Mail.due_at <= func.now()))


def sent(mail: Mail) -> Update:
    """Lets go of the text of a mail that has left."""
    return _fenced(mail).values(sent_at=func.now(), sealed=None, due_at=None, last_failure=None)


def failed(mail: Mail, failure: str, again_in: timedelta) -> Update:
    """Puts a mail off that could not be sent."""
    return _fenced(mail).values(due_at=func.now() + again_in, last_failure=failure)


def refused(mail: Mail, failure: str) -> Update:
    """Gives a mail up that will never be taken."""
    return _fenced(mail).values(sealed=None, due_at=None, last_failure=failure)


def give_up() -> ReturningUpdate[UUID]:
    """Gives up what could not be sent for a day, for its links are over; returns what that was."""
    return (
        update(Mail)
        .where(Mail.due_at <= func.now(), Mail.created_at < func.now() - GIVEN_UP_AFTER)
        .values(sealed=None, due_at=None, last_failure=func.coalesce(Mail.last_failure, "nothing was there to send it"))
        .returning(Mail.id)
    )


def _fenced(mail: Mail) -> Update:
    mine = (Mail.owner_id == mail.owner_id, Mail.id == mail.id, Mail.attempts == mail.attempts)
    return update(Mail).where(*mine, Mail.due_at.is_not(None)).execution_options(synchronize_session=False)
