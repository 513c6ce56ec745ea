"""The operator's commands work on a real database, and say in a line what they lack."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import UUID

import click
import psycopg
import pytest
from click.testing import CliRunner, Result

from app import serving
from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from app.cli.processes import api_module
from app.domain import api_key, ids
from app.domain.audit import SYSTEM
from tests.servers import ROOT

Run = Callable[..., Result]


@pytest.fixture
def run(environment: Mapping[str, str]) -> Run:
    return lambda *words: CliRunner(env=environment).invoke(main, list(words))


@pytest.fixture
def organisation(run: Run) -> str:
    return run("orgs", "create", "Acme").output.strip()


def test_an_organisation_is_listed(run: Run, organisation: str) -> None:
    assert re.fullmatch(r"org_[0-9a-z]{26}", organisation)
    assert f"{organisation}\tAcme\tactive" in run("orgs", "list").output.splitlines()


def test_an_organisation_gets_a_retry_schedule_and_loses_it(
    run: Run, organisation: str, database: DatabaseUrls
) -> None:
    for seconds, stored in (("0", "5", "300"), [0, 5, 300]), ((), None):
        assert run("orgs", "retry-schedule", organisation, *seconds).exit_code == 0
        assert _schedule(database.migrator, organisation) == stored


@pytest.mark.parametrize("seconds", [["604801"], ["0"] * 21, ["--", "-1"], ["soon"]])
def test_a_retry_schedule_that_cannot_be_is_a_usage_error(
    run: Run, organisation: str, database: DatabaseUrls, seconds: list[str]
) -> None:
    assert run("orgs", "retry-schedule", organisation, *seconds).exit_code == 2
    assert _schedule(database.migrator, organisation) is None


def test_no_retry_schedule_without_an_organisation(run: Run) -> None:
    refused = run("orgs", "retry-schedule", "org_01jd0000000000000000000000", "0")
    assert (refused.exit_code, refused.output) == (1, "Error: there is no such organisation\n")


def test_a_key_is_found_by_the_api_until_it_is_revoked(run: Run, organisation: str, database: DatabaseUrls) -> None:
    key = run("keys", "create", organisation, "--name", "shop").output.strip()
    assert api_key.looks_valid(key)
    assert _is_good(database.api, key)
    key_id, hint, environment, role, state, name = run("keys", "list", organisation).output.strip().split("\t")
    assert (hint, environment, role, state, name) == (f"…{key[-4:]}", "test", "owner", "good", "shop")
    assert run("keys", "revoke", organisation, key_id).exit_code == 0
    assert not _is_good(database.api, key)
    assert "\trevoked\t" in run("keys", "list", organisation).output


def test_a_second_revocation_is_refused(run: Run, organisation: str) -> None:
    run("keys", "create", organisation)
    key_id = run("keys", "list", organisation).output.split("\t")[0]
    assert run("keys", "revoke", organisation, key_id).exit_code == 0
    assert "there is no such key" in run("keys", "revoke", organisation, key_id).output


def test_a_key_of_another_organisation_is_not_revoked(run: Run, organisation: str) -> None:
    run("keys", "create", organisation)
    key_id = run("keys", "list", organisation).output.split("\t")[0]
    other = run("orgs", "create", "Other").output.strip()
    assert run("keys", "revoke", other, key_id).exit_code == 1
    assert "\tgood\t" in run("keys", "list", organisation).output


def test_no_key_without_an_organisation(run: Run) -> None:
    refused = run("keys", "create", "org_01jd0000000000000000000000")
    assert (refused.exit_code, refused.output) == (1, "Error: there is no such organisation\n")


def test_an_id_of_another_kind_is_a_usage_error(run: Run) -> None:
    refused = run("keys", "list", "app_01jd0000000000000000000000")
    assert refused.exit_code == 2
    assert "is no id that begins with org_" in refused.output


def test_missing_settings_are_named_without_values(environment: Mapping[str, str]) -> None:
    lacking = {**environment, "POSTRIDER_REDIS__URL": None, "POSTRIDER_SECRETS__ACTIVE": "hush"}
    refused = CliRunner(env=lacking).invoke(main, ["orgs", "list"])
    assert refused.exit_code == 2
    assert "POSTRIDER_REDIS" in refused.output
    assert len(refused.output.strip().splitlines()) <= 4


@pytest.mark.parametrize(
    "words", ["api", "worker", "beat", "migrate", "retention", "secrets rotate", "orgs list", "audit verify"]
)
def test_what_is_not_set_is_said_in_a_line(words: str) -> None:
    lacking = dict.fromkeys(name for name in os.environ if name.startswith("POSTRIDER_"))
    refused = CliRunner(env=lacking).invoke(main, words.split())
    assert refused.exit_code == 2
    assert "POSTRIDER_DATABASE: field required" in refused.output
    assert len(refused.output.strip().splitlines()) <= 4


@pytest.mark.parametrize("words", ["migrate", "retention", "secrets rotate", "orgs list", "audit verify"])
def test_an_unreachable_database_is_one_line(environment: Mapping[str, str], words: str) -> None:
    away = {
        name: "postgresql://p@127.0.0.1:1/p" if "DATABASE" in name else value for name, value in environment.items()
    }
    refused = CliRunner(env=away).invoke(main, words.split())
    assert (refused.exit_code, len(refused.output.splitlines())) == (1, 1), refused.output
    assert refused.output.startswith("Error: the database does not answer: ")


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("migrate", "MIGRATOR"),
        ("orgs list", "MIGRATOR"),
        ("audit verify", "MIGRATOR"),
        ("retention", "WORKER"),
        ("secrets rotate", "WORKER"),
    ],
)
def test_a_url_that_is_missing_is_named(environment: Mapping[str, str], words: str, url: str) -> None:
    name = f"POSTRIDER_DATABASE__{url}_URL"
    refused = CliRunner(env={**environment, name: None}).invoke(main, words.split())
    assert refused.exit_code == 2
    assert f"{name} is not set" in refused.output


PROMISED = {"dev", "api", "worker", "beat", "migrate", "orgs", "keys", "retention", "secrets", "audit", "bench"}


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    """Every command and every group of commands."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)


