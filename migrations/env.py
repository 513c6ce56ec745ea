"""Runs migrations as the migrator's role, one process at a time, within limits of time."""

from alembic import context
from sqlalchemy import Connection, make_url, text

from app.kit.db import Base, make_engine
from app.models import Organisation
from app.settings import Settings, read_settings
from migrations.tenancy import Roles

LOCK = 0x706F7374  # 'post': held for the length of a migration, so that two runs queue
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
    """Brings the schema to the revision that was asked for, in one transaction."""
    connection.execute(text("SET lock_timeout = '5s'; SET statement_timeout = '10min'"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
    connection.commit()
    context.configure(connection=connection, target_metadata=Base.metadata, include_object=is_ours)
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
        connection.commit()


settings = read_settings()
context.config.attributes["roles"] = roles_of(settings)
engine = make_engine(settings.database.migrator(), name="postrider-migrate")
with engine.connect() as opened:
    migrate(opened)
engine.dispose()
