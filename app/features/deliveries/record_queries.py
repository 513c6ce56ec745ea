"""Statements that record what attempts brought. Each is built once; parameters are arrays, across organisations."""

from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    DateTime,
    Float,
    Insert,
    Integer,
    LargeBinary,
    Select,
    SmallInteger,
    Text,
    Update,
    Uuid,
    and_,
    cast,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate

from app.features.deliveries.claim_queries import DUE, DUE_KEY, HEALTH, SENDING
from app.kit.arrays import unnest
from app.kit.db import table_of
from app.models import (
    Application,
    Attempt,
    Delivery,
    DueState,
    Endpoint,
    EndpointHealth,
    EventType,
    Lane,
    Message,
    Organisation,
    Trigger,
)

MOMENT = DateTime(timezone=True)
FENCED = (*DUE_KEY, "attempt")
PAIR = ("organisation_id", "endpoint_id", "message_id")
DELIVERY = (*PAIR, "application_id", "status", "attempts")


def _fenced(**more: Any) -> Any:  # noqa: ANN401 a table of arrays
    return unnest(
        organisation_id=Uuid(),
        endpoint_id=Uuid(),
        message_id=Uuid(),
        trigger=SmallInteger(),
        attempt=SmallInteger(),
        **more,
    )


def _is(given: Any) -> Any:  # noqa: ANN401 a condition on the due row that the arrays name
    return and_(*(DUE.c[name] == given.c[name] for name in FENCED), SENDING)


@cache
def settle() -> ReturningDelete[*tuple[Any, ...]]:
    """Ends obligations whose lease and fence still hold; returns their keys and fences."""
    return delete(DUE).where(_is(_fenced())).returning(*(DUE.c[name] for name in FENCED))


@cache
def reschedule() -> ReturningUpdate[*tuple[Any, ...]]:
    """Owes another try after `delay` seconds of the database's time; those of a replay stay behind the others.

    Returns the keys and fences of those whose lease and fence still hold.
    """
    given = _fenced(delay=Float())
    retry = cast(int(Lane.retry), SmallInteger)
    return (
        update(DUE)
        .where(_is(given))
        .values(
            state=cast(int(DueState.ready), SmallInteger),
            lane=func.greatest(DUE.c.lane, retry),
            due_at=func.now() + given.c.delay * literal_column("interval '1 second'"),
            failures=DUE.c.failures + 1,
        )
        .returning(*(DUE.c[name] for name in FENCED))
    )


@cache
def release() -> Update:
    """Gives leases back at once, as if the attempt had not begun."""
    given = _fenced()
    return update(DUE).where(_is(given)).values(state=cast(int(DueState.ready), SmallInteger), due_at=func.now())


@cache
def settle_twins() -> ReturningDelete[*tuple[Any, ...]]:
    """Ends the scheduled delivery of messages that a manual resend has just delivered."""
    given = unnest(organisation_id=Uuid(), endpoint_id=Uuid(), message_id=Uuid())
    return (
        delete(DUE)
        .where(*(DUE.c[name] == given.c[name] for name in PAIR), DUE.c.trigger == int(Trigger.scheduled))
        .returning(*(DUE.c[name] for name in PAIR))
    )


@cache
def finish() -> Insert:
    """Notes how deliveries ended; a success by hand overrides an earlier end."""
    given = unnest(
        organisation_id=Uuid(),
        endpoint_id=Uuid(),
        message_id=Uuid(),
        application_id=Uuid(),
        status=SmallInteger(),
        attempts=SmallInteger(),
    )
    made = insert(table_of(Delivery)).from_select(
        [*(one.key for one in given.c), "finished_at"], select(*given.c, func.now())
    )
    return made.on_conflict_do_update(
        index_elements=["organisation_id", "endpoint_id", "message_id"],
        set_={name: made.excluded[name] for name in ("status", "attempts", "finished_at")},
    )


ATTEMPT = (
    "organisation_id",
    "id",
    "application_id",
    "endpoint_id",
    "message_id",
    "event_type",
    "trigger",
    "number",
    "status",
    "response_status",
    "failure",
    "detail",
    "response",
    "duration_ms",
    "url",
    "started_at",
    "delay",
)


