"""Brings the schema to what this build needs, or waits until somebody has."""

import asyncio
import time
from importlib.util import find_spec
from pathlib import Path

import click
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cli.configured import settings_or_exit
from app.features.health import queries, revision
from app.kit.db import make_async_engine
from app.kit.telemetry import logs
from app.settings import Database

ASK_AGAIN_SECONDS = 1.0


@click.command()
@click.option("--revision", "wanted", default="head", show_default=True, help="The revision to reach.")
@click.option("--wait", is_flag=True, help="Change nothing; return once the schema is what this build needs.")
@click.option(
    "--wait-seconds",
    default=300,
    show_default=True,
    type=click.IntRange(min=1),
    help="How long to wait for another migration, and with --wait for the schema.",
)
def migrate(wanted: str, wait: bool, wait_seconds: int) -> None:
    """Bring the database's tables to a revision, as the migrator's role, and make the keys that tokens need."""
    if wait:
        asyncio.run(_wait_for_schema(settings_or_exit().database, wait_seconds))
        return
    _upgrade(wanted, wait_seconds)
    if wanted == "head":
        _make_keys()


def _upgrade(wanted: str, turn_seconds: float) -> None:
    from alembic import command  # noqa: PLC0415  # a second that the other commands spare
    from alembic.config import Config  # noqa: PLC0415

    from app.cli.operator import in_one_line  # noqa: PLC0415  # as above
    from migrations.turn import CannotMigrateError  # noqa: PLC0415  # as above

    config = Config(attributes={"turn_seconds": turn_seconds})
    config.set_main_option("script_location", str(_folder_of("migrations")).replace("%", "%%"))
    with in_one_line():
        settings = settings_or_exit()
        logs.install("migrate", settings.telemetry.log_format, settings.telemetry.log_level)
        settings.database.migrator()
        try:
            command.upgrade(config, wanted)
        except CannotMigrateError as error:
            raise click.ClickException(str(error)) from None


async def _wait_for_schema(database: Database, seconds: float) -> None:
    """Asks as the API does, once a second. A line says what is missing whenever that is something else."""
    engine = make_async_engine(
        database.url.get_secret_value(), pool_size=1, pooler=database.pooler, name="postrider-waits"
    )
    end = time.monotonic() + seconds
    told = None
    try:
        while (fault := await _fault_of(engine)) is not None:
            if time.monotonic() >= end:
                raise click.ClickException(f"after {seconds:g} s {fault}")
            if fault != told:
                click.echo(f"waiting: {fault}", err=True)
            told = fault
            await asyncio.sleep(ASK_AGAIN_SECONDS)
    finally:
        await engine.dispose()


async def _fault_of(engine: AsyncEngine) -> str | None:
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(queries.revision())
    except ProgrammingError:
        return "the database has no schema yet: run `postrider migrate`"
    except (SQLAlchemyError, OSError) as error:
        return f"the database is out of reach: {type(error).__name__}"
    return revision.fault_of(found or "")


def _make_keys() -> None:
    """Makes the first keys that tokens are signed with; those that are there stay."""
    from app.cli.audit import operator  # noqa: PLC0415  # what only waits for the schema does without all of this
    from app.cli.operator import transaction  # noqa: PLC0415
    from app.features.oauth import keys  # noqa: PLC0415

    with transaction() as db:
        missing = keys.missing(db)
    made = keys.fresh(missing)
    if made:
        with transaction() as db:
            keys.make_missing(db, settings_or_exit().secrets.ring(), made, operator())


def _folder_of(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        msg = f"the package {package} is not installed"
        raise click.ClickException(msg)
    return Path(found.origin).parent
