"""What stands in headers and cookies is what a browser does."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from app.auth.people import COOKIE, TICKET
from app.console.visits import VISIT
from tests.browser.browser import Browser
from tests.people.visitor import Known


class Page(http.server.BaseHTTPRequestHandler):
    """One page of somebody else's, whatever is asked for."""

    def __init__(self, html: str, *rest: object) -> None:
        self._html = html
        super().__init__(*rest)  # type: ignore[arg-type]  # what the server passes

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self._html.encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def site_of_somebody_else(html: str) -> Iterator[int]:
    """Serves the page on a port of its own."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Page, html)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.acceptance("S06")
def test_cookies_are_kept_from_scripts_other_sites_and_plain_http(browser: Browser, person: Known) -> None:
    browser.sign_in(person.email)
    cookies = {one["name"]: one for one in browser.driver.get_cookies()}
    assert {COOKIE, VISIT} <= set(cookies)
    for name, one in cookies.items():
        assert name.startswith("__Host-"), name
        assert (one["secure"], one["httpOnly"], one["sameSite"], one["path"]) == (True, True, "Lax", "/"), name
    assert browser.driver.execute_script("return document.cookie") == ""
    assert cookies[COOKIE]["value"] not in browser.driver.page_source


def test_the_ticket_is_gone_once_it_was_used(browser: Browser, person: Known) -> None:
    browser.add_authenticator()
    browser.sign_in(person.email)
    browser.open("/account/factors/passkey")
    browser.press("Make the passkey")
    browser.press("Sign out")
    browser.sign_in(person.email)
    assert browser.driver.get_cookie(TICKET) is not None
    browser.press("Use a passkey")
    assert browser.driver.get_cookie(TICKET) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_form_of_another_origin_changes_nothing(browser: Browser, person: Known, host: str) -> None:
    browser.sign_in(person.email)
    action = f"{browser.base}/sign-in/out"
    html = f'<form method="post" action="{action}"><input name="csrf" value="x"><button>Go</button></form>'
    with site_of_somebody_else(html) as port:
        # For a browser a port makes another origin, and on localhost still the same site: it sends the cookies.
        browser.open(f"http://{host}:{port}/")
        browser.press("Go")
        assert "This was not done" in browser.text or "Sign in" in browser.text
    browser.open("/account")
    assert browser.path == "/account"


def test_a_form_of_ours_without_its_token_changes_nothing(browser: Browser, person: Known) -> None:
    browser.sign_in(person.email)
    browser.driver.execute_script("document.querySelector('input[name=csrf]').value = 'x'")
    browser.press("Sign out")
    reason = browser.driver.find_element(By.CSS_SELECTOR, "[data-reason]").get_attribute("data-reason")
    assert reason == "csrf"
    browser.open("/account")
    assert browser.path == "/account"


INJECTED = """
const [kind] = arguments;
const added = document.createElement(kind === "handler" ? "img" : "script");
if (kind === "inline") added.textContent = "window.injected = true";
if (kind === "elsewhere") added.src = "http://127.0.0.1:9/evil.js";
if (kind === "handler") added.setAttribute("onerror", "window.injected = true");
if (kind === "handler") added.src = "/none";
document.body.append(added);
"""


@pytest.mark.parametrize("kind", ["inline", "elsewhere", "handler"])
def test_a_script_that_got_into_a_page_does_not_run(browser: Browser, kind: str) -> None:
    browser.open("/sign-in")
    browser.driver.execute_script(INJECTED, kind)
    browser.wait_until(lambda: any("Content Security Policy" in one["message"] for one in browser.complaints()))
    assert browser.driver.execute_script("return window.injected") is None


def test_a_page_is_shown_in_no_frame(browser: Browser) -> None:
    with site_of_somebody_else(f'<iframe src="{browser.base}/sign-in"></iframe>') as port:
        browser.open(f"http://localhost:{port}/")
        browser.driver.switch_to.frame(0)
        assert "Mail address" not in browser.driver.page_source
        browser.driver.switch_to.default_content()


def test_a_form_leads_nowhere_else(browser: Browser) -> None:
    browser.open("/sign-in")
    browser.driver.execute_script(
        "const form = document.querySelector('main form'); form.action = 'http://127.0.0.1:9/'; form.submit()"
    )
    browser.wait_until(lambda: any("form-action" in one["message"] for one in browser.complaints()))
    assert browser.path == "/sign-in"


def test_signing_in_needs_no_scripts(driver: webdriver.Chrome, browser: Browser, person: Known) -> None:
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open("/sign-in")
        browser.fill("Mail address", person.email)
        browser.fill("Password", "correct horse battery staple\n")
        assert browser.driver.get_cookie(COOKIE) is not None
        assert browser.path == "/account"
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
