"""Pages of a list: a key column, a limit, and sealed iterators that lead both ways."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.cuts import Cut, KeyColumn
from app.kit.encryption import Forged, KeyRing
from app.kit.errors import invalid
from app.kit.wire import Out

MAX_LIMIT = 250
BACK = "-"
Item = TypeVar("Item")


class Order(StrEnum):
    """The wire's `order`."""

    ascending = "ascending"
    descending = "descending"


class Listing(Out, Generic[Item]):
    """One page. `iterator` leads on, `prevIterator` back; `done` says that nothing follows in the direction read."""

    data: list[Item]
    iterator: str | None
    prev_iterator: str | None
    done: bool


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked of a list. `order` None means the list's own."""

    ring: KeyRing
    limit: int
    iterator: str | None
    order: Order | None


@dataclass(frozen=True, slots=True)
class Seal:
    """Iterators are good for one list of one owner: `name` says which list, `owner` whose."""

    name: str
    owner: tuple[UUID, ...]

    def close(self, ring: KeyRing, key: UUID | str) -> str:
        """The key as an iterator."""
        data = key.bytes if isinstance(key, UUID) else key.encode()
        return ring.seal(self._purpose, data, self._aad)

    def open(self, ring: KeyRing, text: str, type_: type) -> UUID | str:
        """The key in an iterator; Problem `invalid` when it was not made for this list and owner."""
        try:
            data = ring.unseal(self._purpose, text, self._aad)
        except Forged:
            raise invalid("iterator", "is not an iterator of this list", where="query") from None
        return UUID(bytes=data) if type_ is UUID else data.decode()

    @property
    def _purpose(self) -> str:
        return f"page:{self.name}"

    @property
    def _aad(self) -> bytes:
        return b"".join(one.bytes for one in self.owner)


def page(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items at most")] = 50,
    iterator: Annotated[str | None, Query(description="The iterator of a page before")] = None,
    order: Annotated[Order | None, Query(description="The order of the items")] = None,
) -> Page:
    """The page that a request asks for."""
    return Page(request.app.state.keyring, limit, iterator, order)


PageQuery = Annotated[Page, Depends(page)]


async def paginate(
    db: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    key: KeyColumn,
    asked: Page,
    *,
    seal: Seal,
    shape: Callable[[Any], object],
    order: Order = Order.ascending,
) -> dict[str, Any]:
    """One page of `statement` as the body of a Listing.

    `statement` neither orders nor limits itself, and `key` is unique in it. `shape` turns into an item what the
    statement selects: the entity when that is all, else the row.
    """
    whole = len(statement.column_descriptions) > 1
    return await paginate_cuts(
        db,
        lambda cut: cut.of(statement.add_columns(key), key),
        asked,
        seal=seal,
        shape=shape if whole else lambda row: shape(row[0]),
        order=order,
        key_type=key.type.python_type,
    )


async def paginate_cuts(
    db: AsyncSession,
    build: Callable[[Cut[Any]], Select[*tuple[Any, ...]]],
    asked: Page,
    *,
    seal: Seal,
    shape: Callable[[Any], object],
    order: Order,
    key_type: type[UUID] | type[str] = UUID,
) -> dict[str, Any]:
    """One page of a list whose statement is built for the part that is read; the last column is its key."""
    order = asked.order or order
    back = (asked.iterator or "").startswith(BACK)
    at: Any = seal.open(asked.ring, asked.iterator.removeprefix(BACK), key_type) if asked.iterator else None
    cut = Cut(at, (order is Order.descending) != back, asked.limit + 1)
    rows = (await db.execute(build(cut))).all()
    shown = rows[: asked.limit][:: -1 if back else 1]
    return {
        "data": [shape(row) for row in shown],
        "iterator": seal.close(asked.ring, shown[-1][-1]) if shown else None,
        "prevIterator": BACK + seal.close(asked.ring, shown[0][-1]) if shown else None,
        "done": len(rows) <= asked.limit,
    }
