"""How the operator's commands reach the database: as the migrator, in one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import click
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.cli.configured import settings_or_exit
from app.domain import ids
from app.kit.cache import forget_from_outside
from app.kit.changes import noted
from app.kit.db import make_engine, make_sessions


@contextmanager
def in_one_line() -> Iterator[None]:
    """Says in a line what is not set, and that the database is away."""
    try:
        yield
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OperationalError as error:
        raise click.ClickException(f"the database does not answer: {str(error.orig).splitlines()[0]}") from error


@contextmanager
def transaction() -> Iterator[Session]:
    """A session of the migrator, committed at the end of the block; one line when the database is away."""
    with in_one_line():
        settings = settings_or_exit()
        engine = make_engine(settings.database.migrator(), pool_size=1, name="postrider-operator")
        try:
            with make_sessions(engine).begin() as db:
                yield db
            forget_from_outside(settings.redis.url.get_secret_value(), noted(db))
        finally:
            engine.dispose()


class TypeId(click.ParamType[UUID]):
    """An id as it is shown outside, such as org_01j…."""

    name = "id"

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        """The UUID inside; a usage error for anything else."""
        if isinstance(value, UUID):
            return value
        decoded = ids.decode(self._prefix, str(value))
        if decoded is None:
            self.fail(f"{value!r} is no id that begins with {self._prefix}_", param, ctx)
        return decoded
