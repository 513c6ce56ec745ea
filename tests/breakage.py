"""What is broken on purpose in a running installation, from outside."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from app.cli.dev.roles import plain_url


@contextmanager
def without(migrator_url: str, table: str) -> Iterator[None]:
    """The table is gone."""
    with psycopg.connect(plain_url(migrator_url), autocommit=True) as owner:
        owner.execute(f"ALTER TABLE {table} RENAME TO gone".encode())
        try:
            yield
        finally:
            owner.execute(f"ALTER TABLE gone RENAME TO {table}".encode())
