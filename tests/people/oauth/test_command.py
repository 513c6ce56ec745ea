"""`postrider clients`."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.cli.main import main
from app.domain.ids import decode, encode
from app.models import AuditEvent, OAuthClient
from tests.api.client import Tenant
from tests.people.oauth.test_signed_assertions import JWKS
from tests.people.oauth.world import CALLBACK


@pytest.fixture
def organisation(tenant: Tenant) -> str:
    return encode("org", tenant.organisation_id)


def run(environment: Mapping[str, str], *words: str) -> Result:
    return CliRunner(env=dict(environment)).invoke(main, ["clients", *words])


def test_an_operator_makes_turns_lists_and_deletes_clients(
    environment: dict[str, str], organisation: str, sessions: sessionmaker[Session]
) -> None:
    made = run(
        environment, "create", organisation, "--name", "app", "--first-party", "--grant", "authorization_code",
        "--grant", "password", "--scope", "openid", "--scope", "message:read", "--redirect-uri", CALLBACK,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    client, secret = made.output.split()
    assert (client.startswith("client_"), secret.startswith("whcs_")) == (True, True)
    with sessions() as db:
        row = db.scalars(select(OAuthClient).filter_by(id=decode("client", client))).one()
    assert (row.first_party, row.grant_types) == (True, ["authorization_code", "password"])
    listed = run(environment, "list", organisation)
    assert listed.output.startswith(f"{client}\ttest\tclient_secret_basic\tauthorization_code password\tapp")
    turned = run(environment, "rotate", organisation, client, "--overlap-seconds", "0")
    assert (turned.exit_code, turned.output.strip() != secret) == (0, True)
    assert run(environment, "delete", organisation, client).exit_code == 0
    for again in (("delete", organisation, client), ("rotate", organisation, client)):
        assert run(environment, *again).exit_code == 1
    with sessions() as db:
        events = db.scalars(select(AuditEvent.action).filter_by(target_id=client).order_by(AuditEvent.id)).all()
    assert events == ["oauth.client_created", "oauth.client_rotated", "oauth.client_deleted"]


@pytest.mark.parametrize(
    "words",
    [
        ["--redirect-uri", "http://app.example.test/"],
        ["--grant", "password"],
        ["--auth-method", "none", "--grant", "client_credentials"],
        ["--auth-method", "private_key_jwt", "--grant", "client_credentials"],
        ["--jwks", "/nonexistent"],
    ],
)
def test_what_does_not_fit_together_is_said(environment: dict[str, str], organisation: str, words: list[str]) -> None:
    refused = run(environment, "create", organisation, "--name", "app", "--scope", "openid", *words)
    assert refused.exit_code == 2, refused.output


def test_a_client_that_signs_brings_its_keys(environment: dict[str, str], organisation: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps(JWKS))
    made = run(
        environment, "create", organisation, "--name", "app", "--scope", "message:read", "--auth-method",
        "private_key_jwt", "--grant", "client_credentials", "--jwks", str(tmp_path / "keys.json"),
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert len(made.output.split()) == 1
