"""pgbouncer in transaction mode before a database, as a child on loopback without rights of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from app.cli.dev.account import Account, server_account
from app.cli.dev.homes import make_home
from app.cli.dev.ports import LOOPBACK, any_free
from app.cli.dev.process import Child, Program, wait_until

START_SECONDS = 10.0
CONNECTIONS = 3


@contextmanager
def pooled(url: str, connections: int = CONNECTIONS) -> Iterator[str]:
    """The same URL by way of a pooler that holds so many connections to the database."""
    account, port = server_account(), any_free()
    with tempfile.TemporaryDirectory(prefix="postrider-pooler-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the account passes through to a folder of its own
        home, through = make_home(folder / "home", account), _at(url, port)
        child = Child(_program(url, home, account, port, connections), folder)
        try:
            if not wait_until(lambda: child.ended() is not None or _answers(through), START_SECONDS):
                pytest.fail(f"pgbouncer does not answer: {child.last_words()}")
            yield through
        finally:
            child.stop()


def _program(url: str, home: Path, account: Account | None, port: int, connections: int) -> Program:
    # Debian has it where only root looks.
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("the pooler is the package pgbouncer")
    _write(home / "users.txt", _users(url), account)
    _write(home / "pgbouncer.ini", _settings(url, home, port, connections), account)
    log = home.parent / "pooler.log"
    return Program(name="pooler", argv=[program, str(home / "pgbouncer.ini")], log=log, account=account, cwd=home)


def _write(file: Path, text: str, account: Account | None) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
    if account:
        shutil.chown(file, account.uid, account.gid)


def _users(url: str) -> str:
    parts = urlsplit(url)
    return f'"{parts.username}" "{parts.password}"\n'


def _settings(url: str, home: Path, port: int, connections: int) -> str:
    parts = urlsplit(url)
    settings = {
        "listen_addr": LOOPBACK,
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": home / "users.txt",
        "pool_mode": "transaction",
        "default_pool_size": connections,
        "max_client_conn": 200,
        "stats_period": 3600,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    databases = f"* = host={parts.hostname} port={parts.port or 5432}"
    return "\n".join(["[databases]", databases, "[pgbouncer]", *lines, ""])


def _at(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{LOOPBACK}:{port}"))


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2).close()
        return True
    return False
