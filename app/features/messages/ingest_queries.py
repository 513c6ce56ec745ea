"""Statements of the one way in. Each takes arrays, is built once, and names its tenants in its rows."""

from datetime import timedelta
from enum import IntEnum
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    CompoundSelect,
    Date,
    DateTime,
    Delete,
    FromClause,
    Insert,
    Integer,
    LargeBinary,
    Select,
    SmallInteger,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
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
    Environment,
    EventType,
    IdempotencyKey,
    Lane,
    Message,
    MessageEventId,
    Payload,
    Trigger,
)

MOMENT = DateTime(timezone=True)
KEYS_KEPT = timedelta(hours=24)


APPS, ENDPOINTS, GATES = table_of(Application), table_of(Endpoint), table_of(EndpointGate)
KINDS, OWNERS = table_of(EventType), table_of(Environment)
NAMES = ("place", "environment_id", "named_id", "named_uid", "kind")


@cache
def named() -> Select[int, UUID, bool]:
    """The live applications of a kind that ids or uids name: the place of the name, the id, and whether a uid did."""
    given = unnest(place=Integer(), environment_id=Uuid(), named_id=Uuid(), named_uid=Text(), kind=Text())
    found = _application(given)
    return select(given.c.place, found.c.id, found.c.is_by_uid).join(found, found.c.deleted_at.is_(None))


def _application(given: FromClause) -> FromClause:
    """The application that each row names, by `named_id` or by `named_uid`; deleted ones, too.

    Were these left out here, the index of the uids that are taken would do for the ids, and would be read for all of an
    organisation's applications.
    """
    columns = (APPS.c.id, APPS.c.throttle_rate, APPS.c.deleted_at)
    its = (APPS.c.environment_id == given.c.environment_id, APPS.c.kind == given.c.kind)
    by_id = select(*columns, literal_column("false").label("is_by_uid")).where(*its, APPS.c.id == given.c.named_id)
    by_uid = select(*columns, literal_column("true").label("is_by_uid")).where(
        *its, APPS.c.uid == given.c.named_uid, APPS.c.deleted_at.is_(None)
    )
    return _looked_up(union_all(by_id, by_uid), "application")


def _looked_up(statement: Select[*tuple[Any, ...]] | CompoundSelect[*tuple[Any, ...]], name: str) -> FromClause:
    # Fenced by OFFSET 0, so that each row is looked up by its whole key: joined where the planner likes, all that the
    # organisations have is read for each message while the tables are young.
    return statement.offset(literal_column("0")).lateral(name)


@cache
def insert_application() -> Insert:
    """Makes an application unless its uid is taken, by this transaction or one at the same time."""
    names = ("environment_id", "id", "uid", "name", "throttle_rate", "metadata")
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return insert(table_of(Application)).values(values).on_conflict_do_nothing()


@cache
def idempotency_keys() -> Select[*tuple[Any, ...]]:
    """What was answered to `keys`."""
    return select(IdempotencyKey.key, IdempotencyKey.body_digest, IdempotencyKey.status, IdempotencyKey.response).where(
        IdempotencyKey.environment_id == func.any(bindparam("organisations", type_=ARRAY(Uuid))),
        IdempotencyKey.key == func.any(bindparam("keys", type_=ARRAY(LargeBinary))),
    )


@cache
def release_idempotency_keys() -> Delete:
    """Gives back keys that this transaction took for requests that are refused after all."""
    given = unnest(environment_id=Uuid(), key=LargeBinary())
    return delete(table_of(IdempotencyKey)).where(
        IdempotencyKey.environment_id == given.c.environment_id, IdempotencyKey.key == given.c.key
    )


MESSAGE = (
    *NAMES,
    "id",
    "event_type",
    "event_id",
    "channels",
    "tags",
    "deliver_at",
    "created_at",
    "payload_expires_at",
    "only",
    "content_type",
    "body",
    "traceparent",
    "request_id",
    "key",
    "body_digest",
    "status",
    "response",
)


class Outcome(IntEnum):
    """What came of a message that was to be stored."""

    stored = 0
    unknown = 1
    repeated = 2
    taken = 3


