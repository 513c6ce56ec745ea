"""The README's lines about keys are run as they stand."""

import json
import shutil

import pytest

from app.domain import api_key
from tests.api.client import Tenant
from tests.e2e.customer import Caller
from tests.sdk.test_readme import run, snippets
from tests.system import System

KEYS = "/organisation/api-key"


@pytest.fixture
def owner(system: System) -> tuple[Tenant, Caller]:
    tenant = system.new_tenant()
    return tenant, Caller(system.url, tenant.key)


def objects(text: str) -> list[dict[str, object]]:
    """JSON objects that stand one behind the other."""
    found, decoder = [], json.JSONDecoder()
    while text:
        one, end = decoder.raw_decode(text)
        found.append(one)
        text = text[end:].lstrip()
    return found


def test_the_lines_make_rotate_change_and_end_keys(system: System, owner: tuple[Tenant, Caller]) -> None:
    tenant, api = owner
    key = api.post(KEYS, {"name": "before", "role": "viewer"})
    account = {"POSTRIDER_URL": system.url, "POSTRIDER_API_KEY": tenant.key, "KEY_ID": key["id"]}
    lines = snippets("Keys, roles and environments")["sh"]

    printed = run([str(shutil.which("sh")), "-eus"], lines, **account)

    made, rotated, renamed, changed, shown = objects(printed)
    assert (made["name"], made["scopes"]) == ("shop", ["message:send"])
    assert all(api_key.looks_valid(str(one["key"])) for one in (made, rotated))
    assert (renamed["id"], renamed["name"]) == (key["id"], "web shop")
    assert (changed["keyDays"], changed["deniedNetworks"]) == (90, ["198.51.100.0/24"])
    assert shown == changed
    assert api.get(f"{KEYS}/{key['id']}")["revokedAt"]
