"""Statements of the claim: what is due, what may go, and taking it. Each is built once; parameters are arrays.

They cross organisations, as the workers do; every row names its own.
"""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    DateTime,
    Float,
    Insert,
    Integer,
    Interval,
    Select,
    SmallInteger,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningDelete

from app.kit.arrays import unnest
from app.kit.db import table_of
from app.kit.sql import Tid
from app.models import (
    Application,
    ApplicationRate,
    DueDelivery,
    DueState,
    Endpoint,
    EndpointGate,
    EndpointHealth,
    EndpointRate,
    EndpointSecret,
    Environment,
    Payload,
)

DUE = table_of(DueDelivery)
GATES = table_of(EndpointGate)
MOMENT = DateTime(timezone=True)
ENDPOINT_KEY = ("environment_id", "endpoint_id")
DUE_KEY = (*ENDPOINT_KEY, "message_id", "trigger")
GATE_KEY = (*ENDPOINT_KEY, "lane")
# Literals, so that the planner sees that the partial indexes serve.
NOT_HELD = DUE.c.state + literal_column("0") != literal_column(str(int(DueState.held)))
HELD = DUE.c.state == literal_column(str(int(DueState.held)))
SENDING = DUE.c.state == literal_column(str(int(DueState.sending)))


def tid() -> ColumnElement[str]:
    """Where a due delivery lies."""
    return literal_column("due_deliveries.ctid", type_=Tid())


DUE_ROW = (
    *(DUE.c[name] for name in ("environment_id", "endpoint_id", "message_id", "trigger", "application_id")),
    *(DUE.c[name] for name in ("lane", "attempt", "failures", "event_type", "expires_on")),
    DUE.c.state,
    cast(func.extract("epoch", func.now() - DUE.c.due_at), Float).label("late"),
    tid().label("tid"),
)


@cache
def ready() -> Select[*tuple[Any, ...]]:
    """The oldest `most` due deliveries of each lane that are not held, locked; what others have locked is passed over.

    `is_ours` says whether the lock of the endpoint is: until the commit no other claim counts what it may get.
    """
    given = unnest(lane=SmallInteger(), most=Integer())
    found = (
        select(*DUE_ROW)
        .where(DUE.c.lane == given.c.lane, NOT_HELD, DUE.c.due_at <= func.now())
        .order_by(DUE.c.due_at)
        .limit(given.c.most)
        .with_for_update(skip_locked=True)
        .lateral("found")
    )
    return select(*found.c, _try_lock(found.c.endpoint_id)).select_from(given).join(found, true())


def _try_lock(endpoint_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    key = func.hashtextextended(cast(endpoint_id, Text), literal_column("0"))
    return func.pg_try_advisory_xact_lock(key).label("is_ours")


@cache
def gates() -> Select[*tuple[Any, ...]]:
    """All gates of the given endpoints, and of the `most` that wait longest for a look at one of `lanes`; by lane.

    All of an endpoint, since its lanes share what may go. They are not locked: who holds the lock of an endpoint
    owns its gates.
    """
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid())
    due = (
        select(GATES.c.environment_id, GATES.c.endpoint_id)
        .where(GATES.c.lane == func.any(bindparam("lanes", type_=ARRAY(Integer))), GATES.c.next_at <= func.now())
        .order_by(GATES.c.next_at)
        .limit(bindparam("most", type_=Integer))
        .subquery("due")
    )
    keys = union(select(due), select(given)).subquery("keys")
    mine = and_(GATES.c.environment_id == keys.c.environment_id, GATES.c.endpoint_id == keys.c.endpoint_id)
    return select(*GATES.c).join(keys, mine).order_by(GATES.c.lane, GATES.c.next_at)


@cache
def held() -> Select[*tuple[Any, ...]]:
    """The oldest `most` held deliveries of each endpoint and lane, locked."""
    given = unnest(endpoint_id=Uuid(), lane=SmallInteger(), most=Integer())
    found = (
        select(*DUE_ROW)
        .where(DUE.c.endpoint_id == given.c.endpoint_id, DUE.c.lane == given.c.lane, HELD, DUE.c.due_at <= func.now())
        .order_by(DUE.c.due_at)
        .limit(given.c.most)
        .with_for_update(skip_locked=True)
        .lateral("found")
    )
    return select(*found.c).select_from(given).join(found, true())


@cache
def lock_endpoints() -> Select[UUID]:
    """Those of `endpoint_id` that no other claim is counting at this moment; they are ours until the commit."""
    given = unnest(endpoint_id=Uuid())
    # Materialised by OFFSET 0: the lock must be tried once for each row and not where the planner likes.
    tried = select(given.c.endpoint_id, _try_lock(given.c.endpoint_id)).offset(literal_column("0")).subquery("tried")
    return select(tried.c.endpoint_id).where(tried.c.is_ours)