@cache
def store() -> Select[int, int, int, UUID | None]:
    """Stores messages with the bytes to be sent, and owes them to the endpoints that listen, in one statement.

    Returns the outcome of each by its place, to how many endpoints a stored one is owed, and its application. One is
    `unknown` whose application is not found, `repeated` whose idempotency key somebody holds, `taken` whose event id
    its application has. No key is in it twice. Channels come as an array's text, tags as JSON text; `only` limits a
    message to one endpoint, whatever that subscribes to.
    """
    asked = _ask().cte("asked")
    keys = _take_keys(asked).cte("keys")
    is_fresh = or_(asked.c.key.is_(None), asked.c.key.in_(select(keys.c.key)))
    fresh = select(asked).where(asked.c.application_id.is_not(None), is_fresh).cte("fresh")
    names = _take_event_ids(fresh).cte("names")
    message = _address(fresh, names).cte("message")
    owed = _list_owed(message).cte("owed")
    made, kept = _make_gates(owed).cte("made"), _keep_gates(owed).cte("kept")
    refused = case(
        (asked.c.application_id.is_(None), int(Outcome.unknown)),
        (asked.c.place.in_(select(fresh.c.place)), int(Outcome.taken)),
        else_=int(Outcome.repeated),
    )
    answer = union_all(
        select(
            message.c.place,
            literal_column(str(int(Outcome.stored))).label("outcome"),
            func.coalesce(func.cardinality(message.c.endpoint_ids), 0).label("endpoints"),
            message.c.application_id,
        ),
        select(asked.c.place, refused, literal_column("0"), asked.c.application_id).where(
            asked.c.place.not_in(select(message.c.place))
        ),
    ).subquery("answer")
    stored = {
        "stored": _insert_messages(message),
        "payload": _insert_payloads(message),
        "due": _owe(owed, union_all(select(made.c.endpoint_id), select(kept.c.endpoint_id))),
    }
    return select(answer).add_cte(*(statement.cte(name) for name, statement in stored.items()))


def _ask() -> Select[*tuple[Any, ...]]:
    """What is given, with the application that it names."""
    given = unnest(
        place=Integer(),
        environment_id=Uuid(),
        named_id=Uuid(),
        named_uid=Text(),
        kind=Text(),
        id=Uuid(),
        event_type=Text(),
        event_id=Text(),
        channels=Text(),
        tags=Text(),
        deliver_at=MOMENT,
        created_at=MOMENT,
        payload_expires_at=MOMENT,
        only=Uuid(),
        content_type=Text(),
        body=LargeBinary(),
        traceparent=LargeBinary(),
        request_id=Text(),
        key=LargeBinary(),
        body_digest=LargeBinary(),
        status=SmallInteger(),
        response=LargeBinary(),
    )
    application = _application(given)
    known = [one for one in given.c if one.key not in {"named_id", "named_uid", "kind", "channels"}]
    return (
        select(
            *known,
            cast(given.c.channels, ARRAY(Text)).label("channels"),
            cast(func.timezone("UTC", given.c.payload_expires_at), Date).label("expires_on"),
            application.c.id.label("application_id"),
            application.c.throttle_rate,
        )
        .select_from(given)
        .outerjoin(application, application.c.deleted_at.is_(None))
    )


def _take_keys(asked: CTE) -> Insert:
    """Takes the keys that nobody holds, or held a day ago, in order; waits for whoever is taking the same one."""
    table = table_of(IdempotencyKey)
    names = ("environment_id", "key", "body_digest", "status", "response")
    is_asked = and_(asked.c.key.is_not(None), asked.c.application_id.is_not(None))
    given = select(*(asked.c[name] for name in names)).where(is_asked).order_by(asked.c.key)
    new = insert(table).from_select(names, given)
    fresh = {name: new.excluded[name] for name in ("body_digest", "status", "response", "created_at")}
    return new.on_conflict_do_update(
        index_elements=["environment_id", "key"], set_=fresh, where=table.c.created_at < func.now() - KEYS_KEPT
    ).returning(table.c.key)


