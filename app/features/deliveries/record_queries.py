"""Statements that record what attempts brought. Each is built once; parameters are arrays, across organisations."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    DateTime,
    Float,
    Insert,
    Integer,
    LargeBinary,
    Select,
    SmallInteger,
    TableValuedAlias,
    Text,
    Update,
    Uuid,
    and_,
    cast,
    delete,
    func,
    literal_column,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningDelete

from app.features.deliveries.claim_queries import DUE, DUE_KEY, HEALTH, tid
from app.kit.arrays import unnest
from app.kit.db import table_of
from app.models import (
    Application,
    Attempt,
    Delivery,
    DueState,
    Endpoint,
    EndpointHealth,
    Environment,
    EventType,
    Lane,
    Message,
    Trigger,
)

MOMENT = DateTime(timezone=True)
FENCED = (*DUE_KEY, "attempt")
# A parameter, so that no index is thought to serve which knows the state and not the delivery.
IS_SENDING = DUE.c.state == int(DueState.sending)
_OWN = [*(DUE.c[name] for name in DUE_KEY), DUE.c.attempt.label("number")]
PAIR = ("environment_id", "endpoint_id", "message_id")
DELIVERY = (*PAIR, "application_id", "status")


def _fenced(**more: Any) -> Any:  # noqa: ANN401 a table of arrays
    return unnest(
        environment_id=Uuid(),
        endpoint_id=Uuid(),
        message_id=Uuid(),
        trigger=SmallInteger(),
        attempt=SmallInteger(),
        **more,
    )


def _is(given: Any) -> Any:  # noqa: ANN401 a condition on the due row that the arrays name
    return and_(*(DUE.c[name] == given.c[name] for name in FENCED), IS_SENDING)


@cache
def release() -> Update:
    """Gives leases back at once, as if the attempt had not begun."""
    given = _fenced()
    return update(DUE).where(_is(given)).values(state=cast(int(DueState.ready), SmallInteger), due_at=func.now())


@cache
def settle_twins() -> ReturningDelete[*tuple[Any, ...]]:
    """Ends the scheduled delivery of messages that a manual resend has just delivered."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid(), message_id=Uuid())
    return (
        delete(DUE)
        .where(*(DUE.c[name] == given.c[name] for name in PAIR), DUE.c.trigger == int(Trigger.scheduled))
        .returning(*(DUE.c[name] for name in PAIR))
    )


RESULT = (
    "place",
    "environment_id",
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
    "failures",
    "finishes",
)


@cache
def conclude() -> Select[int]:
    """Moves obligations by what an attempt of each brought, where lease and fence still hold, and stores the attempts.

    With a `delay` in seconds the obligation waits for the next try, without one it ends; if it `finishes` the delivery
    then, that is noted, and overrides an earlier end. Returns the places of those that were no longer ours to move, of
    which nothing is stored. No delivery is in it twice.
    """
    given = select(_results()).cte("given")
    ours = _find(given).cte("ours")
    ended = delete(DUE).where(_is_among(ours, ours.c.delay.is_(None))).returning(*_OWN).cte("ended")
    again = _reschedule(ours).returning(*_OWN).cte("again")
    moved = union_all(select(ended), select(again)).cte("moved")
    is_its = and_(*(given.c[one.key] == one for one in moved.c))
    alive = select(given).join(moved, is_its).cte("alive")
    stored = _store_attempts(alive).cte("stored")
    finished = _finish(alive).cte("finished")
    lost = select(given.c.place).where(given.c.place.not_in(select(alive.c.place)))
    return lost.add_cte(stored, finished)


def _find(given: CTE) -> Select[*tuple[Any, ...]]:
    """Locks the rows that are ours to move, and says where they lie.

    Each is looked up by its whole key, and is then moved by where it lies: joined where the planner likes, the whole
    table would be read for each batch for as long as the planner believes that it is empty.
    """
    found = (
        select(tid().label("tid"))
        .where(*(given.c[one.key] == one for one in _OWN), IS_SENDING)
        .with_for_update()
        .offset(literal_column("0"))
        .lateral("found")
    )
    return select(given.c.delay, found.c.tid).join(found, true())


def _is_among(ours: CTE, which: ColumnElement[bool]) -> ColumnElement[bool]:
    return tid() == func.any(func.array(select(ours.c.tid).where(which).scalar_subquery()))


def _results() -> TableValuedAlias:
    return unnest(
        place=Integer(),
        environment_id=Uuid(),
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
        failures=SmallInteger(),
        finishes=Boolean(),
    )


def _after(delay: ColumnElement[float]) -> ColumnElement[datetime]:
    return func.now() + delay * literal_column("interval '1 second'")


