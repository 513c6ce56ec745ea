"""`postrider doctor` finds what is wrong with an installation, and says what to do."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from click.testing import CliRunner
from sqlalchemy import make_url

from app.cli import doctor
from app.cli.dev.ports import any_free, free_range
from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from app.kit.telemetry.management import managed
from tests.receiver import Receiver
from tests.servers import Servers
from tests.system import System


def look(environment: dict[str, str]) -> tuple[int, dict[str, str]]:
    """The exit code, and what was said of each check."""
    done = CliRunner(env=environment).invoke(main, ["doctor"])
    lines = [line[8:].partition(": ") for line in done.output.splitlines()]
    return done.exit_code, {name: said for name, _, said in lines}


def failed(environment: dict[str, str]) -> set[str]:
    done = CliRunner(env=environment).invoke(main, ["doctor"])
    assert done.exit_code == 1, done.output
    return {line[8:].partition(": ")[0] for line in done.output.splitlines() if line.startswith("FAILED")}


@pytest.fixture
def mailing(system: System, tmp_path: Path) -> dict[str, str]:
    return {**system.environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)}


def test_an_installation_that_is_well_passes_every_check(mailing: dict[str, str]) -> None:
    done = CliRunner(env=mailing).invoke(main, ["doctor"])
    assert done.exit_code == 0, done.output
    assert done.output.count("ok ") == 17


def test_a_redis_that_is_away_is_named_with_what_to_do(mailing: dict[str, str]) -> None:
    code, said = look({**mailing, "POSTRIDER_REDIS__URL": "redis://127.0.0.1:1/0"})
    assert code == 1
    assert "start it" in said["redis"]


def test_a_collector_that_is_away_is_named(mailing: dict[str, str]) -> None:
    assert failed({**mailing, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) == {"traces"}


@pytest.mark.parametrize("dsn", ["https://sentry.example.test", "ftp://key@sentry.example.test/1"])
def test_a_dsn_that_is_none_is_named(mailing: dict[str, str], dsn: str) -> None:
    _, said = look({**mailing, "POSTRIDER_TELEMETRY__SENTRY_DSN": dsn})
    assert said["errors"].startswith("POSTRIDER_TELEMETRY__SENTRY_DSN is no DSN")


def test_a_sentry_that_is_away_is_named_and_one_that_is_there_is_well(
    mailing: dict[str, str], receiver: Receiver
) -> None:
    dsn = f"http://public@{urlsplit(receiver.base).netloc}/1"
    assert look({**mailing, "POSTRIDER_TELEMETRY__SENTRY_DSN": dsn})[0] == 0
    assert failed({**mailing, "POSTRIDER_TELEMETRY__SENTRY_DSN": "http://public@127.0.0.1:1/1"}) == {"errors"}


def test_processes_are_asked_on_their_ports(system: System, mailing: dict[str, str]) -> None:
    ports = system.management_ports("worker")
    asked = {"POSTRIDER_TELEMETRY__PORT": str(ports[0]), "POSTRIDER_TELEMETRY__PORTS": str(len(ports))}
    code, said = look({**mailing, **asked})
    assert (code, said["ports"]) == (0, "3 processes tell that they turn")


def test_ports_that_nobody_serves_are_named(mailing: dict[str, str]) -> None:
    free = free_range(2)
    asked = {"POSTRIDER_TELEMETRY__PORT": str(free), "POSTRIDER_TELEMETRY__PORTS": "2"}
    code, said = look({**mailing, **asked})
    assert code == 1
    assert f"nobody answers on 127.0.0.1, ports {free} to {free + 1}" in said["ports"]


def test_a_process_that_stands_still_is_named_with_its_loop(mailing: dict[str, str]) -> None:
    port = free_range(1)
    with managed("127.0.0.1", port, 1, {"/livez": lambda: "the engine has stood still for 200 s"}):
        _, said = look({**mailing, "POSTRIDER_TELEMETRY__PORT": str(port), "POSTRIDER_TELEMETRY__PORTS": "1"})
    assert said["ports"] == f"{port} says: the engine has stood still for 200 s: start that process again"


def test_a_worker_that_waits_in_a_transaction_is_found(
    mailing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STALLED_SECONDS", 3.0)
    with psycopg.connect(mailing["POSTRIDER_DATABASE__WORKER_URL"], application_name="postrider-worker") as waiting:
        waiting.execute("SELECT 1")
        time.sleep(4)
        code, said = look(mailing)
    assert code == 1
    assert said["workers"].startswith("one is in a transaction for ")


def test_workers_that_ask_for_nothing_are_found(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STALLED_SECONDS", 1.0)
    with psycopg.connect(
        environment["POSTRIDER_DATABASE__WORKER_URL"], application_name="postrider-worker", autocommit=True
    ) as silent:
        silent.execute("SELECT 1")
        time.sleep(2)
        _, said = look({**environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)})
    assert said["workers"].startswith("none has asked the database for ")


def test_a_mail_server_that_is_away_is_named_and_mail_without_one_too(mailing: dict[str, str]) -> None:
    bare = {name: value for name, value in mailing.items() if name != "POSTRIDER_MAIL__FOLDER"}
    assert failed({**bare, "POSTRIDER_MAIL__URL": "smtp://127.0.0.1:1"}) == {"mail server"}
    assert failed(bare) == {"mail"}


def test_a_mail_server_is_greeted_and_gets_no_mail(mailing: dict[str, str]) -> None:
    taken: list[Envelope] = []
    bare = {name: value for name, value in mailing.items() if name != "POSTRIDER_MAIL__FOLDER"}
    with mail_server(taken) as port:
        code, said = look({**bare, "POSTRIDER_MAIL__URL": f"smtp://localhost:{port}"})
        assert (code, said["mail server"]) == (0, "would take a mail")
        strict = {**bare, "POSTRIDER_MAIL__URL": f"smtp://localhost:{port}", "POSTRIDER_MAIL__REQUIRE_TLS": "true"}
        assert failed(strict) == {"mail server"}
    assert taken == []


@contextmanager
def mail_server(taken: list[Envelope]) -> Iterator[int]:
    """A mail server without TLS that keeps what it is given; its port."""

    class Keeper:
        async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:  # noqa: ARG002, N802 aiosmtpd looks for it
            taken.append(envelope)
            return "250 OK"

    controller = Controller(Keeper(), "localhost", any_free())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def test_a_clock_that_goes_wrong_is_found(mailing: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 10)
    _, said = look(mailing)
    assert re.match(r"(9|10)\.\d s from the database's: synchronise", said["clock"])


def test_settings_that_are_missing_are_named(mailing: dict[str, str]) -> None:
    done = CliRunner(env={**mailing, "POSTRIDER_REDIS__URL": None}).invoke(main, ["doctor"])
    assert done.exit_code != 0
    assert "POSTRIDER_REDIS: field required" in done.output


def test_a_role_that_sees_every_tenant_is_found(servers: Servers, mailing: dict[str, str]) -> None:
    mine = make_url(mailing["POSTRIDER_DATABASE__WORKER_URL"])
    above = make_url(servers.database_url).set(database=mine.database).render_as_string(hide_password=False)
    assert "roles" in failed({**mailing, "POSTRIDER_DATABASE__WORKER_URL": above})


def test_processes_that_nobody_started_are_missed(environment: dict[str, str], tmp_path: Path) -> None:
    assert failed({**environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)}) == {"processes"}


@pytest.mark.parametrize(
    ("wrong", "right", "check"),
    [
        (
            "ALTER TABLE attempts DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE attempts ENABLE ROW LEVEL SECURITY",
            "row security",
        ),
        (
            "UPDATE signing_keys SET signs_from = signs_from + interval '1 day'",
            "UPDATE signing_keys SET signs_from = signs_from - interval '1 day'",
            "signing keys",
        ),
    ],
)
def test_what_the_migrations_made_and_is_gone_is_missed(
    environment: dict[str, str], database: DatabaseUrls, tmp_path: Path, wrong: str, right: str, check: str
) -> None:
    with psycopg.connect(database.migrator, autocommit=True) as connection:
        connection.execute(wrong)
        found = failed({**environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)})
        connection.execute(right)
    assert found == {"processes", check}


def test_a_table_without_a_partition_for_tomorrow_is_named(
    environment: dict[str, str], database: DatabaseUrls, tmp_path: Path
) -> None:
    tomorrow = f"attempts_p{datetime.now(UTC).date() + timedelta(days=1):%Y%m%d}"
    with psycopg.connect(database.migrator, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE {tomorrow} RENAME TO attempts_of_another_day")
        _, said = look({**environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)})
        connection.execute(f"ALTER TABLE attempts_of_another_day RENAME TO {tomorrow}")
    assert said["partitions"].startswith("attempts has none for tomorrow")


def test_a_schema_and_deliveries_that_lag_behind_are_found(
    environment: dict[str, str], database: DatabaseUrls, tmp_path: Path
) -> None:
    due = (
        "INSERT INTO due_deliveries (environment_id, endpoint_id, message_id, trigger, application_id, lane, state,"
        " due_at, attempt, failures, expires_on, event_type) SELECT u, u, u, 0, u, 0, 0, now() - interval '1 hour', 0,"
        " 0, current_date, 'a.b' FROM gen_random_uuid() u"
    )
    with psycopg.connect(database.migrator, autocommit=True) as connection:
        connection.execute(due)
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    found = failed({**environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)})
    assert found == {"processes", "schema", "deliveries"}


def test_a_database_that_is_away_is_said_without_its_password(mailing: dict[str, str]) -> None:
    away = {**mailing, "POSTRIDER_DATABASE__URL": "postgresql://api:hidden-word@127.0.0.1:1/none"}
    done = CliRunner(env=away).invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "FAILED  database: the api's role gets no connection" in done.output
    assert "hidden-word" not in done.output
