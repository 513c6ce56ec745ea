"""What `postrider doctor` asks the database; each statement gives one row of one value."""

from datetime import datetime

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Extract,
    Select,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    table,
)

from app.models import DueDelivery, Mail
from app.models.delivery import DueState

_ROLES = table("pg_roles", column("rolname", Text()), column("rolsuper", Boolean()), column("rolbypassrls", Boolean()))
_ACTIVITY = table(
    "pg_stat_activity",
    column("application_name", Text()),
    column("pid"),
    column("datname", Text()),
    column("state_change", DateTime(timezone=True)),
    column("xact_start", DateTime(timezone=True)),
)
_TABLES = table(
    "pg_class", column("oid"), column("relrowsecurity", Boolean()), column("relforcerowsecurity", Boolean())
)


def is_above_tenants() -> Select[bool]:
    """Whether the role that asks sees rows whatever their tenant."""
    asking = select(_ROLES.c.rolsuper | _ROLES.c.rolbypassrls)
    return asking.where(_ROLES.c.rolname == func.current_user())


def is_row_security_on(name: str) -> Select[bool]:
    """Whether a table keeps its rows to their tenant, from its owner too."""
    found = select(_TABLES.c.relrowsecurity & _TABLES.c.relforcerowsecurity)
    return found.where(_TABLES.c.oid == func.to_regclass(cast(literal(name), Text)))


def now() -> Select[float]:
    """The database's clock, in seconds since 1970."""
    return select(func.extract("epoch", func.clock_timestamp()))


def connections(name: str) -> Select[int]:
    """How many connections of the asking role's to this database are called so."""
    return select(func.count(_ACTIVITY.c.pid)).where(_are_called(name))


def silent_seconds(name: str) -> Select[float | None]:
    """For how long none of the connections that are called so has begun or ended a statement."""
    return select(_since(func.max(_ACTIVITY.c.state_change))).where(_are_called(name))


def transaction_seconds(name: str) -> Select[float | None]:
    """The age of the oldest transaction of the connections that are called so."""
    return select(_since(func.min(_ACTIVITY.c.xact_start))).where(_are_called(name))


def _are_called(name: str) -> ColumnElement[bool]:
    return (_ACTIVITY.c.application_name == name) & (_ACTIVITY.c.datname == func.current_database())


def _since(moment: ColumnElement[datetime]) -> Extract:
    return func.extract("epoch", func.clock_timestamp() - cast(moment, DateTime(timezone=True)))


def oldest_due_seconds() -> Select[float | None]:
    """For how long the delivery that waits longest could have been sent."""
    age = func.extract("epoch", func.now() - cast(func.min(DueDelivery.due_at), DateTime(timezone=True)))
    return select(age).where(DueDelivery.state == DueState.ready, DueDelivery.due_at <= func.now())


def oldest_mail_seconds() -> Select[float | None]:
    """For how long the mail that waits longest could have been sent."""
    age = func.extract("epoch", func.now() - cast(func.min(Mail.due_at), DateTime(timezone=True)))
    return select(age).where(Mail.sent_at.is_(None), Mail.due_at <= func.now())
