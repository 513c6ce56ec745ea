"""Showing once more that one is there."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import Where
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.features.sessions.operations import renew
from app.kit.errors import unauthenticated


def show_again(db: Session, user_id: UUID, session_id: UUID, methods: Sequence[str], where: Where) -> str:
    """Notes that the person just proved by these methods to be there; the session's new cookie comes back.

    The transaction names the person. Raises Problem `unauthenticated` when the session is over meanwhile.
    """
    cookie = renew(db, user_id, session_id, methods=methods, reauthenticated=True)
    if cookie is None:
        raise unauthenticated("This session is over: sign in again")
    user = db.scalars(people.user(user_id)).one()
    note(db, user, "session.reauthenticated", where, enter_organisations(db, user_id), methods=list(methods))
    return cookie
