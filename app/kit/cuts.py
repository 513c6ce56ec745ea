"""Parts of lists: what a statement reads for one page."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select
from sqlalchemy.orm import InstrumentedAttribute

Key = TypeVar("Key", UUID, str)
KeyColumn = InstrumentedAttribute[UUID] | InstrumentedAttribute[str] | ColumnElement[UUID]


@dataclass(frozen=True, slots=True)
class Cut(Generic[Key]):
    """The rows beyond `at`, exclusive, in one direction; at most `most`, without it all."""

    at: Key | None
    descending: bool
    most: int | None

    def of(self, statement: Select[*tuple[Any, ...]], key: KeyColumn) -> Select[Any]:
        """This part of a statement that neither orders nor limits itself; `key` is unique in it."""
        if self.at is not None:
            statement = statement.where(key < self.at if self.descending else key > self.at)
        return statement.order_by(key.desc() if self.descending else key.asc()).limit(self.most)