@cache
def facts() -> Select[*tuple[Any, ...]]:
    """What admission must know of endpoints: configuration, health, rates, and how many are in flight."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid())
    flying = (
        select(func.count())
        .select_from(DUE)
        .where(DUE.c.endpoint_id == given.c.endpoint_id, SENDING, DUE.c.due_at > func.now())
        .scalar_subquery()
    )
    health = table_of(EndpointHealth)
    rates = table_of(EndpointRate)
    return (
        select(
            Endpoint.environment_id,
            Endpoint.id,
            Endpoint.application_id,
            Endpoint.revision,
            Endpoint.throttle_rate,
            (Endpoint.disabled | Endpoint.deleted_at.is_not(None)).label("is_closed"),
            Application.kind,
            Application.throttle_rate.label("owner_rate"),
            Environment.stopped_at.is_not(None).label("is_stopped"),
            *(health.c[name] for name in HEALTH),
            rates.c.rate_tat,
            flying.label("in_flight"),
            func.now().label("now"),
        )
        .select_from(given)
        .join(Endpoint, and_(Endpoint.environment_id == given.c.environment_id, Endpoint.id == given.c.endpoint_id))
        .join(
            Application,
            and_(Application.environment_id == Endpoint.environment_id, Application.id == Endpoint.application_id),
        )
        .join(Environment, Environment.id == Endpoint.environment_id)
        .outerjoin(
            health,
            and_(health.c.environment_id == given.c.environment_id, health.c.endpoint_id == given.c.endpoint_id),
        )
        .outerjoin(
            rates,
            and_(rates.c.environment_id == given.c.environment_id, rates.c.endpoint_id == given.c.endpoint_id),
        )
    )


HEALTH = ("consecutive_failures", "opened_times", "open_until", "probing", "slow_until", "fail_since")


@cache
def lock_owners() -> Select[*tuple[Any, ...]]:
    """Locks the rates of applications, which endpoints share; those that another claim uses are passed over."""
    rates = table_of(ApplicationRate)
    given = unnest(environment_id=Uuid(), application_id=Uuid())
    return (
        select(rates.c.environment_id, rates.c.application_id, rates.c.rate_tat)
        .join(
            given,
            and_(rates.c.environment_id == given.c.environment_id, rates.c.application_id == given.c.application_id),
        )
        .with_for_update(of=rates, skip_locked=True)
    )


@cache
def make_owner_rates() -> Insert:
    """Makes the rows that `lock_owners` locks. Where there is one it is not touched, lest we wait for its user."""
    given = unnest(environment_id=Uuid(), application_id=Uuid())
    rates = table_of(ApplicationRate)
    known = select(rates.c.application_id).where(
        rates.c.environment_id == given.c.environment_id, rates.c.application_id == given.c.application_id
    )
    return (
        insert(rates)
        .from_select(
            ["environment_id", "application_id"],
            select(given).where(~known.exists()).order_by(given.c.application_id),
        )
        .on_conflict_do_nothing()
    )


@cache
def take() -> Select[*tuple[Any, ...]]:
    """Leases deliveries that this transaction has locked for `lease`, and counts the attempt that starts.

    Returns the bytes of their messages, whose payloads expire on `day`: one partition at a time.
    """
    taken = (
        update(DUE)
        .where(_is_one_of())
        .values(
            state=cast(int(DueState.sending), SmallInteger),
            due_at=func.now() + bindparam("lease", type_=Interval),
            attempt=DUE.c.attempt + 1,
        )
        .returning(DUE.c.environment_id, DUE.c.message_id)
        .cte("taken")
    )
    # Once, however many endpoints a message goes to.
    sent = select(taken).distinct().subquery("sent")
    table = table_of(Payload)
    found = (
        select(table.c.content_type, table.c.body, table.c.traceparent, table.c.request_id)
        .where(
            table.c.environment_id == sent.c.environment_id,
            table.c.message_id == sent.c.message_id,
            table.c.expires_on == bindparam("day", type_=Date),
        )
        # Looked up one by one: a day begins empty, and is planned for as if it stayed so.
        .offset(literal_column("0"))
        .lateral("found")
    )
    return select(sent.c.message_id, *found.c).join(found, true())


@cache
def hold() -> Update:
    """Puts deliveries that this transaction has locked behind their endpoint's gate."""
    return update(DUE).where(_is_one_of()).values(state=cast(int(DueState.held), SmallInteger))


def _is_one_of() -> ColumnElement[bool]:
    return tid() == func.any(bindparam("tids", type_=ARRAY(Tid())))


