"""From one role that may create roles: the database and the three roles that Postrider runs as."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from app.cli.dev.errors import DevError

MIGRATOR, API, WORKER = "postrider_migrator", "postrider_api", "postrider_worker"
_DATABASE = "postrider"
_MAINTENANCE = frozenset({"", "postgres", "template1"})
_LOCK = 0x706F7374726F6C65  # one party at a time makes the roles of a server


@dataclass(frozen=True)
class DatabaseUrls:
    """The URLs of the three roles."""

    api: str
    worker: str
    migrator: str

    def as_environment(self) -> dict[str, str]:
        """What the settings read."""
        return {
            "POSTRIDER_DATABASE__URL": self.api,
            "POSTRIDER_DATABASE__WORKER_URL": self.worker,
            "POSTRIDER_DATABASE__MIGRATOR_URL": self.migrator,
        }


def named_in(environment: Mapping[str, str]) -> DatabaseUrls | None:
    """The three URLs when all are set; None when only the first is. DevError names the one that is missing."""
    worker = environment.get("POSTRIDER_DATABASE__WORKER_URL", "")
    migrator = environment.get("POSTRIDER_DATABASE__MIGRATOR_URL", "")
    if worker and migrator:
        return DatabaseUrls(environment["POSTRIDER_DATABASE__URL"], worker, migrator)
    if worker or migrator:
        missing = "MIGRATOR_URL" if worker else "WORKER_URL"
        msg = f"POSTRIDER_DATABASE__{missing} is not set"
        raise DevError(msg, exit_code=2)
    return None


def create_roles(admin_url: str, *, database: str = "", seed: str = "") -> DatabaseUrls:
    """Makes the database and the roles, or finds them, and returns the roles' URLs.

    The database is the one asked for, else the one that the URL names, or `postrider` when that is a maintenance
    database. The roles' passwords are derived from the administrator's (or from `seed` where that role has none),
    so that everyone who may create roles on a server comes to the same ones. DevError when the server cannot be
    reached or the role may not create roles.
    """
    try:
        with psycopg.connect(plain_url(admin_url), autocommit=True, connect_timeout=5) as admin:
            _refuse_without_rights(admin)
            urls = _urls(admin_url, database, admin.info.password or seed or secrets.token_urlsafe())
            admin.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            _make_roles(admin, urls)
            _make_database(admin, database_of(urls.migrator))
    except psycopg.OperationalError as error:
        msg = f"PostgreSQL at {shown_url(admin_url)} does not answer: {str(error).strip().splitlines()[-1]}"
        raise DevError(msg) from error
    except psycopg.Error as error:
        msg = f"PostgreSQL at {shown_url(admin_url)} refuses to make the roles: {str(error).splitlines()[0]}"
        raise DevError(msg) from error
    return urls


def plain_url(url: str) -> str:
    """A URL as libpq reads it, without SQLAlchemy's driver."""
    scheme, separator, rest = url.partition("://")
    return scheme.partition("+")[0] + separator + rest


def shown_url(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def database_of(url: str) -> str:
    """The database that a URL names; empty when none."""
    return unquote(urlsplit(url).path.removeprefix("/"))


def with_database(url: str, database: str) -> str:
    """The same URL for another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{quote(database)}"))


def _urls(admin_url: str, database: str, seed: str) -> DatabaseUrls:
    named = database or database_of(admin_url)
    base = with_database(plain_url(admin_url), _DATABASE if named in _MAINTENANCE else named)
    api, worker, migrator = (_as_role(base, role, seed) for role in (API, WORKER, MIGRATOR))
    return DatabaseUrls(api, worker, migrator)


def _as_role(url: str, role: str, seed: str) -> str:
    parts = urlsplit(url)
    password = hashlib.scrypt(seed.encode(), salt=role.encode(), n=2**14, r=8, p=1, dklen=24).hex()
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))


def _refuse_without_rights(admin: psycopg.Connection) -> None:
    may = admin.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
    if may != (True,):
        msg = (
            "POSTRIDER_DATABASE__URL names a role that may not create roles:"
            " set POSTRIDER_DATABASE__WORKER_URL and POSTRIDER_DATABASE__MIGRATOR_URL too"
        )
        raise DevError(msg, exit_code=2)


def _make_roles(admin: psycopg.Connection, urls: DatabaseUrls) -> None:
    for url in (urls.api, urls.worker, urls.migrator):
        parts = urlsplit(url)
        role = sql.Identifier(parts.username or "")
        verb = "ALTER" if _exists(admin, "pg_roles", "rolname", parts.username) else "CREATE"
        rights = "LOGIN NOCREATEDB NOCREATEROLE PASSWORD"
        admin.execute(sql.SQL("{} ROLE {} {} {}").format(sql.SQL(verb), role, sql.SQL(rights), parts.password))
        _refuse_powers(admin, parts.username)


def _refuse_powers(admin: psycopg.Connection, role: str | None) -> None:
    found = admin.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    if found != (False,):
        msg = f"the role {role} exists and may bypass row-level security: take that right from it"
        raise DevError(msg, exit_code=2)


def _make_database(admin: psycopg.Connection, name: str) -> None:
    database, owner = sql.Identifier(name), sql.Identifier(MIGRATOR)
    admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(owner))
    there = _exists(admin, "pg_database", "datname", name)
    verb = sql.SQL("ALTER DATABASE {} OWNER TO {}" if there else "CREATE DATABASE {} OWNER {}")
    admin.execute(verb.format(database, owner))
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    roles = sql.SQL(", ").join([sql.Identifier(API), sql.Identifier(WORKER)])
    admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, roles))


def _exists(admin: psycopg.Connection, catalogue: str, column: str, name: str | None) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE {} = %s").format(sql.Identifier(catalogue), sql.Identifier(column))
    return admin.execute(query, [name]).fetchone() is not None
