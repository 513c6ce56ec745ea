"""What the processes of the workers are asked: whether they live, and whether they can work."""

from collections.abc import Mapping
from functools import partial

from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from app.features.health import queries, revision
from app.kit.db import make_engine
from app.kit.telemetry.hearts import Hearts, Ward
from app.kit.telemetry.management import Probe, kept
from app.settings import Settings

LOOPS = ("engine", "transport", "sweeper")
PLACES = 256
"""More processes than any pool has."""
STANDS_STILL_SECONDS = 180.0
"""After so long a loop is taken for dead; a database that hangs may hold it for a while, which no new start mends."""
ASK_SECONDS = 5.0


def probes_of_main(settings: Settings, ward: Ward) -> Mapping[str, Probe]:
    """The main process answers for all processes of its pool."""
    return _probes(partial(ward.fault, STANDS_STILL_SECONDS), partial(_fault_of, settings))


def probes_of_child(hearts: Hearts, database: Database) -> Mapping[str, Probe]:
    """A process of the pool answers for itself."""
    return _probes(partial(hearts.fault, STANDS_STILL_SECONDS), partial(_schema_fault, database))


def probes_of_beat(hearts: Hearts) -> Mapping[str, Probe]:
    """Beat needs nothing but its own loop."""
    return _probes(partial(hearts.fault, STANDS_STILL_SECONDS), lambda: None)


def _probes(live: Probe, ready: Probe) -> Mapping[str, Probe]:
    ready = kept(ready, ASK_SECONDS)
    return {"/livez": live, "/readyz": ready, "/startupz": ready}


def _fault_of(settings: Settings) -> str | None:
    """What a connection of its own finds; none is kept, which a child would inherit."""
    database = make_engine(settings.database.worker(), pool_size=1)
    try:
        return _schema_fault(database)
    finally:
        database.dispose()


def _schema_fault(database: Database) -> str | None:
    try:
        with database.connect() as connection:
            return revision.fault_of(connection.scalar(queries.revision()) or "")
    except SQLAlchemyError as error:
        return f"the database is out of reach: {type(error).__name__}"
