"""Every page is one that everybody can use: named, labelled, announced, and free of what its policy forbids."""

import pytest
from fastapi.routing import APIRoute
from selenium.webdriver.common.by import By

from app.main import CONSOLE
from tests.browser.browser import Browser
from tests.people.factors.acts import App
from tests.people.visitor import Known

# Pages of another kind: the portal takes a token, and others send whoever opens them by hand to another page.
ELSEWHERE = ("/portal", "/oauth/authorize", "/oauth/logout", "/sign-in/provider")
PATHS = sorted(
    route.path
    for router in CONSOLE
    for route in router.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    if "{" not in route.path and not route.path.startswith(ELSEWHERE)
)
WIDTHS = {"wide": 1280, "narrow": 390}


@pytest.fixture(params=WIDTHS)
def any_width(browser: Browser, request: pytest.FixtureRequest) -> str:
    """The windows of a computer and of a telephone."""
    width: str = request.param
    browser.resize(WIDTHS[width])
    return width


def test_every_page_of_a_visitor(browser: Browser, any_width: str) -> None:
    shown = 0
    for path in PATHS:
        browser.open(path)
        if browser.path.startswith(path):
            browser.look(f"visitor{path.replace('/', '-')}-{any_width}")
            shown += 1
    assert shown >= 4


def test_every_page_of_a_person(browser: Browser, person: Known, any_width: str) -> None:
    browser.sign_in(person.email)
    shown = 0
    for path in PATHS:
        browser.open(path)
        if browser.path == path:
            browser.look(f"person{path.replace('/', '-')}-{any_width}")
            shown += 1
    assert shown >= 8


def test_the_way_through_both_steps(browser: Browser, person: Known, any_width: str) -> None:
    browser.sign_in(person.email, "wrong")
    browser.look(f"way-1-wrong-password-{any_width}")
    assert browser.field("Password").get_attribute("aria-describedby") == "error"
    browser.sign_in(person.email)
    browser.open("/account/factors/app")
    app = App(browser.driver.find_element(By.ID, "secret").text.replace(" ", ""))
    browser.fill("The six digits", "000000")
    browser.press("Add the app")
    browser.look(f"way-2-wrong-code-{any_width}")
    browser.fill("The six digits", app.code(-1))
    browser.press("Add the app")
    browser.look(f"way-3-recovery-codes-{any_width}")
    browser.press("I have kept them")
    browser.add_authenticator()
    browser.press("Add a passkey")
    browser.fill("A name", "Laptop")
    browser.press("Make the passkey")
    browser.look(f"way-4-factors-{any_width}")
    browser.open("/sign-in/again")
    browser.look(f"way-5-again-{any_width}")
    browser.press("Sign out")
    browser.sign_in(person.email)
    browser.look(f"way-6-second-step-{any_width}")
    browser.fill("The six digits", "000000")
    browser.press("Go on")
    browser.look(f"way-7-second-step-wrong-{any_width}")
    browser.fill("The six digits", app.code())
    browser.press("Go on")
    assert browser.path == "/account"


def test_pages_can_be_read_in_the_dark(browser: Browser, person: Known) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.open("/sign-in")
    browser.look("dark-sign-in")
    browser.sign_in(person.email, "wrong")
    browser.look("dark-wrong-password")
    browser.sign_in(person.email)
    for path in ("/account/factors", "/account/sessions", "/account/factors/app"):
        browser.open(path)
        browser.look(f"dark{path.replace('/', '-')}")
