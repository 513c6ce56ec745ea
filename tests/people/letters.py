"""What was queued to be mailed, read as the worker reads it."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.features.mail.letters import Letter
from app.features.mail.operations import unseal
from app.kit.encryption import KeyRing
from app.models import Mail


def letters(sessions: sessionmaker[Session], ring: KeyRing, owner_id: UUID, kind: str | None = None) -> list[Letter]:
    """The letters to a person, or for an organisation, the oldest first."""
    with sessions() as db:
        mine = select(Mail).where(Mail.owner_id == owner_id, Mail.sealed.is_not(None)).order_by(Mail.id)
        found = [unseal(ring, one) for one in db.scalars(mine)]
    return [one for one in found if kind in {None, one.kind}]
