"""Statements of the hot paths: built by SQLAlchemy once, and executed by the driver's cursor.

What SQLAlchemy does around each execution, for statements of any kind, costs several times as much as the driver needs.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Dialect, Executable, ReturnsRows
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as a driver takes it.

    `order` is of the parameters, where they go by order; `fixed` are those it has of its own; `row` makes a row.
    """

    text: str
    order: Sequence[str] | None
    fixed: Mapping[str, Any]
    row: Callable[[Any], Any] | None

    def arguments(self, given: Mapping[str, Any]) -> Any:  # noqa: ANN401 what the driver takes
        """All parameters."""
        every = {**self.fixed, **given}
        return every if self.order is None else [every[name] for name in self.order]


_compiled: dict[tuple[Executable, str], _Compiled] = {}


def fetch(db: Session | Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[Any]:
    """Executes a statement that is always the same object, in the transaction. Its rows have attributes.

    Values come and go as the driver has them. Raises what SQLAlchemy raises, and tells those who listen to its cursors.
    """
    connection = db.connection() if isinstance(db, Session) else db
    dialect = connection.dialect
    compiled = _compiled.get((statement, dialect.driver)) or _compile(statement, dialect)
    raw = connection.connection
    cursor = raw.cursor()
    try:
        _execute(connection, cursor, compiled.text, compiled.arguments(parameters))
        return [] if compiled.row is None else list(map(compiled.row, cursor.fetchall()))
    except dialect.loaded_dbapi.Error as error:
        is_lost = dialect.is_disconnect(error, raw.dbapi_connection, cursor)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            compiled.text, None, error, dialect.loaded_dbapi.Error, connection_invalidated=is_lost, dialect=dialect
        ) from error
    except BaseException as error:
        # The driver was interrupted, by a time limit for one, in the middle of a statement: the server may still be
        # carrying it out, and whatever came next on this connection would be of a transaction that nobody ends.
        connection.invalidate(error)
        raise
    finally:
        cursor.close()


def _execute(connection: Connection, cursor: DBAPICursor, text: str, arguments: Any) -> None:  # noqa: ANN401 as above
    dispatch, context = connection.dispatch, SimpleNamespace()
    for told in dispatch.before_cursor_execute:
        text, arguments = told(connection, cursor, text, arguments, context, False)  # noqa: FBT003 SQLAlchemy's own order
    cursor.execute(text, arguments)
    for told in dispatch.after_cursor_execute:
        told(connection, cursor, text, arguments, context, False)  # noqa: FBT003 as above


def _compile(statement: Executable, dialect: Dialect) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)  # type: ignore[attr-defined] # every one that is executed can
    made = _Compiled(compiled.string, compiled.positiontup, compiled.params, _row_of(statement))
    _compiled[statement, dialect.driver] = made
    return made


def _row_of(statement: Executable) -> Callable[[Any], Any] | None:
    names = statement.exported_columns.keys() if isinstance(statement, ReturnsRows) else []
    if not names:
        return None
    row: Any = namedtuple("Row", names)  # type: ignore[misc] # noqa: PYI024 of what is selected
    made: Callable[[Any], Any] = row._make
    return made
