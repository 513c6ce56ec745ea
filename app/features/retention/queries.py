"""Statements of retention: partitions made ahead and dropped in time, and small deletes where there are none."""

from datetime import date, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    Date,
    Delete,
    Select,
    Text,
    cast,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute

from app.models import (
    BackgroundTask,
    DeliveryAction,
    DueDelivery,
    EndpointSecret,
    IdempotencyKey,
    MessageEventId,
    Payload,
    PortalExpiry,
    RevokedPortalToken,
    SignatureNonce,
    UsedLink,
)

KEYS_KEPT = timedelta(hours=24)
PORTAL_TOKENS_LIVE = timedelta(days=28)
SETTLING = timedelta(hours=1)


def settled_day() -> Select[date]:
    """The database's day in UTC, as of an hour ago: whatever began before midnight has ended by then."""
    return select(cast(func.timezone("UTC", func.now() - SETTLING), Date))


def ensure_partitions(days: list[date], expiries: list[date]) -> Select[Any]:
    """Makes what is missing: of messages, deliveries and attempts for `days`, of payloads for `expiries`."""
    return select(func.ensure_partitions(cast(days, ARRAY(Date)), cast(expiries, ARRAY(Date))))


def partitions(parent: str) -> Select[str]:
    """The names of a table's partitions."""
    catalogue = text(
        "SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
    ).bindparams(parent=parent)
    found = catalogue.columns(name=Text()).subquery("found")
    return select(found.c.name)


def drop_partition(parent: str, day: date) -> Select[bool]:
    """Drops a partition by day; false when there is none. Gives up after two seconds behind somebody's lock."""
    return select(func.drop_partition(cast(parent, Text), cast(literal(day), Date)))


def oldest_due() -> Select[str | None]:
    """The smallest id of a message that is still owed, as text; ids of equal length sort as their text does."""
    return select(func.min(cast(DueDelivery.message_id, Text)))


def _needed(day: date, most: int) -> CTE:
    some = (
        select(DueDelivery.environment_id, DueDelivery.message_id)
        .where(DueDelivery.expires_on == day)
        .limit(most)
        .subquery("some")
    )
    return select(some).distinct().cte("needed")


def move_on(day: date, later: date, most: int) -> Select[int]:
    """Moves payloads that deliveries still need from the partition of `day`, and tells those deliveries."""
    needed = _needed(day, most)
    moved = (
        update(Payload)
        .where(
            Payload.environment_id == needed.c.environment_id,
            Payload.message_id == needed.c.message_id,
            Payload.expires_on == day,
        )
        .values(expires_on=later)
        .returning(Payload.message_id)
        .cte("moved")
    )
    told = (
        update(DueDelivery)
        .where(
            DueDelivery.environment_id == needed.c.environment_id,
            DueDelivery.message_id == needed.c.message_id,
            DueDelivery.expires_on == day,
        )
        .values(expires_on=later)
        .returning(DueDelivery.message_id)
        .cte("told")
    )
    return select(func.count()).select_from(told).add_cte(moved)


def purge_idempotency_keys(most: int) -> Delete:
    """Forgets keys of more than a day ago."""
    return purge(
        IdempotencyKey,
        [IdempotencyKey.environment_id, IdempotencyKey.key],
        IdempotencyKey.created_at < func.now() - KEYS_KEPT,
        most,
    )


def purge_event_ids(kept: timedelta, most: int) -> Delete:
    """Forgets event ids with the messages that bore them."""
    return purge(
        MessageEventId,
        [MessageEventId.environment_id, MessageEventId.application_id, MessageEventId.event_id],
        MessageEventId.created_at < func.now() - kept,
        most,
    )


def purge_actions(kept: timedelta, most: int) -> Delete:
    """Forgets acts on deliveries with their messages."""
    return purge(
        DeliveryAction,
        [DeliveryAction.environment_id, DeliveryAction.id],
        DeliveryAction.created_at < func.now() - kept,
        most,
    )


def purge_background_tasks(kept: timedelta, most: int) -> Delete:
    """Forgets tasks that ended."""
    return purge(
        BackgroundTask,
        [BackgroundTask.environment_id, BackgroundTask.id],
        BackgroundTask.finished_at < func.now() - kept,
        most,
    )


def purge_portal_tokens(most: int) -> Delete:
    """Forgets revoked tokens that have expired anyway."""
    return purge(
        RevokedPortalToken,
        [RevokedPortalToken.environment_id, RevokedPortalToken.token_id],
        RevokedPortalToken.expires_at < func.now(),
        most,
    )


def purge_portal_expiries(most: int) -> Delete:
    """Forgets ends of portal tokens that have all expired by themselves."""
    return purge(
        PortalExpiry,
        [PortalExpiry.environment_id, PortalExpiry.application_id, PortalExpiry.id],
        PortalExpiry.made_before < func.now() - PORTAL_TOKENS_LIVE,
        most,
    )


def purge_nonces(most: int) -> Delete:
    """Forgets nonces whose signatures are stale by now."""
    return purge(
        SignatureNonce,
        [SignatureNonce.organisation_id, SignatureNonce.key_id, SignatureNonce.nonce],
        SignatureNonce.expires_at < func.now(),
        most,
    )


def purge_used_links(most: int) -> Delete:
    """Forgets one-time links that have expired anyway."""
    return purge(UsedLink, [UsedLink.organisation_id, UsedLink.link_id], UsedLink.expires_at < func.now(), most)


def purge_secrets(most: int) -> Delete:
    """Deletes signing secrets whose grace period is over."""
    return purge(
        EndpointSecret,
        [EndpointSecret.environment_id, EndpointSecret.endpoint_id, EndpointSecret.id],
        EndpointSecret.expires_at < func.now(),
        most,
    )


def purge(model: type[DeclarativeBase], key: list[InstrumentedAttribute[Any]], old: Any, most: int) -> Delete:  # noqa: ANN401 a condition
    """Deletes at most so many rows that are old, but for those that somebody holds just now."""
    some = select(*key).where(old).limit(most).with_for_update(skip_locked=True)
    return delete(model).where(tuple_(*key).in_(some))
