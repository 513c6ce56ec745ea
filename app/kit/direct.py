"""Statements of the hot paths: built by SQLAlchemy once, and executed by the driver's cursor.

What SQLAlchemy does around each execution, for statements of any kind, costs several times as much as the driver needs.
"""

from collections import namedtuple
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import RawCursor
from sqlalchemy import ARRAY, Connection, Dialect, Executable, PoolProxiedConnection, ReturnsRows
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import await_only

from app.kit.array_text import Write, elements_of, write

T = TypeVar("T")
_INFO = "connection of the transaction"
# PostgreSQL's read_only_sql_transaction; no transaction of ours asks to be one.
_READ_ONLY = "25006"
_NUMBERED: Dialect = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as a driver takes it.

    `order` is of the parameters, each with how its arrays are written where the driver does not know; `fixed` are those
    that the statement has of its own; `row` makes a row.
    """

    text: str
    order: Sequence[tuple[str, Write | None]]
    fixed: Mapping[str, Any]
    row: Callable[[Any], Any] | None

    def arguments(self, given: Mapping[str, Any]) -> list[Any]:
        """All parameters."""
        every = {**self.fixed, **given} if self.fixed else given
        return [every[name] if elements is None else write(every[name], elements) for name, elements in self.order]


_compiled: dict[tuple[Executable, str], _Compiled] = {}


def fetch(db: Session | Connection, statement: Executable, parameters: Mapping[str, Any]) -> list[Any]:
    """Executes a statement that is always the same object, in the transaction. Its rows have attributes.

    Values come and go as the driver has them. Raises what SQLAlchemy raises, and tells those who listen to its cursors.
    """
    connection = _connection(db) if isinstance(db, Session) else db
    dialect = connection.dialect
    compiled = _compiled.get((statement, dialect.driver)) or _compile(statement, dialect)
    raw = connection.connection
    cursor = _cursor(raw)
    try:
        _execute(connection, cursor, compiled.text, compiled.arguments(parameters))
        return [] if compiled.row is None else list(map(compiled.row, cursor.fetchall()))
    except BaseException as error:  # noqa: BLE001 passed on
        _fail(connection, raw, compiled.text, error)
    finally:
        cursor.close()


def command(connection: Connection, text: str) -> str:
    """Carries out commands without parameters, on a connection that begins no transaction by itself.

    Returns the status of the last one. Raises what `fetch` does.
    """
    raw = connection.connection
    try:
        if isinstance(raw.driver_connection, psycopg.Connection):
            return raw.driver_connection.execute(text).statusmessage or ""
        return _Immediate(raw.dbapi_connection).command(text)
    except BaseException as error:  # noqa: BLE001 passed on
        _fail(connection, raw, text, error)


def session_on(connection: Connection) -> Session:
    """A session for a connection whose transactions somebody else begins and ends; for `fetch` it begins none."""
    db = Session(connection, expire_on_commit=False)
    db.info[_INFO] = None, connection
    return db


def leads_no_more(error: BaseException) -> bool:
    """Whether the server takes no writes, since it follows another one: on this connection it never will again."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


def _fail(connection: Connection, raw: PoolProxiedConnection, text: str, error: BaseException) -> NoReturn:
    dialect = connection.dialect
    if not isinstance(error, dialect.loaded_dbapi.Error):
        # The driver was interrupted, by a time limit for one, in the middle of a statement: the server may still be
        # carrying it out, and whatever came next on this connection would be of a transaction that nobody ends.
        connection.invalidate(error)
        raise error
    is_lost = dialect.is_disconnect(error, raw.dbapi_connection, None) or leads_no_more(error)
    if is_lost:
        # As SQLAlchemy does: what else waits in the pool is as old, and nobody else is to find out.
        connection.engine.pool._invalidate(raw, error)  # noqa: SLF001 there is no other way
        connection.invalidate(error)
    raise DBAPIError.instance(
        text, None, error, dialect.loaded_dbapi.Error, connection_invalidated=is_lost, dialect=dialect
    ) from error


class _Immediate:
    """A cursor of asyncpg, for a connection on which no transaction is to be begun first."""

    def __init__(self, adapted: Any) -> None:  # noqa: ANN401 what SQLAlchemy puts around asyncpg's
        self._adapted = adapted
        self._rows: list[Any] = []

    def execute(self, text: str, arguments: Sequence[Any]) -> None:
        self._rows = self._await(self._adapted.driver_connection.fetch(text, *arguments))

    def command(self, text: str) -> str:
        status: str = self._await(self._adapted.driver_connection.execute(text))
        return status

    def fetchall(self) -> list[Any]:
        return self._rows

    def close(self) -> None:
        self._rows = []

    def _await(self, answer: Awaitable[T]) -> T:
        try:
            return await_only(answer)
        except Exception as error:
            self._adapted._handle_exception(error)  # noqa: SLF001 raises the error that SQLAlchemy knows
            raise


def _connection(db: Session) -> Connection:
    """The session's, remembered for as long as its transaction lasts: asking for it costs as much as a statement."""
    known: tuple[SessionTransaction | None, Connection] | None = db.info.get(_INFO)
    if known is not None and known[0] in (None, db.get_transaction()) and not known[1].closed:
        return known[1]
    connection = db.connection()
    if (begun := db.get_transaction()) is not None:
        db.info[_INFO] = begun, connection
    return connection


def _cursor(raw: PoolProxiedConnection) -> Any:  # noqa: ANN401 a cursor of either driver
    if isinstance(raw.driver_connection, psycopg.Connection):
        # Psycopg's usual one translates each statement anew, and looks at every element of every array.
        return RawCursor(raw.driver_connection)
    adapted: Any = raw.dbapi_connection
    return _Immediate(adapted) if adapted.autocommit else raw.cursor()


def _execute(connection: Connection, cursor: DBAPICursor, text: str, arguments: Any) -> None:  # noqa: ANN401 as above
    dispatch, context = connection.dispatch, SimpleNamespace()
    for told in dispatch.before_cursor_execute:
        text, arguments = told(connection, cursor, text, arguments, context, False)  # noqa: FBT003 SQLAlchemy's own order
    cursor.execute(text, arguments)
    for told in dispatch.after_cursor_execute:
        told(connection, cursor, text, arguments, context, False)  # noqa: FBT003 as above


def _compile(statement: Executable, dialect: Dialect) -> _Compiled:
    is_psycopg = dialect.driver == "psycopg"
    compiled: Any = statement.compile(dialect=_NUMBERED if is_psycopg else dialect)  # type: ignore[attr-defined] # every one that is executed can
    kinds = {name: one.type for name, one in compiled.binds.items()}
    order = [(name, _elements(kinds[name]) if is_psycopg else None) for name in compiled.positiontup]
    fixed = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
    made = _Compiled(compiled.string, order, fixed, _row_of(statement))
    _compiled[statement, dialect.driver] = made
    return made


def _elements(kind: TypeEngine[Any]) -> Write | None:
    return elements_of(kind.item_type) if isinstance(kind, ARRAY) else None


def _row_of(statement: Executable) -> Callable[[Any], Any] | None:
    names = statement.exported_columns.keys() if isinstance(statement, ReturnsRows) else []
    if not names:
        return None
    row: Any = namedtuple("Row", names)  # type: ignore[misc] # noqa: PYI024 of what is selected
    made: Callable[[Any], Any] = row._make
    return made
