"""`postrider doctor` finds what is wrong with an installation, and says what to do."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.main import main
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


def test_a_database_that_is_away_is_said_without_its_password(mailing: dict[str, str]) -> None:
    away = {**mailing, "POSTRIDER_DATABASE__URL": "postgresql://api:hidden-word@127.0.0.1:1/none"}
    done = CliRunner(env=away).invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "FAILED  database: the api's role gets no connection" in done.output
    assert "hidden-word" not in done.output
