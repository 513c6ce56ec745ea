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
ASK_SECONDS = 5.0


def probes_of_main(settings: Settings, ward: Ward) -> Mapping[str, Probe]:
    """The main process answers for all processes of its pool."""
    return _probes(partial(ward.fault, settings.telemetry.stands_still_seconds), partial(_fault_of, settings))


def probes_of_child(hearts: Hearts, stands_still: float, database: Database) -> Mapping[str, Probe]:
    """A process of the pool answers for itself; a loop may stand still for so many seconds."""
    return _probes(partial(hearts.fault, stands_still), partial(_schema_fault, database))


def probes_of_beat(hearts: Hearts, stands_still: float) -> Mapping[str, Probe]:
    """Beat needs nothing but its own loop."""
    return _probes(partial(hearts.fault, stands_still), lambda: None)


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
