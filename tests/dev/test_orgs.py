"""The operator suspends and deletes organisations, and brings them back."""

from collections.abc import Callable, Mapping

import psycopg
import pytest
from click.testing import CliRunner, Result

from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from app.domain import api_key

Run = Callable[..., Result]


@pytest.fixture
def run(environment: Mapping[str, str]) -> Run:
    return lambda *words: CliRunner(env=environment).invoke(main, list(words))


@pytest.fixture
def organisation(run: Run) -> str:
    return run("orgs", "create", "Acme").output.strip()


def test_an_organisation_is_suspended_deleted_and_brought_back(
    run: Run, organisation: str, database: DatabaseUrls
) -> None:
    key = run("keys", "create", organisation).output.strip()
    assert _is_good(database.api, key)
    for command, state, is_good in (
        ("suspend", "suspended", False),
        ("delete", "deleted, restorable until", False),
        ("restore", "suspended", False),
        ("resume", "active", True),
    ):
        assert run("orgs", command, organisation).exit_code == 0
        (line,) = [one for one in run("orgs", "list").output.splitlines() if one.startswith(organisation)]
        assert line.split("\t")[2].startswith(state)
        assert _is_good(database.api, key) is is_good


@pytest.mark.parametrize("command", ["suspend", "resume", "delete", "restore"])
def test_no_change_of_an_organisation_that_is_not_there(run: Run, command: str) -> None:
    refused = run("orgs", command, "org_01jd0000000000000000000000")
    assert (refused.exit_code, refused.output) == (1, "Error: there is no such organisation\n")


def test_a_deleted_organisation_can_only_be_restored(run: Run, organisation: str) -> None:
    assert run("orgs", "restore", organisation).exit_code == 1
    run("orgs", "delete", organisation)
    for command in ("delete", "suspend", "resume"):
        assert run("orgs", command, organisation).exit_code == 1


def _is_good(api_url: str, key: str) -> bool:
    with psycopg.connect(api_url) as connection:
        found = connection.execute("SELECT FROM find_api_key(%s)", [api_key.digest(key)])
        return found.fetchone() is not None