def _take_event_ids(fresh: CTE) -> Insert:
    """Takes the event ids that are free in their application, in order."""
    table = table_of(MessageEventId)
    names = ("environment_id", "application_id", "event_id")
    given = (
        select(*(fresh.c[name] for name in names), fresh.c.id)
        .where(fresh.c.event_id.is_not(None))
        .order_by(fresh.c.application_id, fresh.c.event_id)
    )
    made = insert(table).from_select([*names, "message_id"], given).on_conflict_do_nothing()
    return made.returning(table.c.message_id)


def _address(fresh: CTE, names: CTE) -> Select[*tuple[Any, ...]]:
    """The messages whose event id is free, each with the endpoints that it goes to, in arrays of the same order."""
    kind = _looked_up(
        select(KINDS.c.feature_flags, KINDS.c.retry_schedule[1].label("first_delay")).where(
            KINDS.c.environment_id == fresh.c.environment_id, KINDS.c.name == fresh.c.event_type
        ),
        "kind",
    )
    owner = _looked_up(
        select(OWNERS.c.retry_schedule[1].label("first_delay")).where(OWNERS.c.id == fresh.c.environment_id), "owner"
    )
    listens = _listens(fresh.c, kind.c.feature_flags)
    delay = func.coalesce(ENDPOINTS.c.retry_schedule[1], kind.c.first_delay, owner.c.first_delay, 0)
    rate = func.coalesce(ENDPOINTS.c.throttle_rate, fresh.c.throttle_rate)
    listeners = (
        select(
            func.array_agg(ENDPOINTS.c.id, type_=ARRAY(Uuid)).label("endpoint_ids"),
            func.array_agg(delay, type_=ARRAY(Integer)).label("delays"),
            func.array_agg(rate.is_not(None), type_=ARRAY(Boolean)).label("are_limited"),
            func.array_agg(_has_gate(), type_=ARRAY(Boolean)).label("have_gate"),
        )
        .where(
            ENDPOINTS.c.environment_id == fresh.c.environment_id,
            ENDPOINTS.c.application_id == fresh.c.application_id,
            ENDPOINTS.c.disabled.is_(False),
            ENDPOINTS.c.deleted_at.is_(None),
            case((fresh.c.only.is_not(None), ENDPOINTS.c.id == fresh.c.only), else_=listens),
        )
        .lateral("listeners")
    )
    return (
        select(fresh, *listeners.c)
        .select_from(fresh)
        .outerjoin(kind, true())
        .join(owner, true())
        .join(listeners, true())
        .where(or_(fresh.c.event_id.is_(None), fresh.c.id.in_(select(names.c.message_id))))
    )


def _listens(message: Any, flags: ColumnElement[Any]) -> ColumnElement[bool]:  # noqa: ANN401 columns of messages
    """What `app.domain.filters.matches` says, of an endpoint that is not disabled."""
    types, channels = ENDPOINTS.c.event_types, ENDPOINTS.c.channels
    return and_(
        or_(types.is_(None), func.cardinality(types) == 0, message.event_type == func.any(types)),
        or_(channels.is_(None), func.cardinality(channels) == 0, channels.op("&&")(message.channels)),
        or_(
            ENDPOINTS.c.feature_flags.is_(None),
            func.coalesce(func.cardinality(flags), 0) == 0,
            ENDPOINTS.c.feature_flags.op("&&")(flags),
        ),
    )


def _has_gate() -> ColumnElement[bool]:
    return (
        select(GATES.c.lane)
        .where(
            GATES.c.environment_id == ENDPOINTS.c.environment_id,
            GATES.c.endpoint_id == ENDPOINTS.c.id,
            GATES.c.lane == Lane.first,
        )
        .exists()
    )


def _list_owed(message: CTE) -> Select[*tuple[Any, ...]]:
    """A row for each delivery."""
    names = ("environment_id", "application_id", "expires_on", "event_type", "deliver_at")
    one = (
        func.unnest(message.c.endpoint_ids, message.c.delays, message.c.are_limited, message.c.have_gate)
        .table_valued(
            column("endpoint_id", Uuid),
            column("delay", Integer),
            column("is_limited", Boolean),
            column("has_gate", Boolean),
            name="one",
        )
        .render_derived()
    )
    columns = [message.c[name] for name in names]
    return select(message.c.id.label("message_id"), *columns, *one.c).select_from(message).join(one, true())