@cache
def set_gates() -> Insert:
    """Makes or moves gates."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid(), lane=Integer(), application_id=Uuid(), next_at=MOMENT)
    made = insert(GATES).from_select(
        [one.key for one in given.c], select(given).order_by(given.c.endpoint_id, given.c.lane)
    )
    return made.on_conflict_do_update(
        index_elements=["environment_id", "endpoint_id", "lane"], set_={"next_at": made.excluded.next_at}
    )


@cache
def lock_gates() -> Select[*tuple[Any, ...]]:
    """Those of the gates that no ingest relies on at this moment, and none will until the commit."""
    given = _gate_key()
    return (
        select(*(GATES.c[name] for name in GATE_KEY))
        .join(given, _is_gate(given))
        .with_for_update(skip_locked=True, of=GATES)
    )


@cache
def remove_gates() -> ReturningDelete[*tuple[Any, ...]]:
    """Removes those of the gates that nothing waits behind; returns their keys."""
    waiting = select(DUE.c.lane).where(HELD, *_gate_of_due()).exists()
    return delete(GATES).where(_is_gate(_gate_key()), ~waiting).returning(*(GATES.c[name] for name in GATE_KEY))


def _gate_key() -> Any:  # noqa: ANN401 a table of arrays
    return unnest(environment_id=Uuid(), endpoint_id=Uuid(), lane=Integer())


def _is_gate(given: Any) -> Any:  # noqa: ANN401 a condition on the gate that the arrays name
    return and_(*(GATES.c[name] == given.c[name] for name in GATE_KEY))


@cache
def orphans() -> Insert:
    """Makes the gates that held deliveries lack; none do unless rows were moved by hand.

    Goes from endpoint to endpoint by the index, so that a million deliveries behind a gate cost no more than one.
    """
    columns = [DUE.c[name] for name in (*GATE_KEY, "application_id")]
    ordered = select(*columns).where(HELD).order_by(DUE.c.endpoint_id, DUE.c.lane).limit(literal_column("1"))
    waiting = select(ordered.subquery("first")).cte("waiting", recursive=True)
    beyond = tuple_(DUE.c.endpoint_id, DUE.c.lane) > tuple_(waiting.c.endpoint_id, waiting.c.lane)
    following = ordered.where(beyond).correlate(waiting).lateral("following")
    waiting = waiting.union_all(select(following).select_from(waiting.join(following, true())))
    known = select(GATES.c.lane).where(*(GATES.c[name] == waiting.c[name] for name in GATE_KEY))
    return (
        insert(GATES)
        .from_select([*(one.key for one in waiting.c), "next_at"], select(waiting, func.now()).where(~known.exists()))
        .on_conflict_do_nothing()
    )


def _gate_of_due() -> list[Any]:
    return [GATES.c[name] == DUE.c[name] for name in ("environment_id", "endpoint_id", "lane")]


@cache
def set_rates() -> Insert:
    """Stores what endpoints' rates have spent."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid(), rate_tat=MOMENT)
    made = insert(table_of(EndpointRate)).from_select(
        [one.key for one in given.c], select(given).order_by(given.c.endpoint_id)
    )
    return made.on_conflict_do_update(
        index_elements=["environment_id", "endpoint_id"], set_={"rate_tat": made.excluded.rate_tat}
    )


@cache
def set_owner_rates() -> Update:
    """Stores what applications' rates have spent."""
    rates = table_of(ApplicationRate)
    given = unnest(environment_id=Uuid(), application_id=Uuid(), rate_tat=MOMENT)
    return (
        update(rates)
        .where(rates.c.environment_id == given.c.environment_id, rates.c.application_id == given.c.application_id)
        .values(rate_tat=given.c.rate_tat)
    )


@cache
def destinations() -> Select[*tuple[Any, ...]]:
    """What sending to endpoints takes."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid())
    return (
        select(
            Endpoint.environment_id,
            Endpoint.id,
            Endpoint.revision,
            Endpoint.url,
            Endpoint.headers,
            Endpoint.header_style,
            Endpoint.ca_pem,
            Endpoint.retry_schedule,
            Environment.organisation_id,
        )
        .join(given, and_(Endpoint.environment_id == given.c.environment_id, Endpoint.id == given.c.endpoint_id))
        .join(Environment, Environment.id == Endpoint.environment_id)
    )


@cache
def secrets() -> Select[*tuple[Any, ...]]:
    """The live signing secrets of endpoints, newest first."""
    given = unnest(environment_id=Uuid(), endpoint_id=Uuid())
    table = table_of(EndpointSecret)
    return (
        select(table.c.endpoint_id, table.c.secret, table.c.expires_at)
        .join(
            given,
            and_(table.c.environment_id == given.c.environment_id, table.c.endpoint_id == given.c.endpoint_id),
        )
        .where(table.c.expires_at.is_(None) | (table.c.expires_at > func.now()))
        .order_by(table.c.endpoint_id, table.c.id.desc())
    )
