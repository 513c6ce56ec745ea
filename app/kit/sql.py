"""SQL expressions that statements of every feature use."""

from uuid import UUID

from sqlalchemy import ColumnElement, Text, Uuid, cast, func, literal_column
from sqlalchemy.types import UserDefinedType

# The milliseconds of the server's clock over the first six of sixteen random bytes, then the version: 7 where the
# random id says 4. A uuid7() of its own came only with PostgreSQL 18.
_UUID7 = (
    "encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing"
    " substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),"
    " 52, 1), 53, 1), 'hex')"
)


def uuid7() -> ColumnElement[UUID]:
    """A new UUIDv7 for each row, for statements that make as many rows as they find."""
    return cast(literal_column(_UUID7, Text), Uuid())


def clock() -> ColumnElement[object]:
    """The server's time as the row is made, not as its transaction began."""
    return func.clock_timestamp()


class Tid(UserDefinedType[str]):
    """Where a version of a row lies: the shortest way back to a row that this transaction has locked."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The name of the type."""
        return "TID"
