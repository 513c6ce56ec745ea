"""Statements about what organisations use in a month, and what they may."""

from functools import cache
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Date, Select, Update, Uuid, and_, cast, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from app.kit.arrays import unnest
from app.kit.db import table_of
from app.models import Organisation, OrganisationUsage


def month() -> ColumnElement[object]:
    """The first day of the month that the database is in, UTC."""
    return cast(func.date_trunc("month", func.timezone("UTC", func.now())), Date)


@cache
def add() -> Insert:
    """Adds `events` to this month's of each `organisation_id`, which must come in one order everywhere."""
    given = unnest(organisation_id=Uuid(), events=BigInteger())
    rows = select(given.c.organisation_id, month(), given.c.events)
    usage = table_of(OrganisationUsage)
    new = insert(usage).from_select(["organisation_id", "month", "events"], rows)
    total = usage.c.events + new.excluded.events
    return new.on_conflict_do_update(index_elements=["organisation_id", "month"], set_={"events": total})


@cache
def standings() -> Select[UUID, int | None, int]:
    """Id, quota and this month's events of each `organisation_id`."""
    given = unnest(organisation_id=Uuid())
    return _standings().join(given, given.c.organisation_id == Organisation.id)


def standing(organisation_id: UUID) -> Select[UUID, int | None, int]:
    """The same of one organisation that is not deleted."""
    return _standings().where(Organisation.id == organisation_id, Organisation.deleted_at.is_(None))


def set_quota(organisation_id: UUID, monthly_events: int | None) -> Update:
    """Sets how many events are accepted in a month; None for any number. The id comes back."""
    mine = (Organisation.id == organisation_id, Organisation.deleted_at.is_(None))
    return update(Organisation).where(*mine).values(monthly_events=monthly_events).returning(Organisation.id)


def _standings() -> Select[UUID, int | None, int]:
    this_month = and_(
        OrganisationUsage.organisation_id == Organisation.id,
        OrganisationUsage.month == month(),
    )
    used = func.coalesce(OrganisationUsage.events, 0)
    return select(Organisation.id, Organisation.monthly_events, used.label("events")).outerjoin(
        OrganisationUsage, this_month
    )
