"""Statements about endpoints; the tenant comes first in each."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Select,
    Update,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from app.domain.ids import decode
from app.domain.lifecycle import RESTORABLE
from app.models import (
    Delivery,
    DueDelivery,
    DueState,
    Endpoint,
    EndpointGate,
    EndpointHealth,
    EndpointSecret,
    EventType,
    Status,
    Trigger,
)

ENDPOINT = "ep"


def of_application(environment_id: UUID, application_id: UUID) -> Select[Endpoint]:
    """The endpoints of an application that are not deleted, in no order."""
    return select(Endpoint).where(*_mine(environment_id, application_id))


def find(environment_id: UUID, application_id: UUID, reference: str) -> Select[Endpoint]:
    """The endpoint of this id or uid; an id wins over a uid that reads like it."""
    endpoint_id = decode(ENDPOINT, reference)
    named = Endpoint.uid == reference
    if endpoint_id is None:
        return of_application(environment_id, application_id).where(named)
    by_id = Endpoint.id == endpoint_id
    return of_application(environment_id, application_id).where(or_(by_id, named)).order_by(by_id.desc()).limit(1)


def add(values: Mapping[str, Any]) -> Insert:
    """Adds an endpoint; no row comes back when its uid is taken."""
    return (
        upsert(Endpoint)
        .values(**values)
        .on_conflict_do_nothing(
            index_elements=["environment_id", "application_id", "uid"], index_where=text("deleted_at IS NULL")
        )
        .returning(Endpoint)
    )


def change(environment_id: UUID, endpoint_id: UUID | None, values: Mapping[str, Any]) -> Update:
    """The one way in which a caller changes an endpoint's row, secrets or headers: its revision rises with it."""
    return (
        update(Endpoint)
        .where(Endpoint.environment_id == environment_id, Endpoint.id == endpoint_id)
        .values(**values, revision=Endpoint.revision + 1)
        .returning(Endpoint)
        .execution_options(populate_existing=True)
    )


def deleted(environment_id: UUID, application_id: UUID) -> Select[Endpoint]:
    """The endpoints of an application that can be restored, in no order."""
    return select(Endpoint).where(
        Endpoint.environment_id == environment_id,
        Endpoint.application_id == application_id,
        Endpoint.deleted_at > func.now() - RESTORABLE,
    )


def restore(environment_id: UUID, application_id: UUID, reference: str, values: Mapping[str, Any]) -> Update:
    """Brings back an endpoint that can be restored, by its id, changed as given."""
    values = {**values, "deleted_at": None}
    return change(environment_id, decode(ENDPOINT, reference), values).where(
        Endpoint.application_id == application_id, Endpoint.deleted_at > func.now() - RESTORABLE
    )


def now() -> ColumnElement[datetime]:
    """The database's clock, as a value."""
    return func.now()


def moment() -> Select[datetime]:
    """The database's clock, as a statement."""
    return select(now())


def known_event_types(environment_id: UUID, names: Sequence[str], flags: Sequence[str] | None) -> Select[str]:
    """Which of these event types there are; with `flags`, only those that are open to a holder of the flags."""
    found = select(EventType.name).where(EventType.environment_id == environment_id, EventType.name.in_(names))
    if flags is None:
        return found
    open_to_all = func.coalesce(func.cardinality(EventType.feature_flags), 0) == 0
    return found.where(or_(open_to_all, EventType.feature_flags.bool_op("&&")(list(flags))))


def spend_example(environment_id: UUID, endpoint_id: UUID, tat: datetime) -> Update:
    """Remembers that an example was sent, which changes nothing that a worker or a reader sees."""
    return (
        update(Endpoint)
        .where(Endpoint.environment_id == environment_id, Endpoint.id == endpoint_id)
        .values(example_tat=tat, updated_at=Endpoint.updated_at)
    )


