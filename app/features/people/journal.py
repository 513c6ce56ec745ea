"""What people do is written into the audit logs of their organisations."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import SYSTEM, Actor, Event, Outcome, Target, Where
from app.domain.ids import encode
from app.features.audit.operations import record
from app.features.people import queries
from app.kit.db import enter_tenants
from app.models import User


def enter_organisations(db: Session, user_id: UUID) -> list[UUID]:
    """The person's organisations, which the transaction sees from now on, beside the person."""
    found = [one.organisation_id for one in db.execute(queries.organisations(user_id))]
    enter_tenants(db, [user_id, SYSTEM, *found])
    return found


def note(
    db: Session,
    user: User,
    action: str,
    where: Where,
    organisations: Sequence[UUID],
    outcome: Outcome = Outcome.success,
    **details: object,
) -> None:
    """Writes into the audit log of each of the person's organisations what the person did, or what befell it.

    Who belongs to none is written down for the operator.
    """
    target = Target("user", encode("user", user.id), user.email)
    actor = Actor("user", encode("user", user.id), user.email)
    for one in organisations or [SYSTEM]:
        record(db, Event(one, action, actor, target, where, outcome, details))
