"""Where somebody is signed in, one more step, and the operator's banner, as people meet them."""

import os
from unittest import mock

import pytest
from selenium.webdriver.common.by import By
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.cli.dev.ports import any_free
from app.features.people import queries as people
from app.features.sessions import impersonation
from app.settings import Settings, read_settings
from tests.browser.browser import Browser
from tests.people.letters import letters
from tests.people.sessions.places import HOME, SYDNEY, write_cities, write_networks
from tests.people.visitor import Known


@pytest.fixture(scope="module")
def settings(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Behind a proxy that is trusted, with the operator's databases of places."""
    folder = tmp_path_factory.mktemp("places")
    given = {
        **environment,
        "POSTRIDER_PUBLIC_URL": f"http://localhost:{any_free()}",
        "POSTRIDER_HTTP__TRUSTED_PROXIES": "127.0.0.0/8,::1/128",
        "POSTRIDER_PEOPLE__PLACES": str(write_cities(folder / "city.mmdb")),
        "POSTRIDER_PEOPLE__NETWORKS": str(write_networks(folder / "asn.mmdb")),
    }
    del given["POSTRIDER_PEOPLE__STEP_UP_FROM"]
    with mock.patch.dict(os.environ, given, clear=True):
        return read_settings()


def come_from(browser: Browser, address: str) -> None:
    """Lets the proxy tell another address."""
    browser.driver.execute_cdp_cmd("Network.enable", {})
    browser.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"X-Forwarded-For": address}})


def sessions_shown(browser: Browser) -> int:
    return len(browser.driver.find_elements(By.CSS_SELECTOR, "section[aria-labelledby=sessions] tbody tr"))


def test_sessions_are_seen_and_the_others_ended(browser: Browser, person: Known) -> None:
    come_from(browser, HOME)
    for _ in range(2):
        browser.driver.delete_cookie(COOKIE)
        browser.sign_in(person.email)
    browser.open("/account/sessions")
    assert sessions_shown(browser) == 2
    assert browser.text.count("Vienna, Austria") == 2
    assert "this session" in browser.text
    browser.look("sessions-two")
    browser.press("End all others")
    assert sessions_shown(browser) == 1
    browser.press("Forget")
    assert "None." in browser.text
    browser.press("End all, this one too")
    assert browser.path == "/sign-in"


def test_one_more_step_is_asked_for_and_a_mailed_code_answers(
    browser: Browser, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    come_from(browser, HOME)
    browser.sign_in(person.email)
    browser.press("Sign out")
    come_from(browser, SYDNEY)
    browser.sign_in(person.email)
    assert browser.driver.find_element(By.CSS_SELECTOR, "[data-reason=step_up_required]").is_displayed()
    browser.look("step-up")
    browser.press("Continue")
    browser.press("Mail me a code")
    browser.look("step-up-mailed")
    code = letters(sessions, settings.secrets.ring(), person.id, "sign_in_code")[-1].values["code"]
    browser.fill("The code that was mailed to you", str(code))
    browser.type_keys("\ue007")
    browser.wait_until(lambda: browser.path == "/account")


def test_whoever_acts_as_somebody_sees_a_banner(
    browser: Browser, person: Known, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        user = db.scalars(people.user(person.id)).one()
        token = impersonation.offer(db, impersonation.Offer(user, "operator@host", "ticket 4711", 15))
    browser.open(f"/sign-in/impersonation?token={token}")
    browser.look("impersonation")
    browser.press("Begin")
    assert browser.driver.find_element(By.CLASS_NAME, "banner").text.startswith("operator@host acts as")
    browser.look("impersonation-account")
    browser.open("/account/sessions")
    browser.look("impersonation-sessions")