def event_type(environment_id: UUID, name: str) -> Select[EventType]:
    """An event type by its name."""
    return select(EventType).where(EventType.environment_id == environment_id, EventType.name == name)


def live_secrets(environment_id: UUID, endpoint_id: UUID) -> Select[EndpointSecret]:
    """The signing secrets that are in use, the newest first."""
    return (
        select(EndpointSecret)
        .where(
            EndpointSecret.environment_id == environment_id,
            EndpointSecret.endpoint_id == endpoint_id,
            or_(EndpointSecret.expires_at.is_(None), EndpointSecret.expires_at > func.now()),
        )
        .order_by(EndpointSecret.expires_at.desc().nulls_first(), EndpointSecret.id.desc())
    )


def add_secret(environment_id: UUID, endpoint_id: UUID, secret_id: UUID, blob: bytes) -> Insert:
    """Adds the current secret."""
    return insert(EndpointSecret).values(
        environment_id=environment_id, endpoint_id=endpoint_id, id=secret_id, secret=blob
    )


def retire_secret(environment_id: UUID, endpoint_id: UUID, grace: timedelta) -> Update:
    """Lets the current secret live on for the grace period only, by the database's clock."""
    return (
        update(EndpointSecret)
        .where(
            EndpointSecret.environment_id == environment_id,
            EndpointSecret.endpoint_id == endpoint_id,
            EndpointSecret.expires_at.is_(None),
        )
        .values(expires_at=func.now() + grace)
    )


def drop_expired_secrets(environment_id: UUID, endpoint_id: UUID) -> Delete:
    """Deletes the secrets whose grace period is over."""
    return delete(EndpointSecret).where(
        EndpointSecret.environment_id == environment_id,
        EndpointSecret.endpoint_id == endpoint_id,
        EndpointSecret.expires_at <= func.now(),
    )


def forget_health(environment_id: UUID, endpoint_id: UUID) -> Update:
    """Lets an endpoint start afresh; its rate goes on."""
    return (
        update(EndpointHealth)
        .where(EndpointHealth.environment_id == environment_id, EndpointHealth.endpoint_id == endpoint_id)
        .values(
            consecutive_failures=0, opened_times=0, open_until=None, probing=False, slow_until=None, fail_since=None
        )
    )


def open_gates(environment_id: UUID, endpoint_id: UUID) -> Update:
    """Lets what waits behind an endpoint's gates, for a health that is forgotten, be looked at now."""
    return (
        update(EndpointGate)
        .where(EndpointGate.environment_id == environment_id, EndpointGate.endpoint_id == endpoint_id)
        .values(next_at=func.now())
    )


def count_open(environment_id: UUID, endpoint_id: UUID, first: UUID, last: UUID) -> Select[int, int]:
    """(status, count) of the scheduled deliveries that are pending or being sent, for messages of this id range."""
    sending = and_(DueDelivery.state == DueState.sending, DueDelivery.due_at > func.now())
    status = case((sending, int(Status.sending)), else_=int(Status.pending)).label("status")
    return (
        select(status, func.count())
        .where(
            DueDelivery.environment_id == environment_id,
            DueDelivery.endpoint_id == endpoint_id,
            DueDelivery.message_id.between(first, last),
            DueDelivery.trigger == Trigger.scheduled,
        )
        .group_by(status)
    )


def count_finished(environment_id: UUID, endpoint_id: UUID, first: UUID, last: UUID) -> Select[int, int]:
    """(status, count) of the deliveries that have ended, for messages of this id range."""
    return (
        select(Delivery.status, func.count())
        .where(
            Delivery.environment_id == environment_id,
            Delivery.endpoint_id == endpoint_id,
            Delivery.message_id.between(first, last),
        )
        .group_by(Delivery.status)
    )


def _mine(environment_id: UUID, application_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return (
        Endpoint.environment_id == environment_id,
        Endpoint.application_id == application_id,
        Endpoint.deleted_at.is_(None),
    )
