"""A client sends somebody to the authorization endpoint, in Chromium, and listens for the answer on this machine."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlencode

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.oauth import clients
from app.features.oauth.clients import AuthMethod, GrantType, NewClient
from tests.browser.browser import Browser
from tests.people.oauth.world import CHALLENGE
from tests.people.visitor import PASSWORD, Known


class Listener(BaseHTTPRequestHandler):
    """The client's own page."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>app</title><p>Welcome back</p>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the standard library's name
        """Says nothing."""


@pytest.fixture(scope="module")
def listening() -> Iterator[str]:
    """Where the client listens."""
    server = HTTPServer(("127.0.0.1", 0), Listener)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def path(sessions: sessionmaker[Session], person: Known, listening: str) -> str:
    """Where the client sends people."""
    new = NewClient(
        "Example app",
        "live",
        AuthMethod.none,
        [GrantType.authorization_code],
        ["openid", "email", "message:read", "endpoint:write"],
        ["http://127.0.0.1/callback"],
    )
    with sessions.begin() as db:
        client, _ = clients.create(db, person.organisation_id, new)
    sent = {
        "response_type": "code",
        "client_id": encode("client", client.id),
        "redirect_uri": f"{listening}/callback",
        "scope": "openid email message:read endpoint:write",
        "state": "abc",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"/oauth/authorize?{urlencode(sent)}"


@pytest.mark.acceptance("O19")
@pytest.mark.acceptance("O20")
def test_a_person_signs_in_allows_and_is_back_at_the_client(
    browser: Browser, person: Known, path: str, listening: str
) -> None:
    browser.open(path)
    browser.fill("Mail address", person.email)
    browser.fill("Password", PASSWORD)
    browser.press("Sign in")
    assert "Example app asks for access" in browser.text
    browser.look("consent")
    browser.press("Allow")
    browser.wait_for("Welcome back")
    assert browser.driver.current_url.startswith(f"{listening}/callback?code=")
    assert browser.complaints() == []

    browser.open("/account/applications")
    assert "Read messages" in browser.text
    browser.look("applications")

    browser.driver.delete_all_cookies()
    browser.open(path)
    browser.fill("Mail address", person.email)
    browser.fill("Password", PASSWORD)
    browser.press("Sign in")
    browser.wait_for("Welcome back")
    assert browser.driver.current_url.startswith(f"{listening}/callback?code=")
    assert browser.complaints() == []

    browser.open("/account/applications")
    browser.press("Take it back")
    assert "You have allowed no program" in browser.text


def test_whoever_says_no_is_back_at_the_client_too(browser: Browser, person: Known, path: str, listening: str) -> None:
    browser.sign_in(person.email)
    browser.open(path)
    browser.press("Do not allow")
    browser.wait_for("Welcome back")
    assert "error=access_denied" in browser.driver.current_url
