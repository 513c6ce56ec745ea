"""A first owner, and somebody whom the owner invites, arrive in a real browser."""

import secrets
from collections.abc import Mapping

from click.testing import CliRunner
from sqlalchemy.orm import Session, sessionmaker

from app.cli.main import main
from app.domain.ids import encode
from app.settings import Settings
from tests.api.client import Tenant
from tests.browser.browser import Browser
from tests.people.letters import letters

SECRET = "seven green lamps above the harbour"


def link_of_first_owner(environment: Mapping[str, str], tenant: Tenant, address: str) -> str:
    words = ["users", "owner", encode("org", tenant.organisation_id), address]
    made = CliRunner(env=environment).invoke(main, words)
    assert made.exit_code == 0, made.output
    return "/sign-in/link" + made.output.strip().partition("/sign-in/link")[2]


def test_an_owner_arrives_invites_somebody_and_that_one_joins(
    browser: Browser,
    environment: Mapping[str, str],
    tenant: Tenant,
    sessions: sessionmaker[Session],
    settings: Settings,
) -> None:
    mark = secrets.token_hex(4)
    link = link_of_first_owner(environment, tenant, f"owner-{mark}@example.test")
    browser.open(link)
    browser.look("arrivals-1-first-link")
    browser.fill("Your name", "Olga Owner")
    browser.fill("New password", "aaaaaaaaaaaaaaaaaaaa")
    browser.press("Save and sign in")
    browser.look("arrivals-2-weak-password")
    browser.fill("New password", SECRET)
    browser.press("Save and sign in")
    browser.press("Organisation")
    browser.fill("Mail address", f"new-{mark}@example.test")
    browser.press("Send the invitation")
    browser.wait_for("The invitation is on its way")
    browser.look("arrivals-3-members")
    browser.press("Sign out")
    browser.open(link)
    browser.look("arrivals-4-link-over")
    (letter,) = letters(sessions, settings.secrets.ring(), tenant.organisation_id, "invitation")
    browser.open(f"/invitation?token={letter.values['token']}")
    browser.look("arrivals-5-invitation")
    browser.fill("Your name", "Nils New")
    browser.fill("New password", SECRET + " at night")
    browser.press("Join")
    browser.press("Organisation")
    browser.wait_for("You are here as viewer")
    browser.look("arrivals-6-as-viewer")
