"""The real PostgreSQL and Redis in a folder, for as long as a block runs: for tests and benches."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.dev.account import Account, server_account
from app.cli.dev.homes import make_home, remove_home
from app.cli.dev.ports import any_free
from app.cli.dev.postgres import PostgresHome, start_postgres
from app.cli.dev.redis import RedisHome, start_redis


@contextmanager
def embedded_postgres(folder: Path) -> Iterator[str]:
    """Runs PostgreSQL 18 with its data in `folder`/postgres; yields the superuser's URL.

    The server is durable (fsync and synchronous_commit on) and dies with this process. Its data is removed.
    """
    with _home(folder / "postgres") as (home, account):
        server, port = PostgresHome(home, account, secrets.token_urlsafe(24)), any_free()
        server.initialise()
        child = start_postgres(server.program(port, folder / "postgres.log"), server.url(port), folder)
        try:
            yield server.url(port)
        finally:
            child.stop()


@contextmanager
def embedded_redis(folder: Path, *, appendonly: bool = False) -> Iterator[str]:
    """Runs Redis with its files in `folder`/redis; yields its URL. It dies with this process."""
    with _home(folder / "redis") as (home, account):
        server, port = RedisHome(home, account, secrets.token_urlsafe(24), appendonly=appendonly), any_free()
        child = start_redis(server.program(port, folder / "redis.log"), server.url(port), folder)
        try:
            yield server.url(port)
        finally:
            child.stop()


@contextmanager
def _home(folder: Path) -> Iterator[tuple[Path, Account | None]]:
    account = server_account()
    home = make_home(folder, account)
    try:
        yield home, account
    finally:
        remove_home(folder)