@cache
def insert_attempts() -> Insert:
    """Stores attempts; `delay` is the seconds until the next try, null when there is none."""
    given = unnest(
        organisation_id=Uuid(),
        id=Uuid(),
        application_id=Uuid(),
        endpoint_id=Uuid(),
        message_id=Uuid(),
        event_type=Text(),
        trigger=SmallInteger(),
        number=SmallInteger(),
        status=SmallInteger(),
        response_status=SmallInteger(),
        failure=Text(),
        detail=Text(),
        response=LargeBinary(),
        duration_ms=Integer(),
        url=Text(),
        started_at=MOMENT,
        delay=Float(),
    )
    stored = [one for one in given.c if one.key != "delay"]
    next_at = func.now() + given.c.delay * literal_column("interval '1 second'")
    return insert(table_of(Attempt)).from_select([*(one.key for one in stored), "next_at"], select(*stored, next_at))


@cache
def health() -> Select[*tuple[Any, ...]]:
    """What is known of endpoints, locked in order; nothing of those that never failed."""
    given = unnest(organisation_id=Uuid(), endpoint_id=Uuid())
    table = table_of(EndpointHealth)
    return (
        select(table.c.organisation_id, table.c.endpoint_id, *(table.c[name] for name in HEALTH))
        .join(
            given,
            and_(table.c.organisation_id == given.c.organisation_id, table.c.endpoint_id == given.c.endpoint_id),
        )
        .order_by(table.c.endpoint_id)
        .with_for_update(of=table)
    )


@cache
def make_health() -> Insert:
    """Makes the rows that `health` locks, in order."""
    given = unnest(organisation_id=Uuid(), endpoint_id=Uuid())
    return (
        insert(table_of(EndpointHealth))
        .from_select(["organisation_id", "endpoint_id"], select(given).order_by(given.c.endpoint_id))
        .on_conflict_do_nothing()
    )


@cache
def set_health() -> Update:
    """Stores what the attempts say of endpoints."""
    given = unnest(
        organisation_id=Uuid(),
        endpoint_id=Uuid(),
        consecutive_failures=Integer(),
        opened_times=Integer(),
        open_until=MOMENT,
        probing=Boolean(),
        slow_until=MOMENT,
        fail_since=MOMENT,
    )
    table = table_of(EndpointHealth)
    return (
        update(table)
        .where(table.c.organisation_id == given.c.organisation_id, table.c.endpoint_id == given.c.endpoint_id)
        .values({name: given.c[name] for name in HEALTH})
    )


@cache
def schedules() -> Select[*tuple[Any, ...]]:
    """The retry schedules of event types and organisations, where they have one."""
    given = unnest(organisation_id=Uuid(), event_type=Text())
    kind, owner = table_of(EventType), table_of(Organisation)
    return (
        select(
            given.c.organisation_id,
            given.c.event_type,
            kind.c.retry_schedule.label("of_type"),
            owner.c.retry_schedule.label("of_organisation"),
        )
        .select_from(given)
        .join(owner, owner.c.id == given.c.organisation_id)
        .outerjoin(kind, and_(kind.c.organisation_id == given.c.organisation_id, kind.c.name == given.c.event_type))
    )


@cache
def disable_endpoints() -> Update:
    """Disables endpoints that are not yet, for `reason`."""
    given = unnest(organisation_id=Uuid(), endpoint_id=Uuid(), reason=Text())
    return (
        update(table_of(Endpoint))
        .where(
            Endpoint.organisation_id == given.c.organisation_id,
            Endpoint.id == given.c.endpoint_id,
            Endpoint.disabled.is_(False),
            Endpoint.deleted_at.is_(None),
        )
        .values(disabled=True, disabled_reason=given.c.reason, revision=Endpoint.revision + 1, updated_at=func.now())
        .returning(Endpoint.organisation_id, Endpoint.application_id, Endpoint.id, Endpoint.uid)
    )


@cache
def application_uids() -> Select[*tuple[Any, ...]]:
    """The uids of applications that have one."""
    given = unnest(organisation_id=Uuid(), id=Uuid())
    table = table_of(Application)
    return (
        select(table.c.id, table.c.uid)
        .join(given, and_(table.c.organisation_id == given.c.organisation_id, table.c.id == given.c.id))
        .where(table.c.uid.is_not(None))
    )


@cache
def event_ids() -> Select[*tuple[Any, ...]]:
    """The event ids of messages that have one."""
    given = unnest(organisation_id=Uuid(), id=Uuid())
    table = table_of(Message)
    return (
        select(table.c.id, table.c.event_id)
        .join(given, and_(table.c.organisation_id == given.c.organisation_id, table.c.id == given.c.id))
        .where(table.c.event_id.is_not(None))
    )