@pytest.mark.parametrize("words", [(), *commands(main)], ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*words, "--help"])
    assert shown.exit_code == 0
    usage, _, rest = shown.output.partition("\n\n")
    assert usage.startswith(" ".join(["Usage:", "main", *words]))
    assert rest.partition("Options:")[0].strip().endswith(".")


def test_every_command_that_is_promised_is_there() -> None:
    there = set(commands(main))
    assert {words[0] for words in there} >= PROMISED
    assert ("secrets", "rotate") in there


@pytest.mark.parametrize(
    ("command", "module", "not_needed"),
    [
        ("migrate", "app.cli.migrating", {"fastapi", "celery", "redis", "aiohttp", "app.cli.dev.command"}),
        ("api", "app.cli.processes", {"sqlalchemy", "fastapi", "celery", "redis", "aiohttp"}),
    ],
)
def test_what_pods_begin_with_loads_little(command: str, module: str, not_needed: set[str]) -> None:
    script = "import sys; from app.cli.main import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"
    loaded = modules_after(script, command, "--help")
    assert module in loaded
    assert not loaded & not_needed


def test_the_api_is_imported_before_it_is_forked() -> None:
    (name,) = (word.partition("python:")[2] for word in api_module(["::1"], 8000, 2, 30) if "--config" in word)
    assert name == serving.__name__
    read = f"import sys, {name} as read; "
    assert "app.main" not in modules_after(f"{read} print(*sys.modules)")
    assert "app.main" in modules_after(f"{read} read.on_starting(None); print(*sys.modules)")


def modules_after(script: str, *words: str) -> set[str]:
    """What a process has loaded by the end of a script, which says so in its last line."""
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.acceptance("G01")
def test_what_an_operator_does_is_an_event(run: Run, organisation: str, database: DatabaseUrls) -> None:
    run("orgs", "retry-schedule", organisation, "0", "5")
    run("keys", "create", organisation, "--name", "shop")
    key_id = run("keys", "list", organisation).output.split("\t")[0]
    run("keys", "revoke", organisation, key_id)
    run("audit", "export", organisation)
    assert _events(database.migrator, ids.decode("org", organisation)) == [
        ("organisation.created", "operator", "success", organisation, "Acme"),
        ("organisation.retries_changed", "operator", "success", organisation, ""),
        ("key.created", "operator", "success", key_id, "shop"),
        ("key.revoked", "operator", "success", key_id, ""),
        ("audit.exported", "operator", "success", "", ""),
    ]


@pytest.mark.acceptance("G01")
def test_what_an_operator_may_not_is_no_event(run: Run, organisation: str, database: DatabaseUrls) -> None:
    assert run("orgs", "retry-schedule", organisation, "604801").exit_code == 2
    assert run("keys", "revoke", organisation, "key_01jd0000000000000000000000").exit_code == 1
    assert [one[0] for one in _events(database.migrator, ids.decode("org", organisation))] == ["organisation.created"]


@pytest.mark.acceptance("G01")
def test_a_turn_of_the_key_ring_is_an_event_of_no_organisation(run: Run, database: DatabaseUrls) -> None:
    known = len(_events(database.migrator, SYSTEM))
    assert run("secrets", "rotate").exit_code == 0
    assert _events(database.migrator, SYSTEM)[known:] == [("secrets.rotated", "operator", "success", "test", "")]
    assert "BAD" not in run("audit", "verify", ids.encode("org", SYSTEM)).output


def test_a_worker_without_its_folder_says_so_in_a_line(environment: Mapping[str, str], tmp_path: Path) -> None:
    gone = {**environment, "POSTRIDER_AUDIT__ANCHORS": str(tmp_path / "gone")}
    command = [sys.executable, "-m", "app.cli.main", "worker", "--processes=1"]
    done = subprocess.run(command, env=gone, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"postrider worker: POSTRIDER_AUDIT__ANCHORS: {tmp_path / 'gone'} is no folder" in done.stderr


def _events(migrator_url: str, organisation_id: UUID | None) -> list[tuple[object, ...]]:
    with psycopg.connect(migrator_url) as connection:
        query = (
            "SELECT action, actor_kind, outcome, target_id, target_label FROM audit_events"
            " WHERE organisation_id = %s ORDER BY occurred_at"
        )
        return connection.execute(query, [organisation_id]).fetchall()


def _schedule(migrator_url: str, organisation: str) -> object:
    with psycopg.connect(migrator_url) as connection:
        query = "SELECT DISTINCT retry_schedule FROM environments WHERE organisation_id = %s"
        ((found,),) = connection.execute(query, [ids.decode("org", organisation)]).fetchall()
    return found


def _is_good(api_url: str, key: str) -> bool:
    with psycopg.connect(api_url) as connection:
        found = connection.execute("SELECT key_id FROM find_api_key(%s)", [api_key.digest(key)]).fetchone()
    return found is not None
