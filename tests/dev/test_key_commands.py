"""An operator turns the secrets of keys, and says for how long they are good."""

from collections.abc import Callable, Mapping

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cli.dev.roles import DatabaseUrls
from app.cli.main import main
from app.domain import api_key, ids
from app.kit.db import make_engine
from app.models import ApiKeySecret, Organisation

Run = Callable[..., Result]


@pytest.fixture
def run(environment: Mapping[str, str]) -> Run:
    return lambda *words: CliRunner(env=environment).invoke(main, list(words))


@pytest.fixture
def organisation(run: Run) -> str:
    return run("orgs", "create", "Acme").output.strip()


@pytest.fixture
def key(run: Run, organisation: str) -> str:
    run("keys", "create", organisation)
    return run("keys", "list", organisation).output.split("\t")[0]


def secrets(database: DatabaseUrls, key: str) -> list[ApiKeySecret]:
    engine = make_engine(database.worker, pool_size=1)
    with Session(engine) as db:
        found = db.scalars(select(ApiKeySecret).filter_by(key_id=ids.decode("key", key)).order_by(ApiKeySecret.id))
        rows = list(found)
    engine.dispose()
    return rows


def key_days(database: DatabaseUrls, organisation: str) -> int | None:
    engine = make_engine(database.worker, pool_size=1)
    with Session(engine) as db:
        days = db.scalars(select(Organisation.key_days).filter_by(id=ids.decode("org", organisation))).one()
    engine.dispose()
    return days


def test_a_rotation_prints_the_new_secret(run: Run, organisation: str, key: str, database: DatabaseUrls) -> None:
    text = run("keys", "rotate", organisation, key, "--overlap-seconds", "60").output.strip()
    assert api_key.looks_valid(text)
    old, new = secrets(database, key)
    assert old.expires_at
    assert (old.expires_at - new.created_at).total_seconds() == 60
    assert (new.digest, new.expires_at) == (api_key.digest(text), None)
    shown = run("keys", "list", organisation).output.split("\t")[1]
    assert shown == f"…{new.hint} …{old.hint}"


def test_a_second_rotation_says_what_to_end_first(run: Run, organisation: str, key: str) -> None:
    assert run("keys", "rotate", organisation, key).exit_code == 0
    refused = run("keys", "rotate", organisation, key)
    assert refused.exit_code == 1
    assert "end the older one, sec_" in refused.output


@pytest.mark.parametrize("seconds", ["-1", "604801", "soon"])
def test_an_overlap_that_cannot_be_is_a_usage_error(run: Run, organisation: str, key: str, seconds: str) -> None:
    assert run("keys", "rotate", organisation, key, "--overlap-seconds", seconds).exit_code == 2


def test_a_key_of_another_organisation_is_not_rotated(run: Run, key: str, database: DatabaseUrls) -> None:
    other = run("orgs", "create", "Other").output.strip()
    refused = run("keys", "rotate", other, key)
    assert (refused.exit_code, refused.output) == (1, "Error: API key not found\n")
    assert len(secrets(database, key)) == 1


def test_an_organisation_gets_a_policy_and_loses_it(run: Run, organisation: str, database: DatabaseUrls) -> None:
    for words, days in ((("--key-days", "90"), 90), (("--no-key-days",), None)):
        assert run("orgs", "policy", organisation, *words).exit_code == 0
        assert key_days(database, organisation) == days


@pytest.mark.parametrize(
    "words", [[], ["--key-days", "0"], ["--key-days", "3651"], ["--key-days", "1", "--no-key-days"]]
)
def test_a_policy_that_cannot_be_is_a_usage_error(run: Run, organisation: str, words: list[str]) -> None:
    assert run("orgs", "policy", organisation, *words).exit_code == 2


def test_no_policy_without_an_organisation(run: Run) -> None:
    refused = run("orgs", "policy", "org_01jd0000000000000000000000", "--no-key-days")
    assert (refused.exit_code, refused.output) == (1, "Error: there is no such organisation\n")