def _reschedule(ours: CTE) -> Update:
    """Those of a replay stay behind the others."""
    delay = select(ours.c.delay).where(ours.c.tid == tid()).scalar_subquery()
    return (
        update(DUE)
        .where(_is_among(ours, ours.c.delay.is_not(None)))
        .values(
            state=cast(int(DueState.ready), SmallInteger),
            lane=func.greatest(DUE.c.lane, cast(int(Lane.retry), SmallInteger)),
            due_at=_after(delay),
            failures=DUE.c.failures + 1,
        )
    )


def _store_attempts(alive: CTE) -> Insert:
    table = table_of(Attempt)
    stored = [alive.c[one.key] for one in table.c if one.key in alive.c]
    return insert(table).from_select([*(one.key for one in stored), "next_at"], select(*stored, _after(alive.c.delay)))


def _finish(alive: CTE) -> Insert:
    rows = select(*(alive.c[name] for name in DELIVERY), alive.c.failures + 1, func.now()).where(
        alive.c.delay.is_(None), alive.c.finishes
    )
    made = insert(table_of(Delivery)).from_select([*DELIVERY, "attempts", "finished_at"], rows)
    return made.on_conflict_do_update(
        index_elements=PAIR, set_={name: made.excluded[name] for name in ("status", "attempts", "finished_at")}
    )


@cache
def health() -> Select[*tuple[Any, ...]]:
    """What is known of endpoints, locked in order; nothing of those that never failed."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid())
    table = table_of(EndpointHealth)
    return (
        select(table.c.environment_id, table.c.endpoint_id, *(table.c[name] for name in HEALTH))
        .join(
            given,
            and_(table.c.environment_id == given.c.environment_id, table.c.endpoint_id == given.c.endpoint_id),
        )
        .order_by(table.c.endpoint_id)
        .with_for_update(of=table)
    )


@cache
def make_health() -> Insert:
    """Makes the rows that `health` locks, in order."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid())
    return (
        insert(table_of(EndpointHealth))
        .from_select(["environment_id", "endpoint_id"], select(given).order_by(given.c.endpoint_id))
        .on_conflict_do_nothing()
    )


@cache
def set_health() -> Update:
    """Stores what the attempts say of endpoints."""
    given = unnest(
        environment_id=Uuid(),
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
        .where(table.c.environment_id == given.c.environment_id, table.c.endpoint_id == given.c.endpoint_id)
        .values({name: given.c[name] for name in HEALTH})
    )


@cache
def schedules() -> Select[*tuple[Any, ...]]:
    """The retry schedules of event types and organisations, where they have one."""
    given = unnest(environment_id=Uuid(), event_type=Text())
    kind, owner = table_of(EventType), table_of(Environment)
    return (
        select(
            given.c.environment_id,
            given.c.event_type,
            kind.c.retry_schedule.label("of_type"),
            owner.c.retry_schedule.label("of_organisation"),
        )
        .select_from(given)
        .join(owner, owner.c.id == given.c.environment_id)
        .outerjoin(kind, and_(kind.c.environment_id == given.c.environment_id, kind.c.name == given.c.event_type))
    )


@cache
def disable_endpoints() -> Update:
    """Disables endpoints that are not yet, for `reason`."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid(), reason=Text())
    return (
        update(table_of(Endpoint))
        .where(
            Endpoint.environment_id == given.c.environment_id,
            Endpoint.id == given.c.endpoint_id,
            Endpoint.disabled.is_(False),
            Endpoint.deleted_at.is_(None),
            Environment.id == given.c.environment_id,
        )
        .values(disabled=True, disabled_reason=given.c.reason, revision=Endpoint.revision + 1, updated_at=func.now())
        .returning(
            Environment.organisation_id,
            Endpoint.environment_id,
            Endpoint.application_id,
            Endpoint.id,
            Endpoint.uid,
            given.c.reason,
        )
    )


@cache
def application_uids() -> Select[*tuple[Any, ...]]:
    """The uids of applications that have one."""
    given = unnest(environment_id=Uuid(), id=Uuid())
    table = table_of(Application)
    return (
        select(table.c.id, table.c.uid)
        .join(given, and_(table.c.environment_id == given.c.environment_id, table.c.id == given.c.id))
        .where(table.c.uid.is_not(None))
    )


@cache
def event_ids() -> Select[*tuple[Any, ...]]:
    """The event ids of messages that have one."""
    given = unnest(environment_id=Uuid(), id=Uuid())
    table = table_of(Message)
    return (
        select(table.c.id, table.c.event_id)
        .join(given, and_(table.c.environment_id == given.c.environment_id, table.c.id == given.c.id))
        .where(table.c.event_id.is_not(None))
    )


@cache
def send_times() -> Select[*tuple[Any, ...]]:
    """When messages were to be sent: as soon as they were accepted, or later."""
    given = unnest(environment_id=Uuid(), id=Uuid())
    table = table_of(Message)
    return select(table.c.id, func.coalesce(table.c.deliver_at, table.c.created_at).label("sent_at")).join(
        given, and_(table.c.environment_id == given.c.environment_id, table.c.id == given.c.id)
    )
