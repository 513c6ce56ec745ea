"""What the processes of the workers serve to those who run them: metrics, and whether they live and can work."""

from collections.abc import Iterable
from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, ProcessCollector
from sqlalchemy import Engine as Database
from sqlalchemy.exc import SQLAlchemyError

from app import VERSION
from app.features.health import queries, revision
from app.kit.db import make_engine
from app.kit.telemetry.hearts import Hearts, Ward
from app.kit.telemetry.management import Management, Probe, kept
from app.kit.telemetry.metrics import BUILD
from app.settings import Settings

LOOPS = ("engine", "transport", "sweeper")
PLACES = 256
"""More processes than any pool has."""
STANDS_STILL_SECONDS = 180.0
"""After so long a loop is taken for dead; a database that hangs may hold it for a while, which no new start mends."""
ASK_SECONDS = 5.0


def of_main(settings: Settings, ward: Ward) -> Management:
    """The main process's, on the first port: its probes answer for all processes of the pool.

    Its registry is its own: the locks of the one that its children inherit must be free whenever it forks.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build = Gauge(BUILD._name, BUILD._documentation, BUILD._labelnames, registry=registry)  # noqa: SLF001 the same one
    build.labels(VERSION, settings.telemetry.revision, "worker-main").set(1)
    ready = kept(lambda: _fault_of(settings), ASK_SECONDS)
    return _management(
        settings, settings.telemetry.range()[:1], partial(ward.fault, STANDS_STILL_SECONDS), ready, registry
    )


def of_child(settings: Settings, hearts: Hearts, database: Database) -> Management:
    """A process of the pool's, on one of the ports after the first."""
    hearts.export()
    BUILD.labels(VERSION, settings.telemetry.revision, "worker").set(1)
    ready = kept(lambda: _schema_fault(database), ASK_SECONDS)
    return _management(settings, settings.telemetry.range()[1:], partial(hearts.fault, STANDS_STILL_SECONDS), ready)


def of_beat(settings: Settings, hearts: Hearts) -> Management:
    """Beat's, which needs nothing but its own loop."""
    hearts.export()
    BUILD.labels(VERSION, settings.telemetry.revision, "beat").set(1)
    return _management(settings, settings.telemetry.range(), partial(hearts.fault, STANDS_STILL_SECONDS), lambda: None)


def _management(
    settings: Settings, ports: Iterable[int], live: Probe, ready: Probe, registry: CollectorRegistry = REGISTRY
) -> Management:
    probes = {"/livez": live, "/readyz": ready, "/startupz": ready}
    return Management(settings.telemetry.host, ports, probes, registry)


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
