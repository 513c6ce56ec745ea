"""One migration at a time: it waits for its turn and for its locks, and for neither for ever."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.kit.db import sqlstate
from app.kit.telemetry.logs import get_logger

LOCK = 0x706F7374
"""'post': the advisory lock of whoever migrates."""
# The number is ours.
HOLDER = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {LOCK}"  # noqa: S608  # nosec B608
WAITING, MIGRATING = "postrider-waits", "postrider-migrate"
"""What a connection is called that waits for its turn, or for somebody's, and that of whoever has it."""
TURN_SECONDS = 300.0
ASK_AGAIN_SECONDS = 0.5
LOCK_SECONDS = 5
"""So long everybody else waits behind a migration that waits for a table."""
TRIES = 12
PAUSE_SECONDS = 5.0
LOCK_NOT_AVAILABLE = "55P03"
logger = get_logger(__name__)


class CannotMigrateError(RuntimeError):
    """Why a migration was given up, and what to do."""


@contextmanager
def turn(connection: Connection, seconds: float = TURN_SECONDS) -> Iterator[None]:
    """The only migration of the database, once no other runs. CannotMigrateError when one still does.

    It asks again and again: whoever waits inside of a statement has a snapshot, which making an index waits for.
    """
    end = time.monotonic() + seconds
    has_told = False
    while not _take(connection):
        if time.monotonic() >= end:
            raise CannotMigrateError(
                f"another migration has run for more than {seconds:g} s: let it end, or end its connection"
                f" (pg_terminate_backend, of {HOLDER}), then run `postrider migrate` again"
            )
        if not has_told:
            logger.info("migration_waits", effect="another one runs")
            has_told = True
        time.sleep(ASK_AGAIN_SECONDS)
    _call(connection, MIGRATING)
    try:
        yield
    finally:
        # A connection that broke has no lock to give back, and what broke it is what somebody must hear of.
        with suppress(DBAPIError):
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            connection.commit()


def patiently(
    connection: Connection, act: Callable[[], None], tries: int = TRIES, pause: float = PAUSE_SECONDS
) -> None:
    """Migrates, and where somebody holds a table for too long goes on later, from the revision that was reached.

    CannotMigrateError after so many tries.
    """
    for number in range(1, tries + 1):
        try:
            act()
        except OperationalError as error:
            connection.rollback()
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            logger.warning("migration_waits", tries=number, effect="it lets others go first, and tries again")
        else:
            return
        if number < tries:
            time.sleep(pause)
    raise CannotMigrateError(
        f"a table that the migration needs was in use at each of {tries} tries; what was reached stays. Look for long"
        " transactions (xact_start in pg_stat_activity), let them end, then run `postrider migrate` again"
    )


def _take(connection: Connection) -> bool:
    is_ours: bool = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}).scalar_one()
    connection.commit()
    return is_ours


def _call(connection: Connection, name: str) -> None:
    connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
    connection.commit()
