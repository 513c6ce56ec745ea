"""Statements of the one way in. Each takes arrays, is built once, and names its tenants in its rows."""

from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Date,
    DateTime,
    Delete,
    FromClause,
    Insert,
    Integer,
    LargeBinary,
    Select,
    SmallInteger,
    TableValuedAlias,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from app.kit.arrays import unnest
from app.kit.db import table_of
from app.models import (
    Application,
    DueDelivery,
    DueState,
    Endpoint,
    EndpointGate,
    EventType,
    IdempotencyKey,
    Lane,
    Message,
    MessageEventId,
    Organisation,
    Payload,
    Trigger,
)

MOMENT = DateTime(timezone=True)
KEYS_KEPT = timedelta(hours=24)


APPS, ENDPOINTS, GATES = table_of(Application), table_of(Endpoint), table_of(EndpointGate)
BY_ID = ("organisation_id", "id")
BY_UID = ("owner_id", "uid")


@cache
def targets() -> Select[*tuple[Any, ...]]:
    """The live applications that ids of organisations or uids of owners name, each with its enabled endpoints.

    Of an application without one there is a row whose `endpoint_id` is null. `has_gate` says that deliveries wait
    before the endpoint at this moment.
    """
    by_id = unnest(organisation_id=Uuid(), id=Uuid())
    by_uid = unnest(owner_id=Uuid(), uid=Text())
    named = union_all(
        _applications(by_id, APPS.c.organisation_id == by_id.c.organisation_id, APPS.c.id == by_id.c.id),
        _applications(by_uid, APPS.c.organisation_id == by_uid.c.owner_id, APPS.c.uid == by_uid.c.uid),
    ).subquery("named")
    endpoint = _looked_up(
        select(
            ENDPOINTS.c.id.label("endpoint_id"),
            ENDPOINTS.c.event_types,
            ENDPOINTS.c.channels,
            ENDPOINTS.c.feature_flags,
            ENDPOINTS.c.retry_schedule[1].label("first_delay"),
            func.coalesce(ENDPOINTS.c.throttle_rate, named.c.throttle_rate).is_not(None).label("is_limited"),
            _has_gate().label("has_gate"),
        ).where(
            ENDPOINTS.c.organisation_id == named.c.organisation_id,
            ENDPOINTS.c.application_id == named.c.id,
            ENDPOINTS.c.disabled.is_(False),
            ENDPOINTS.c.deleted_at.is_(None),
        ),
        "endpoint",
    )
    return select(named, *endpoint.c).select_from(named).outerjoin(endpoint, true())


