"""Statements of the purge; as the workers', they cross organisations, and each names whose rows it is about."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Delete, Select, Table, delete, func, select

from app.domain.lifecycle import MARGIN, RESTORABLE
from app.models import Application, Endpoint, EndpointGate, Environment, Message, Organisation

PURGES = (1886352244, 3)
Key = TypeVar("Key")
Scope = Mapping[str, UUID]
"""Whose rows: columns of a table with their values."""


def in_turn() -> Select[Any]:
    """Lets whoever else purges come first or later, until the transaction ends."""
    return select(func.pg_advisory_xact_lock(*PURGES))


def endpoints(most: int) -> Select[UUID, UUID]:
    """(environment, id) of endpoints that can no longer be restored."""
    return select(Endpoint.environment_id, Endpoint.id).where(_is_over(Endpoint.deleted_at)).limit(most)


def applications(most: int) -> Select[UUID, UUID]:
    """(environment, id) of applications that can no longer be restored."""
    return select(Application.environment_id, Application.id).where(_is_over(Application.deleted_at)).limit(most)


def organisations(most: int) -> Select[UUID]:
    """The ids of organisations that can no longer be restored."""
    return select(Organisation.id).where(_is_over(Organisation.deleted_at)).limit(most)


def endpoints_of(environment_id: UUID, application_id: UUID, most: int) -> Select[UUID, UUID]:
    """(environment, id) of an application's endpoints, deleted or not."""
    mine = (Endpoint.environment_id == environment_id, Endpoint.application_id == application_id)
    return select(Endpoint.environment_id, Endpoint.id).where(*mine).limit(most)


def applications_of(environment_id: UUID, most: int) -> Select[UUID, UUID]:
    """(environment, id) of an environment's applications, deleted or not, the hidden one too."""
    mine = Application.environment_id == environment_id
    return select(Application.environment_id, Application.id).where(mine).limit(most)


def environments_of(organisation_id: UUID) -> Select[UUID]:
    """The ids of an organisation's environments."""
    return select(Environment.id).where(Environment.organisation_id == organisation_id)


def messages_of(environment_id: UUID, application_id: UUID, most: int) -> Select[UUID]:
    """The ids of an application's oldest messages."""
    mine = (Message.environment_id == environment_id, Message.application_id == application_id)
    return select(Message.id).where(*mine).order_by(Message.id).limit(most)


def held_too_long() -> Select[UUID, UUID]:
    """(environment, id) of endpoints whose deliveries have waited for as long as what is deleted can be restored."""
    stopped = Environment.stopped_at < func.now() - RESTORABLE
    return (
        select(EndpointGate.environment_id, EndpointGate.endpoint_id)
        .join(Environment, Environment.id == EndpointGate.environment_id)
        .where(stopped)
        .distinct()
    )


def some(table: Table, key: str, scope: Scope, most: int) -> Select[Any]:
    """The keys of some rows in scope, the lowest first."""
    return select(table.c[key]).where(*_in(table, scope)).order_by(table.c[key]).limit(most)


def gone(table: Table, key: str, scope: Scope, keys: Sequence[Any]) -> Delete:
    """Deletes the rows in scope that have these keys.

    They are values, so that of a table with partitions only those are looked at which may hold them.
    """
    return delete(table).where(*_in(table, scope), table.c[key].in_(keys))


def _in(table: Table, scope: Scope) -> list[Any]:
    return [table.c[name] == value for name, value in scope.items()]


def _is_over(deleted_at: Any) -> Any:  # noqa: ANN401 a column, a condition
    return deleted_at < func.now() - (RESTORABLE + MARGIN)