def _make_gates(owed: CTE) -> Insert:
    """Makes gates for endpoints whose rate is limited, so that their deliveries are served from there.

    Where there is one it is not touched, lest the whole batch wait for the claim that moves it.
    """
    columns = (owed.c.environment_id, owed.c.endpoint_id, owed.c.application_id)
    missing = (
        select(*columns, cast(int(Lane.first), Integer), func.now())
        .where(owed.c.is_limited, ~owed.c.has_gate)
        .distinct()
        .order_by(owed.c.endpoint_id)
    )
    names = ["environment_id", "endpoint_id", "application_id", "lane", "next_at"]
    return insert(GATES).from_select(names, missing).on_conflict_do_nothing().returning(GATES.c.endpoint_id)


def _keep_gates(owed: CTE) -> Select[UUID]:
    """The gates that stand; the share lock keeps them until the commit.

    One that a worker is removing is passed over: the delivery is then ready, and held later if need be.
    """
    behind = select(owed.c.environment_id, owed.c.endpoint_id).where(owed.c.has_gate).distinct().subquery("behind")
    gate = _looked_up(
        select(GATES.c.endpoint_id)
        .where(
            GATES.c.environment_id == behind.c.environment_id,
            GATES.c.endpoint_id == behind.c.endpoint_id,
            GATES.c.lane == Lane.first,
        )
        .with_for_update(key_share=True, read=True, skip_locked=True),
        "gate",
    )
    return select(gate.c.endpoint_id).select_from(behind).join(gate, true())


def _insert_messages(given: CTE) -> Insert:
    table = table_of(Message)
    columns = {one.key: given.c[one.key] for one in table.c if one.key in given.c} | {
        "channels": func.to_jsonb(given.c.channels),
        "tags": cast(given.c.tags, JSONB),
        "fan_out": func.coalesce(given.c.endpoint_ids, literal_column("'{}'::uuid[]")),
    }
    return insert(table).from_select(list(columns), select(*columns.values()))


def _insert_payloads(given: CTE) -> Insert:
    names = ("environment_id", "id", "expires_on", "content_type", "body", "traceparent", "request_id")
    columns = ["environment_id", "message_id", *names[2:]]
    return insert(table_of(Payload)).from_select(columns, select(*(given.c[name] for name in names)))


def _owe(owed: CTE, held: CompoundSelect[UUID]) -> Insert:
    """Owes from now on or from `deliver_at`, after what the retry schedule says before the first try.

    An endpoint's schedule wins over the event type's over the organisation's. What is not due yet waits by its time,
    and meets the gate when the time has come.
    """
    # The same jitter as between tries.
    wait = owed.c.delay * literal_column("(0.8 + 0.4 * random()) * interval '1 second'")
    is_later = or_(owed.c.delay > 0, owed.c.deliver_at > func.now())
    is_held = and_(owed.c.endpoint_id.in_(held), is_later.is_not(true()))
    values: dict[str, Any] = {
        "environment_id": owed.c.environment_id,
        "endpoint_id": owed.c.endpoint_id,
        "message_id": owed.c.message_id,
        "application_id": owed.c.application_id,
        "expires_on": owed.c.expires_on,
        "event_type": owed.c.event_type,
        "state": case((is_held, _small(DueState.held)), else_=_small(DueState.ready)),
        "due_at": func.greatest(func.now(), owed.c.deliver_at) + wait,
        "trigger": _small(Trigger.scheduled),
        "lane": _small(Lane.first),
        "attempt": _small(0),
        "failures": _small(0),
    }
    return insert(table_of(DueDelivery)).from_select(list(values), select(*values.values()))


def _small(value: int) -> Any:  # noqa: ANN401 a constant of a column's type
    return cast(int(value), SmallInteger)


@cache
def ensure_partitions() -> Select[*tuple[Any, ...]]:
    """Makes the partitions of `days` (messages) and `expiries` (payloads) that are missing."""
    return select(
        func.ensure_partitions(bindparam("days", type_=ARRAY(Date)), bindparam("expiries", type_=ARRAY(Date)))
    )
