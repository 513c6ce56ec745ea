"""`postrider doctor` finds what is wrong with an installation, and says what to do."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
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
    assert done.output.count("ok ") == 13


def test_a_redis_that_is_away_is_named_with_what_to_do(mailing: dict[str, str]) -> None:
    code, said = look({**mailing, "POSTRIDER_REDIS__URL": "redis://127.0.0.1:1/0"})
    assert code == 1
    assert "start it" in said["redis"]


def test_a_collector_that_is_away_is_named(mailing: dict[str, str]) -> None:
    assert failed({**mailing, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) == {"telemetry"}


def test_a_role_that_sees_every_tenant_is_found(servers: Servers, mailing: dict[str, str]) -> None:
    mine = make_url(mailing["POSTRIDER_DATABASE__WORKER_URL"])
    above = make_url(servers.database_url).set(database=mine.database).render_as_string(hide_password=False)
    assert "roles" in failed({**mailing, "POSTRIDER_DATABASE__WORKER_URL": above})


def test_processes_that_nobody_started_are_missed(environment: dict[str, str], tmp_path: Path) -> None:
    assert failed({**environment, "POSTRIDER_MAIL__FOLDER": str(tmp_path)}) == {"processes"}


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
