"""Engines, sessions and the declarative base: async for the API, sync for the workers."""

from collections.abc import Iterable
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Select,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from app.kit.direct import fetch, leads_no_more

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
TENANTS_SETTING = "app.organisations"
# For the few statements of the hot paths: each is planned once, and by its indexes, for their tables grow faster than
# what the planner knows of them. A bitmap holds all that is due before it gives its first row: of a table that was just
# emptied the planner thinks it cheap, and then each claim reads the whole backlog.
STEADY = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off"}
# Whoever is cut off in the middle of a transaction keeps its locks for so long; the server ends it then.
IDLE_IN_TRANSACTION = "5s"
# A peer that was dropped without a word is found out after 25 s instead of hours.
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}


class Base(DeclarativeBase):
    """The base of every table."""

    metadata = MetaData(naming_convention=NAMING)


def table_of(model: type[Base]) -> Table:
    """The table behind a model, for statements over whole sets that no object stands for."""
    found = model.__table__
    assert isinstance(found, Table)
    return found


class NotDurableError(RuntimeError):
    """The server would lose what it has acknowledged."""


def make_async_engine(
    url: str, *, pool_size: int, pooler: bool = False, steady: bool = False, name: str = "postrider-api"
) -> AsyncEngine:
    """An engine over asyncpg for one event loop; call it inside the process that uses it. See STEADY."""
    connect: dict[str, Any] = {"timeout": 5, "command_timeout": 10}
    if pooler:
        connect |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    else:
        connect["server_settings"] = {
            "application_name": name,
            "jit": "off",
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
            **(STEADY if steady else {"plan_cache_mode": "force_custom_plan"}),
        }
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool_size,
        max_overflow=0,
        # Payloads and secrets are among them, and errors are logged.
        hide_parameters=True,
        pool_timeout=5,
        # Whoever comes after a restart of the server is not told of it. The hot paths do without: what meets a dead
        # connection there fails, and the next has a new one.
        pool_pre_ping=not steady,
        connect_args=connect,
    )
    event.listen(engine.sync_engine, "handle_error", _leave_who_leads_no_more)
    return engine


def make_engine(url: str, *, pool_size: int = 4, steady: bool = False, name: str = "postrider-worker") -> Engine:
    """An engine over psycopg; never made before a fork. See STEADY."""
    session = {
        "jit": "off",
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION,
        **(STEADY if steady else {}),
    }
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=2,
        hide_parameters=True,
        pool_timeout=5,
        pool_pre_ping=not steady,
        connect_args={
            "connect_timeout": 5,
            "application_name": name,
            "prepare_threshold": 0 if steady else None,
            "options": " ".join(f"-c {setting}={value}" for setting, value in session.items()),
            **KEEPALIVE,
        },
    )
    event.listen(engine, "handle_error", _leave_who_leads_no_more)
    return engine


def _leave_who_leads_no_more(context: ExceptionContext) -> None:
    """Whoever came to a server while another one took the lead finds out by the first write, and connects anew."""
    if leads_no_more(context.original_exception):
        context.is_disconnect = True


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's five characters for what went wrong; empty when the server did not say."""
    return str(getattr(error.orig, "sqlstate", "") or "")


def is_conflict(error: Exception) -> bool:
    """Whether the server gave the transaction up for another's sake: repeated, it is likely to succeed."""
    return isinstance(error, DBAPIError) and sqlstate(error).startswith("40")


def make_async_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Sessions whose objects outlive the commit and whose flushes are asked for."""
    return async_sessionmaker(engine, expire_on_commit=False)


def make_sessions(engine: Engine) -> sessionmaker[Session]:
    """The workers' sessions; `with sessions.begin() as db` is one transaction."""
    return sessionmaker(engine, expire_on_commit=False)


def enter_tenants(db: Session | Connection, environment_ids: Iterable[UUID]) -> None:
    """Lets the transaction see these organisations and no other, until it ends."""
    fetch(db, _set_tenants(), {"tenants": ",".join([one.hex for one in environment_ids])})


@cache
def _set_tenants() -> Select[str]:
    return select(func.set_config(TENANTS_SETTING, bindparam("tenants"), True))  # noqa: FBT003 the SQL function's own flag


def assert_durable(connection: Connection) -> None:
    """NotDurableError unless a commit that is acknowledged survives a crash of the server."""
    fsync, commit = connection.execute(
        text("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
    ).one()
    if fsync != "on" or commit not in {"on", "remote_apply"}:
        msg = f"the database would lose accepted messages: fsync={fsync}, synchronous_commit={commit}; set both to on"
        raise NotDurableError(msg)
