"""Real servers for the tests, and databases on them: named in the environment, in containers, or embedded."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from app.cli.dev.errors import DevError
from app.cli.dev.roles import DatabaseUrls, create_roles, named_in, plain_url
from app.cli.embedded import embedded_postgres, embedded_redis
from tests.canaries import keep_said, plant

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.0/8,::1/128"
KEY = plant("a key of the key ring", b64encode(secrets.token_bytes(32)).decode())
"""Of the session's key ring: what was sealed when a database was made is opened in its clones."""


_PARTS = count()
"""Redis has sixteen; the first is the whole session's."""


@dataclass(frozen=True)
class Servers:
    """A PostgreSQL whose role may create databases and roles, and a Redis."""

    database_url: str
    redis_url: str

    def own_redis_url(self) -> str:
        """A part of the Redis where no other installation that runs takes the wake-ups of this one."""
        return urlsplit(self.redis_url)._replace(path=f"/{1 + next(_PARTS) % 15}").geturl()


@contextmanager
def running_servers() -> Iterator[Servers]:
    """The servers of a test session; what is not named in the environment is started and ended here."""
    with ExitStack() as stack:
        named = _named_database(os.environ), _named_redis(os.environ)
        database_url, redis_url = named if all(named) else _own_servers(stack, *named)
        yield Servers(plain_url(database_url), redis_url)


@contextmanager
def template_database(servers: Servers) -> Iterator[str]:
    """A database with every table and no row, to be cloned; yields its name."""
    with _dropped(servers, f"postrider_template_{secrets.token_hex(4)}") as name:
        migrate(urls_of(servers, name))
        yield name


@contextmanager
def cloned_database(servers: Servers, template: str) -> Iterator[DatabaseUrls]:
    """A database of one's own, made from the template."""
    with _dropped(servers, f"postrider_test_{secrets.token_hex(4)}") as name:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        _execute(servers, statement)
        yield urls_of(servers, name)


def urls_of(servers: Servers, database: str) -> DatabaseUrls:
    """The three roles' URLs for a database, which is made when it is missing."""
    return create_roles(servers.database_url, database=database)


def migrate(urls: DatabaseUrls) -> None:
    """Brings a database to the newest revision, as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "migrate"],
        env=process_environment(urls, "redis://127.0.0.1:1/0"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    keep_said("migrate", done.stderr)
    if done.returncode:
        raise DevError(done.stdout + done.stderr)


def process_environment(urls: DatabaseUrls, redis_url: str) -> dict[str, str]:
    """What a Postrider process under test finds in its environment."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTRIDER_")} | {
        "POSTRIDER_ENVIRONMENT": "test",
        "POSTRIDER_REDIS__URL": redis_url,
        "POSTRIDER_SECRETS__KEYS": f'{{"test": "{KEY}"}}',
        "POSTRIDER_SECRETS__ACTIVE": "test",
        "POSTRIDER_EGRESS__ALLOW": LOOPBACK,
        # Every test fails to authenticate from the same address.
        "POSTRIDER_LIMITS__SIGN_IN__IP": "1000000/minute",
        "POSTRIDER_PEOPLE__FAILURES_PER_ADDRESS": "1000000/minute",
        # So whoever signs in from there as well would be asked for a second step, as befits a sprayed address.
        "POSTRIDER_PEOPLE__STEP_UP_FROM": "1000",
        **urls.as_environment(),
    }


def _named_database(environment: Mapping[str, str]) -> str:
    if url := environment.get("POSTRIDER_TEST_DATABASE_URL"):
        return url
    url = environment.get("POSTRIDER_DATABASE__URL", "")
    if url and named_in(environment):
        msg = "the tests make databases of their own: set POSTRIDER_TEST_DATABASE_URL to a role that may"
        raise DevError(msg, exit_code=2)
    return url


def _named_redis(environment: Mapping[str, str]) -> str:
    return environment.get("POSTRIDER_TEST_REDIS_URL") or environment.get("POSTRIDER_REDIS__URL", "")


def _own_servers(stack: ExitStack, database_url: str, redis_url: str) -> tuple[str, str]:
    if docker_answers():
        return database_url or _container_postgres(stack), redis_url or _container_redis(stack)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postrider-test-")))
    folder.chmod(0o711)  # the servers' account passes through to folders of its own
    return (
        database_url or stack.enter_context(embedded_postgres(folder)),
        redis_url or stack.enter_context(embedded_redis(folder)),
    )


def docker_answers() -> bool:
    """Whether a Docker engine is there to run containers: the one that DOCKER_HOST names, or the local one."""
    engine = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    local = engine.scheme == "unix"
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as client, suppress(OSError):
        client.settimeout(3)
        client.connect(engine.path if local else (engine.hostname, engine.port))
        client.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return b" 200 " in client.recv(100)
    return False


def _container_postgres(stack: ExitStack) -> str:
    with warnings.catch_warnings(action="ignore"):
        from testcontainers.postgres import PostgresContainer

        container = PostgresContainer("postgres:18", driver=None).with_command("-c max_connections=200")
        started: str = stack.enter_context(container).get_connection_url()
    return started


def _container_redis(stack: ExitStack) -> str:
    with warnings.catch_warnings(action="ignore"):
        from testcontainers.redis import RedisContainer

        container = stack.enter_context(RedisContainer("redis:8"))
        return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"


@contextmanager
def _dropped(servers: Servers, name: str) -> Iterator[str]:
    try:
        yield name
    finally:
        _execute(servers, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(servers: Servers, statement: sql.Composed) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as admin:
        admin.execute(statement)
