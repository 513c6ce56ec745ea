"""Reading and expunging messages."""

from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from app.features.deliveries.operations import cancel
from app.features.messages import queries, reading
from app.kit.paging import Order, Page, Seal, paginate_cuts
from app.kit.raw_json import write_page, write_with
from app.models import Application, Message

EXPUNGED = "content expunged"


async def page(
    db: AsyncSession, application: Application, filters: queries.Filters, asked: Page, *, with_content: bool
) -> bytes:
    """A page of the application's messages as JSON text, the newest first."""
    owner = application.environment_id, application.id
    found = await paginate_cuts(
        db,
        partial(queries.messages, *owner, filters),
        asked,
        seal=Seal("messages", owner),
        shape=lambda row: (row[0], row[1]),
        order=Order.descending,
    )
    return write_page(found, await _write(db, application, found["data"], with_content=with_content))


async def read(db: AsyncSession, application: Application, reference: str, *, with_content: bool) -> bytes:
    """One message as JSON text. Raises `not_found`."""
    message, readable = await db.run_sync(reading.find, application, reference)
    [text] = await _write(db, application, [(message, readable)], with_content=with_content)
    return text


async def _write(
    db: AsyncSession, application: Application, rows: list[tuple[Message, bool]], *, with_content: bool
) -> list[bytes]:
    payloads = await db.run_sync(reading.payloads, application.environment_id, rows, with_content=with_content)
    return [
        write_with(reading.describe(message), "payload", payload)
        for (message, _), payload in zip(rows, payloads, strict=True)
    ]


async def expunge(db: AsyncSession, application: Application, reference: str) -> Message:
    """Takes the payload of the message away for good and cancels what is pending of it. Raises `not_found`."""
    message, _ = await db.run_sync(reading.find, application, reference)
    owner = message.environment_id, message.id
    await db.execute(queries.mark_expunged(*owner))
    await db.execute(queries.delete_payload(*owner))
    await db.run_sync(cancel, message.environment_id, message_id=message.id, reason=EXPUNGED)
    return message
