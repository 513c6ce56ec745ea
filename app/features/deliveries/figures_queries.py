"""Statements for what is true of the whole installation: what waits, for how long, and whether anything was lost.

They cross organisations, and none of them says whose anything is. Each is bounded by `STATEMENT_SECONDS`.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Float,
    ScalarSelect,
    Select,
    Text,
    Uuid,
    and_,
    cast,
    func,
    literal_column,
    select,
    true,
)

from app.domain.ids import lowest
from app.features.deliveries.claim_queries import HELD, NOT_HELD, SENDING
from app.models import (
    AuditUnsealed,
    BackgroundTask,
    Delivery,
    DueDelivery,
    Endpoint,
    EndpointGate,
    EndpointHealth,
    Environment,
    Lane,
    Mail,
    Message,
)

STATEMENT_SECONDS = 5
FIGURES = 0x66696775
"""'figu': the advisory lock of whoever tells the figures."""
COUNTED = 1_000_000
RECONCILED = 1000
"""So many obligations to an organisation are looked after in a round."""


def limit_statements() -> Select[str]:
    """Lets no statement of the connection take longer."""
    return select(func.set_config("statement_timeout", f"{STATEMENT_SECONDS}s", False))  # noqa: FBT003 of the session


def take_turn() -> Select[bool]:
    """Whether the connection may tell the figures for as long as it lasts."""
    return select(func.pg_try_advisory_lock(FIGURES))


def now() -> Select[datetime]:
    """The database's time."""
    return select(func.now())


def due(lane: Lane, most: int = COUNTED) -> Select[int, int, int, int, float]:
    """How many open deliveries of a lane are in each state, and for how long the oldest that is ready has been so.

    A lease that has run out makes one ready again; of what is held, the gate says when it may go, and nobody looked
    behind one that is over. Of each kind `most` are counted, by the indexes: beyond that nobody asks how many, and the
    counting would take for ever.
    """
    mine, is_due = DueDelivery.lane == lane, DueDelivery.due_at <= func.now()
    sending = _counted(most, mine, SENDING, ~is_due)
    ready = select(func.min(DueDelivery.due_at)).where(mine, NOT_HELD, is_due).scalar_subquery()
    gate = select(func.min(EndpointGate.next_at)).where(EndpointGate.lane == lane, EndpointGate.next_at <= func.now())
    return select(
        _counted(most, mine, NOT_HELD, is_due).label("ready"),
        (_counted(most, mine, NOT_HELD, ~is_due) - sending).label("later"),
        sending.label("sending"),
        _counted(most, mine, HELD).label("held"),
        func.coalesce(_age(func.least(ready, gate.scalar_subquery())), 0.0).label("oldest"),
    )


def sendable(lane: Lane) -> Select[int]:
    """How many deliveries of a lane may go now, by the function that an autoscaler asks as well."""
    return select(func.sendable_deliveries(lane.name))


def breakers() -> Select[int, int]:
    """How many endpoints' breakers are open, and how many half-open."""
    is_open = EndpointHealth.open_until > func.now()
    return select(func.count().filter(is_open), func.count().filter(~is_open)).where(
        EndpointHealth.open_until.is_not(None)
    )


def endpoints() -> Select[int, int]:
    """How many endpoints are enabled, and how many disabled."""
    return select(
        func.count().filter(Endpoint.disabled.is_(False)), func.count().filter(Endpoint.disabled.is_(True))
    ).where(Endpoint.deleted_at.is_(None))


def mails() -> Select[int, float]:
    """How many mails wait to be sent, and for how long the oldest."""
    return select(func.count(), func.coalesce(_age(func.min(Mail.created_at)), 0.0)).where(Mail.due_at.is_not(None))


def background_tasks() -> Select[int, float]:
    """How many background tasks wait for somebody to carry them on, and for how long the oldest."""
    return select(func.count(), func.coalesce(_age(func.min(BackgroundTask.due_at)), 0.0)).where(
        BackgroundTask.status == "running", BackgroundTask.due_at <= func.now()
    )


def oldest_unsealed() -> Select[str | None]:
    """The smallest id of an audit event that is in no seal yet, as text."""
    return select(func.min(cast(AuditUnsealed.event_id, Text)))


def lost(since: datetime, until: datetime) -> Select[int]:
    """How many obligations of messages accepted in that time are neither open nor ended.

    Of the first ones of each environment, to endpoints that are still there: with one that goes, what it was owed may.
    """
    owed = (
        select(Message.id, func.unnest(Message.fan_out, type_=Uuid()).label("endpoint_id"))
        .where(Message.environment_id == Environment.id, Message.id >= lowest(since), Message.id < lowest(until))
        .order_by(Message.id)
        .limit(RECONCILED)
        .lateral("owed")
    )
    there = and_(
        Endpoint.environment_id == Environment.id, Endpoint.id == owed.c.endpoint_id, Endpoint.deleted_at.is_(None)
    )
    return (
        select(func.count())
        .select_from(Environment)
        .join(owed, true())
        .join(Endpoint, there)
        .where(
            ~_is_known(DueDelivery, owed.c.id, owed.c.endpoint_id),
            ~_is_known(Delivery, owed.c.id, owed.c.endpoint_id),
        )
    )


def _is_known(
    table: type[DueDelivery] | type[Delivery], message_id: ColumnElement[UUID], endpoint_id: ColumnElement[UUID]
) -> ColumnElement[bool]:
    return (
        select(literal_column("1"))
        .where(table.environment_id == Environment.id, table.message_id == message_id, table.endpoint_id == endpoint_id)
        .exists()
    )


def _counted(most: int, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    some = select(literal_column("1")).select_from(DueDelivery).where(*conditions).limit(most).subquery()
    return select(func.count()).select_from(some).scalar_subquery()


def _age(moment: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(func.extract("epoch", func.now() - moment), Float)
