"""The README's lines about people, clients and identity providers are run as they stand."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from app.domain.ids import encode
from app.domain.permissions import Role
from tests.api.client import Tenant
from tests.e2e.customer import Caller
from tests.people.visitor import new_person
from tests.sdk.test_readme import run
from tests.sdk.test_readme_keys import objects
from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.timeout(300)
SHELL = [str(shutil.which("sh")), "-eus"]
BEFORE = """api=$POSTRIDER_URL/api/v1/organisation
auth="Authorization: Bearer $POSTRIDER_API_KEY" json="Content-Type: application/json"
"""


def lines(title: str) -> list[str]:
    """The blocks of shell under a heading of the README."""
    sections = re.split(r"^## ", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    [text] = [one for one in sections if one.startswith(title)]
    return re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def tenant(system: System) -> Tenant:
    return system.new_tenant()


@pytest.fixture
def account(system: System, tenant: Tenant) -> dict[str, str]:
    return {"POSTRIDER_URL": system.url, "POSTRIDER_API_KEY": tenant.key, "ORG": encode("org", tenant.organisation_id)}


@pytest.fixture
def operator(system: System, account: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Where the `postrider` command is found, and what it reads."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {**system.environment, **account, "PATH": path, "POSTRIDER_MAIL__FOLDER": str(tmp_path)}


def test_the_operator_makes_a_first_owner(operator: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "1-sign_in.eml").write_text("Subject: a mail\n\ntext\n")
    printed = run(SHELL, lines("Sign in")[0], **operator)
    assert operator["ORG"] in printed
    assert re.search(r"/sign-in/link\?token=[A-Za-z0-9_-]{86}$", printed, flags=re.MULTILINE)
    assert re.search(rf"^user_\w+\tada@example.com\tactive\t{operator['ORG']}=owner$", printed, flags=re.MULTILINE)
    assert "a mail" in printed


def test_an_organisation_invites_and_changes_its_people(
    system: System, tenant: Tenant, account: dict[str, str]
) -> None:
    member = new_person(system.sessions, tenant.organisation_id, Role.viewer)
    printed = run(SHELL, lines("Sign in")[1], **account, MEMBER_ID=encode("user", member.id))
    listed, invited, changed, organisation = objects(printed)
    assert f"'email': '{member.email}'" in str(listed["data"])
    assert (invited["email"], invited["role"]) == ("grace@example.com", "developer")
    assert (changed["email"], changed["role"]) == (member.email, "support")
    assert organisation["mfaRequired"] is True
    assert Caller(system.url, tenant.key).get("/organisation/member")["data"] == []


def test_support_acts_for_somebody(system: System, tenant: Tenant, operator: dict[str, str]) -> None:
    person = new_person(system.sessions, tenant.organisation_id)
    printed = run(SHELL, lines("Sign in")[2].replace("ada@example.com", person.email), **operator)
    assert re.search(r"/sign-in/impersonation\?token=\S+$", printed, flags=re.MULTILINE)


def test_a_program_gets_tokens_in_place_of_a_key(system: System, tenant: Tenant, account: dict[str, str]) -> None:
    api = Caller(system.url, tenant.key)
    made = api.post("/organisation/oauth-client", {"name": "before", "scopes": ["application:list"]})
    basic = {"CLIENT_ID": made["id"], "CLIENT_SECRET": made["secret"]}
    get = f'curl -fsS -u "$CLIENT_ID:$CLIENT_SECRET" {system.url}/oauth/token -d grant_type=client_credentials'
    [token] = objects(run(SHELL, get, **basic))
    printed = run(SHELL, BEFORE + lines("OAuth 2")[0], **account, **basic, ACCESS_TOKEN=str(token["access_token"]))
    shop, again, listed, introspected, *_, rotated, dashboard, configuration = objects(printed)
    assert (shop["name"], dashboard["name"]) == ("shop", "Dashboard")
    assert again["expires_in"] == 600
    assert "data" in listed
    assert introspected["active"] is True
    assert rotated["secret"] != made["secret"]
    assert configuration["issuer"] == system.url


def test_an_organisation_brings_its_identity_provider(system: System, tenant: Tenant, account: dict[str, str]) -> None:
    api = Caller(system.url, tenant.key)
    described = {"name": "before", "issuer": "https://other.example.com", "clientId": "x", "clientSecret": "y" * 20}
    provider = api.post("/organisation/identity-provider", described)["id"]
    printed = run(SHELL, BEFORE + lines("Connect an identity provider")[0], **account, PROVIDER_ID=provider)
    made, domain, verified, disabled = objects(printed)
    assert made["redirectUri"]
    assert domain["recordText"]
    assert verified["status"] in {409, 502}, "nothing is published, or nobody can be asked"
    assert disabled["enabled"] is False
    assert api.get("/organisation/identity-provider")["data"][0]["name"] == "Example SSO"
