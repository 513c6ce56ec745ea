"""`postrider doctor`: looks at a whole installation, and says what to do."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import click
from redis import Redis
from redis.exceptions import RedisError
from sentry_sdk.utils import BadDsn, Dsn
from sqlalchemy import Connection, Select
from sqlalchemy.exc import SQLAlchemyError

from app.cli import doctor_queries as asked
from app.cli.configured import settings_or_exit
from app.features.health import queries, revision
from app.features.oauth import keys
from app.features.retention.queries import partitions
from app.kit.db import NotDurableError, assert_durable, make_engine, make_sessions
from app.kit.post import NotSent, Smtp
from app.settings import Settings

PATIENCE_SECONDS = 2.0
SKEW_SECONDS = 2.0
DUE_SECONDS = 60.0
MAIL_SECONDS = 600.0
STALLED_SECONDS = 60.0
TENANT_TABLES = ("applications", "endpoints", "messages", "due_deliveries", "deliveries", "attempts")
OTLP = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class AilmentError(Exception):
    """What is wrong, and what to do about it."""


@click.command()
@click.pass_context
def doctor(context: click.Context) -> None:
    """Look at the whole installation: a line for each check, with what to do; exit 1 if one failed."""
    settings = settings_or_exit()
    click.echo("ok      settings: all that is needed is set")
    # Each is looked at, whatever came of those before.
    well = [_look(name, check, settings) for name, check in CHECKS.items()]
    if not all(well):
        context.exit(1)


def _look(name: str, check: Callable[[Settings], str], settings: Settings) -> bool:
    try:
        said, well = check(settings), True
    except AilmentError as ailment:
        said, well = str(ailment), False
    except SQLAlchemyError as error:
        said, well = f"the database cannot be asked ({_kind(error)}): see what the check of the database says", False
    except ValueError as error:
        said, well = f"{error}: set it", False
    click.echo(f"{'ok' if well else 'FAILED':7} {name}: {said}")
    return well


def _kind(error: SQLAlchemyError) -> str:
    return type(getattr(error, "orig", None) or error).__name__


def _urls(settings: Settings) -> dict[str, str]:
    database = settings.database
    return {"api": database.url.get_secret_value(), "worker": database.worker(), "migrator": database.migrator()}


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = make_engine(url, pool_size=1, name="postrider-doctor")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _ask(url: str, statement: Select[Any]) -> Any:  # noqa: ANN401 as its column has it
    with _connected(url) as connection:
        return connection.scalar(statement)


def _database(settings: Settings) -> str:
    for role, url in _urls(settings).items():
        try:
            with _connected(url) as connection:
                assert_durable(connection)
        except NotDurableError as error:
            raise AilmentError(str(error)) from error
        except SQLAlchemyError as error:
            said = f"the {role}'s role gets no connection ({_kind(error)}): start PostgreSQL, or mend its URL"
            raise AilmentError(said) from error
    return "answers the API, the workers and the migrator, and keeps what it acknowledged"


def _roles(settings: Settings) -> str:
    urls = _urls(settings)
    for role in ("api", "worker"):
        if _ask(urls[role], asked.is_above_tenants()):
            raise AilmentError(f"the {role}'s role sees every tenant: ALTER ROLE … NOSUPERUSER NOBYPASSRLS")
    return "the API's and the workers' are bound by row security"


def _row_security(settings: Settings) -> str:
    migrator = settings.database.migrator()
    bare = [name for name in TENANT_TABLES if not _ask(migrator, asked.is_row_security_on(name))]
    if bare:
        raise AilmentError(f"off, or no table, for {', '.join(bare)}: run `postrider migrate`")
    return "on for the tables of tenants"


def _schema(settings: Settings) -> str:
    found = _ask(settings.database.migrator(), queries.revision()) or ""
    if fault := revision.fault_of(found):
        raise AilmentError(fault)
    return f"at revision {found}"


def _partitions(settings: Settings) -> str:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with _connected(settings.database.migrator()) as connection:
        for parent in ("messages", "deliveries", "attempts"):
            if not any(
                f"{tomorrow:%Y%m%d}" in name.replace("_", "") for name in connection.scalars(partitions(parent))
            ):
                raise AilmentError(f"{parent} has none for tomorrow: start beat, or run `postrider retention`")
    return "made for tomorrow"


def _redis(settings: Settings) -> str:
    url = settings.redis.url.get_secret_value()
    patience = {"socket_timeout": PATIENCE_SECONDS, "socket_connect_timeout": PATIENCE_SECONDS}
    try:
        with Redis.from_url(url, **patience) as client:
            client.ping()
    except (RedisError, OSError) as error:
        said = f"does not answer ({type(error).__name__}): start it; until then wake-ups come by the sweep alone"
        raise AilmentError(said) from error
    return "answers"


def _processes(settings: Settings) -> str:
    """By their connections, which each process that works keeps open."""
    urls = _urls(settings)
    api = _ask(urls["api"], asked.connections("postrider-api"))
    workers = _ask(urls["worker"], asked.connections("postrider-worker"))
    if not workers:
        raise AilmentError("no worker is connected, so nothing is delivered: run `postrider worker`")
    if not api and not settings.database.pooler:
        raise AilmentError("no API is connected, so nothing is accepted: run `postrider api`")
    return f"{api} connections of the API, {workers} of workers"


def _workers(settings: Settings) -> str:
    """A worker asks the database every few seconds, and its transactions are short."""
    url, stands = settings.database.worker(), "see k8s/runbooks/LoopStands.md, and start the workers again"
    silent = _ask(url, asked.silent_seconds("postrider-worker"))
    if silent is not None and silent > STALLED_SECONDS:
        raise AilmentError(f"none has asked the database for {silent:.0f} s: {stands}")
    age = float(_ask(url, asked.transaction_seconds("postrider-worker")) or 0)
    if age > STALLED_SECONDS:
        raise AilmentError(f"one is in a transaction for {age:.0f} s: see k8s/runbooks/PostgresTransactionsOld.md")
    return "none stands still"


def _due(settings: Settings) -> str:
    age = float(_ask(settings.database.worker(), asked.oldest_due_seconds()) or 0)
    if age > DUE_SECONDS:
        raise AilmentError(f"one could have been sent {age:.0f} s ago: see k8s/runbooks/DeliverySlow.md")
    return "none waits for a worker"


def _clock(settings: Settings) -> str:
    before = time.time()
    theirs = float(_ask(settings.database.migrator(), asked.now()))
    skew = max(0.0, before - theirs, theirs - time.time())
    if skew > SKEW_SECONDS:
        raise AilmentError(f"{skew:.1f} s from the database's: synchronise both machines by NTP")
    return "as the database's"


def _mail(settings: Settings) -> str:
    if settings.mail_server() is None and settings.mail.folder is None:
        raise AilmentError("waits, since nobody takes it: set POSTRIDER_MAIL__URL")
    age = float(_ask(settings.database.migrator(), asked.oldest_mail_seconds()) or 0)
    if age > MAIL_SECONDS:
        raise AilmentError(f"one waits for {age:.0f} s: see k8s/runbooks/MailWaits.md")
    return "none waits for long"


def _mail_server(settings: Settings) -> str:
    server = settings.mail_server()
    if server is None:
        return f"none is set; mail {'goes into a folder' if settings.mail.folder else 'waits'}"
    try:
        Smtp(server, patience=PATIENCE_SECONDS).greet()
    except NotSent as error:
        said = f"takes no mail of ours ({error}): start it, or mend POSTRIDER_MAIL__URL and POSTRIDER_MAIL__REQUIRE_TLS"
        raise AilmentError(said) from error
    return "would take a mail"


def _signing_keys(settings: Settings) -> str:
    engine = make_engine(settings.database.migrator(), pool_size=1, name="postrider-doctor")
    try:
        with make_sessions(engine).begin() as db:
            missing = keys.missing(db)
    finally:
        engine.dispose()
    if missing:
        raise AilmentError(f"none for {', '.join(missing)}: run `postrider migrate`")
    return "one for each algorithm"


def _ports(settings: Settings) -> str:
    """Those of the part whose settings these are; each other part has a range of its own."""
    telemetry = settings.telemetry
    if telemetry.port is None:
        return "none is served, since POSTRIDER_TELEMETRY__PORT is not set"
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nosec B104  # what others listen on
    host = everywhere.get(telemetry.host, telemetry.host)
    found = {
        port: said for port in range(telemetry.port, telemetry.port + telemetry.ports) if (said := _live(host, port))
    }
    if not found:
        last = telemetry.port + telemetry.ports - 1
        where = f"nobody answers on {host}, ports {telemetry.port} to {last}"
        raise AilmentError(f"{where}: ask where the processes run, which must have this POSTRIDER_TELEMETRY__PORT")
    if ill := [f"{port} says: {said}" for port, said in found.items() if said != "ok"]:
        raise AilmentError(f"{'; '.join(ill)}: start that process again")
    return f"{len(found)} processes tell that they turn"


def _live(host: str, port: int) -> str | None:
    """What a process says of its loops; None where nobody listens."""
    connection = HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().read(200).decode(errors="replace").strip()
    except ConnectionRefusedError:
        return None
    except (OSError, HTTPException) as error:
        return f"no answer ({type(error).__name__})"
    finally:
        connection.close()


def _traces(settings: Settings) -> str:
    del settings
    url = next((os.environ[name] for name in OTLP if os.environ.get(name)), None)
    if url is None:
        return "none are sent, since OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    parts = urlsplit(url)
    _reach("the collector", parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80), OTLP[1])
    return "the collector takes connections"


def _errors(settings: Settings) -> str:
    dsn = settings.telemetry.dsn()
    if dsn is None:
        return "none are reported, since POSTRIDER_TELEMETRY__SENTRY_DSN is not set"
    try:
        where = Dsn(dsn)
    except BadDsn as error:
        said = "POSTRIDER_TELEMETRY__SENTRY_DSN is no DSN: copy it from the project's settings in Sentry"
        raise AilmentError(said) from error
    _reach("Sentry", where.host, where.port, "POSTRIDER_TELEMETRY__SENTRY_DSN")
    return "Sentry takes connections"


def _reach(who: str, host: str, port: int, setting: str) -> None:
    try:
        socket.create_connection((host, port), PATIENCE_SECONDS).close()
    except OSError as error:
        said = f"{who} takes no connection ({type(error).__name__}): start it, or mend {setting}"
        raise AilmentError(said) from error


CHECKS: dict[str, Callable[[Settings], str]] = {
    "database": _database,
    "roles": _roles,
    "row security": _row_security,
    "schema": _schema,
    "partitions": _partitions,
    "redis": _redis,
    "processes": _processes,
    "workers": _workers,
    "deliveries": _due,
    "clock": _clock,
    "mail": _mail,
    "mail server": _mail_server,
    "signing keys": _signing_keys,
    "ports": _ports,
    "traces": _traces,
    "errors": _errors,
}
