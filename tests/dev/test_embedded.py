"""The embedded servers are the real ones, durable, closed to others, and gone when the block ends."""

import os
import stat
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.cli.dev.account import server_account
from app.cli.dev.homes import make_home
from app.cli.dev.identity import identify
from app.cli.dev.ports import is_free
from app.cli.embedded import embedded_postgres, embedded_redis

AS_ROOT = os.geteuid() == 0


def test_postgres_is_durable_and_gone_afterwards(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url, psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version_num')::int / 10000, current_setting('fsync'),"
            " current_setting('synchronous_commit'), current_setting('full_page_writes'),"
            " current_setting('max_connections')::int, current_setting('server_encoding')"
        ).fetchone()
    assert row == (18, "on", "on", "on", 200, "UTF8")
    assert is_free(urlsplit(url).port or 0)
    assert {one.suffix for one in tmp_path.iterdir()} == {".log"}


def test_postgres_asks_for_its_password(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        guess = url.replace(urlsplit(url).password or "", "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(guess)


def test_redis_asks_for_its_password_and_forgets(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as url:
        port = urlsplit(url).port or 0
        with redis.Redis.from_url(url) as client:
            assert client.info("server")["redis_version"].startswith("6.2.")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    assert is_free(port)


@pytest.mark.skipif(not AS_ROOT, reason="this machine cannot: an ordinary user drops no rights")
def test_as_root_servers_run_unprivileged_without_wider_folders(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with embedded_postgres(closed) as url, embedded_redis(closed), psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
        assert row is not None
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in _servers_of(os.getpid())}
        homes = [(closed / name).resolve() for name in ("postgres", "redis")]
        assert owners == {home.stat().st_uid for home in homes}
        assert 0 not in owners
        assert {stat.S_IMODE(home.stat().st_mode) for home in homes} == {0o700}
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert not any(home.exists() for home in homes)


@pytest.mark.skipif(not AS_ROOT, reason="this machine cannot: an ordinary user drops no rights")
def test_a_home_stays_in_the_folder_when_the_account_reaches_it() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        home = make_home(folder / "postgres", server_account())
        assert not home.is_symlink()
        assert home.parent == folder


def _servers_of(parent: int) -> list[int]:
    shown = subprocess.run(
        ["ps", "-o", "pid=,comm=", "--ppid", str(parent)], capture_output=True, text=True, check=True
    )
    rows = (line.split() for line in shown.stdout.splitlines())
    found = [int(pid) for pid, name in rows if name in {"postgres", "redis-server"}]
    assert all(identify(pid) for pid in found)
    return found
