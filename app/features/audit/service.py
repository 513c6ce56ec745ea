"""Reading the audit log."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.audit import csv_text, queries
from app.features.audit.queries import EventFilters
from app.features.audit.schemas import AuditEventOut
from app.kit.db import enter_tenants
from app.kit.paging import Order, Page, Seal, paginate
from app.models import AuditEvent

CHUNK = 1000


async def page(db: AsyncSession, organisation_id: UUID, filters: EventFilters, asked: Page) -> dict[str, Any]:
    """A page of the organisation's events, the newest first."""
    return await paginate(
        db,
        queries.events(organisation_id, filters),
        AuditEvent.id,
        asked,
        seal=Seal("audit", (organisation_id,)),
        shape=AuditEventOut.of,
        order=Order.descending,
    )


async def export(
    sessions: async_sessionmaker[AsyncSession], organisation_id: UUID, filters: EventFilters
) -> AsyncIterator[bytes]:
    """The events as CSV, the newest first, piece by piece.

    Each piece is a transaction of its own: a client that reads slowly holds no connection meanwhile. Events are never
    changed, and those that come while this runs are newer than what is left to read, so nothing is missed.
    """
    yield csv_text.header()
    last: UUID | None = None
    while True:
        async with sessions.begin() as db:
            await db.run_sync(enter_tenants, [organisation_id])
            found = (await db.scalars(queries.newest(organisation_id, filters, last, CHUNK))).all()
        if not found:
            return
        yield csv_text.rows(found)
        last = found[-1].id