def _applications(given: TableValuedAlias, *is_named: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    columns = (
        APPS.c.organisation_id,
        APPS.c.id,
        APPS.c.uid,
        APPS.c.kind,
        APPS.c.throttle_rate,
    )
    found = _looked_up(select(*columns).where(*is_named, APPS.c.deleted_at.is_(None)), "application")
    return select(*found.c).select_from(given).join(found, true())


def _looked_up(statement: Select[*tuple[Any, ...]], name: str) -> FromClause:
    # Fenced by OFFSET 0, so that each row is looked up by its whole key: joined where the planner likes, all that the
    # organisations have is read for each message while the tables are young.
    return statement.offset(literal_column("0")).lateral(name)


def _has_gate() -> ColumnElement[bool]:
    is_its = and_(
        GATES.c.organisation_id == ENDPOINTS.c.organisation_id,
        GATES.c.endpoint_id == ENDPOINTS.c.id,
        GATES.c.lane == Lane.first,
    )
    return select(GATES.c.lane).where(is_its).exists()


@cache
def insert_application() -> Insert:
    """Makes an application unless its uid is taken, by this transaction or one at the same time."""
    names = ("organisation_id", "id", "uid", "name", "throttle_rate", "metadata")
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return insert(table_of(Application)).values(values).on_conflict_do_nothing()


@cache
def gates() -> Select[*tuple[Any, ...]]:
    """Which of `endpoints` have held deliveries; the share lock keeps those gates until the commit.

    A gate that a worker is removing is passed over: the delivery is then ready, and held later if need be.
    """
    return (
        select(EndpointGate.endpoint_id)
        .where(
            EndpointGate.organisation_id == func.any(bindparam("organisations", type_=ARRAY(Uuid))),
            EndpointGate.endpoint_id == func.any(bindparam("endpoints", type_=ARRAY(Uuid))),
            EndpointGate.lane == Lane.first,
        )
        .order_by(EndpointGate.endpoint_id)
        .with_for_update(key_share=True, read=True, skip_locked=True)
    )


@cache
def event_type_flags() -> Select[*tuple[Any, ...]]:
    """The feature flags of `names`."""
    return select(EventType.organisation_id, EventType.name, EventType.feature_flags).where(
        EventType.organisation_id == func.any(bindparam("organisations", type_=ARRAY(Uuid))),
        EventType.name == func.any(bindparam("names", type_=ARRAY(Text))),
        EventType.feature_flags.is_not(None),
    )


@cache
def idempotency_keys() -> Select[*tuple[Any, ...]]:
    """What was answered to `keys`."""
    return select(IdempotencyKey.key, IdempotencyKey.body_digest, IdempotencyKey.status, IdempotencyKey.response).where(
        IdempotencyKey.organisation_id == func.any(bindparam("organisations", type_=ARRAY(Uuid))),
        IdempotencyKey.key == func.any(bindparam("keys", type_=ARRAY(LargeBinary))),
    )


@cache
def release_idempotency_keys() -> Delete:
    """Gives back keys that this transaction took for requests that are refused after all."""
    given = unnest(organisation_id=Uuid(), key=LargeBinary())
    return delete(table_of(IdempotencyKey)).where(
        IdempotencyKey.organisation_id == given.c.organisation_id, IdempotencyKey.key == given.c.key
    )


MESSAGE = (
    "place",
    "organisation_id",
    "id",
    "application_id",
    "event_type",
    "event_id",
    "channels",
    "tags",
    "deliver_at",
    "created_at",
    "payload_expires_at",
    "fan_out",
    "content_type",
    "body",
    "key",
    "body_digest",
    "status",
    "response",
)
OWED = ("of", "endpoint_id", "state", "first_delay")


@cache
def store() -> Select[int, bool]:
    """Stores messages with the bytes to be sent, and owes them to endpoints, in one statement.

    A message whose idempotency key somebody holds, or whose event id its application has, is refused: returns the
    places of these, and whether it was for the event id. No key is in it twice. Lists come as JSON text, the fan-out
    as an array's text; `of` is the place of the message that is owed.
    """
    given = unnest(
        place=Integer(),
        organisation_id=Uuid(),
        id=Uuid(),
        application_id=Uuid(),
        event_type=Text(),
        event_id=Text(),
        channels=Text(),
        tags=Text(),
        deliver_at=MOMENT,
        created_at=MOMENT,
        payload_expires_at=MOMENT,
        fan_out=Text(),
        content_type=Text(),
        body=LargeBinary(),
        key=LargeBinary(),
        body_digest=LargeBinary(),
        status=SmallInteger(),
        response=LargeBinary(),
    )
    expires_on = cast(func.timezone("UTC", given.c.payload_expires_at), Date).label("expires_on")
    asked = select(given, expires_on).cte("asked")
    keys = _take_keys(asked).cte("keys")
    fresh = select(asked).where(or_(asked.c.key.is_(None), asked.c.key.in_(select(keys.c.key)))).cte("fresh")
    names = _take_event_ids(fresh).cte("names")
    message = (
        select(fresh).where(or_(fresh.c.event_id.is_(None), fresh.c.id.in_(select(names.c.message_id)))).cte("message")
    )
    refused = select(asked.c.place, asked.c.place.in_(select(fresh.c.place)).label("is_for_event_id")).where(
        asked.c.place.not_in(select(message.c.place))
    )
    made = (_insert_messages(message), _insert_payloads(message), _owe(message))
    return refused.add_cte(*(one.cte(name) for one, name in zip(made, ("stored", "kept", "owed"), strict=True)))


def _take_keys(asked: CTE) -> Insert:
    """Takes the keys that nobody holds, or held a day ago, in order; waits for whoever is taking the same one."""
    table = table_of(IdempotencyKey)
    names = ("organisation_id", "key", "body_digest", "status", "response")
    given = select(*(asked.c[name] for name in names)).where(asked.c.key.is_not(None)).order_by(asked.c.key)
    new = insert(table).from_select(names, given)
    fresh = {name: new.excluded[name] for name in ("body_digest", "status", "response", "created_at")}
    return new.on_conflict_do_update(
        index_elements=["organisation_id", "key"], set_=fresh, where=table.c.created_at < func.now() - KEYS_KEPT
    ).returning(table.c.key)


def _take_event_ids(fresh: CTE) -> Insert:
    """Takes the event ids that are free in their application, in order."""
    table = table_of(MessageEventId)
    names = ("organisation_id", "application_id", "event_id")
    given = (
        select(*(fresh.c[name] for name in names), fresh.c.id)
        .where(fresh.c.event_id.is_not(None))
        .order_by(fresh.c.application_id, fresh.c.event_id)
    )
    made = insert(table).from_select([*names, "message_id"], given).on_conflict_do_nothing()
    return made.returning(table.c.message_id)


def _insert_messages(given: CTE) -> Insert:
    table = table_of(Message)
    casts: dict[str, Any] = {"channels": JSONB, "tags": JSONB, "fan_out": ARRAY(Uuid)}
    names = [one.key for one in given.c if one.key in table.c]
    columns = [cast(given.c[name], casts[name]) if name in casts else given.c[name] for name in names]
    return insert(table).from_select(names, select(*columns))


def _insert_payloads(given: CTE) -> Insert:
    names = ("organisation_id", "id", "expires_on", "content_type", "body")
    columns = ["organisation_id", "message_id", *names[2:]]
    return insert(table_of(Payload)).from_select(columns, select(*(given.c[name] for name in names)))


def _owe(message: CTE) -> Insert:
    """Owes from now on or from `deliver_at`, after what the retry schedule says before the first try.

    `first_delay` is the endpoint's, which wins over the event type's over the organisation's. What is not due yet
    waits by its time, and meets the gate when the time has come.
    """
    given = unnest(of=Integer(), endpoint_id=Uuid(), state=SmallInteger(), first_delay=Integer())
    kind, owner = table_of(EventType), table_of(Organisation)
    delay = func.coalesce(given.c.first_delay, kind.c.retry_schedule[1], owner.c.retry_schedule[1], 0)
    # The same jitter as between tries.
    wait = delay * literal_column("(0.8 + 0.4 * random()) * interval '1 second'")
    is_later = or_(delay > 0, message.c.deliver_at > func.now())
    values: dict[str, Any] = {
        "organisation_id": message.c.organisation_id,
        "endpoint_id": given.c.endpoint_id,
        "message_id": message.c.id,
        "application_id": message.c.application_id,
        "expires_on": message.c.expires_on,
        "event_type": message.c.event_type,
        "state": case((is_later, _small(DueState.ready)), else_=given.c.state),
        "due_at": func.greatest(func.now(), message.c.deliver_at) + wait,
        "trigger": _small(Trigger.scheduled),
        "lane": _small(Lane.first),
        "attempt": _small(0),
        "failures": _small(0),
    }
    is_of_kind = and_(kind.c.organisation_id == message.c.organisation_id, kind.c.name == message.c.event_type)
    owed = (
        select(*values.values())
        .select_from(given)
        .join(message, message.c.place == given.c.of)
        .join(owner, owner.c.id == message.c.organisation_id)
        .outerjoin(kind, is_of_kind)
    )
    return insert(table_of(DueDelivery)).from_select(list(values), owed)


def _small(value: int) -> Any:  # noqa: ANN401 a constant of a column's type
    return cast(int(value), SmallInteger)


@cache
def open_gates() -> Insert:
    """Makes gates for endpoints whose rate is limited, so that their deliveries are served from there.

    Where there is one it is not touched, lest the whole batch wait for the claim that moves it.
    """
    given = unnest(organisation_id=Uuid(), endpoint_id=Uuid(), application_id=Uuid())
    known = select(EndpointGate.lane).where(
        EndpointGate.organisation_id == given.c.organisation_id,
        EndpointGate.endpoint_id == given.c.endpoint_id,
        EndpointGate.lane == Lane.first,
    )
    return (
        insert(table_of(EndpointGate))
        .from_select(
            ["organisation_id", "endpoint_id", "application_id", "lane", "next_at"],
            select(given, cast(int(Lane.first), Integer), func.now())
            .where(~known.exists())
            .order_by(given.c.endpoint_id),
        )
        .on_conflict_do_nothing()
    )


@cache
def ensure_partitions() -> Select[*tuple[Any, ...]]:
    """Makes the partitions of `days` (messages) and `expiries` (payloads) that are missing."""
    return select(
        func.ensure_partitions(bindparam("days", type_=ARRAY(Date)), bindparam("expiries", type_=ARRAY(Date)))
    )
