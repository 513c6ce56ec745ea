"""Runs migrations as the migrator's role, one process at a time, within limits of time."""

from functools import partial

from alembic import context
from sqlalchemy import Connection, make_url, text

from app.kit.db import Base, make_engine
from app.models import Organisation
from app.settings import Settings, read_settings
from migrations.tenancy import Roles
from migrations.turn import LOCK_SECONDS, TURN_SECONDS, WAITING, patiently, turn

STATEMENT_MINUTES = 30
assert Organisation.metadata is Base.metadata


def is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare: object) -> bool:  # noqa: FBT001 alembic's signature
    """Leaves partitions, which are made by day, out of the comparison with the models."""
    return kind != "table" or name in Base.metadata.tables


def roles_of(settings: Settings) -> Roles:
    """The role names of the three URLs."""
    names = [
        make_url(url).username or ""
        for url in (
            settings.database.url.get_secret_value(),
            settings.database.worker(),
            settings.database.migrator(),
        )
    ]
    return Roles(*names)


def migrate(connection: Connection) -> None:
    """Brings the schema to the revision that was asked for; each step is a transaction, so it stays."""
    limits = f"SET lock_timeout = '{LOCK_SECONDS}s'; SET statement_timeout = '{STATEMENT_MINUTES}min'"
    connection.execute(text(limits))
    connection.commit()
    with turn(connection, context.config.attributes.get("turn_seconds", TURN_SECONDS)):
        patiently(connection, partial(run, connection))


def run(connection: Connection) -> None:
    """Takes the steps that are left."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=is_ours,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


settings = read_settings()
context.config.attributes["roles"] = roles_of(settings)
engine = make_engine(settings.database.migrator(), name=WAITING)
with engine.connect() as opened:
    migrate(opened)
engine.dispose()
