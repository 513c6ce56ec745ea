"""An organisation's identity provider in a real browser: setting it up, going there, and coming back."""

import asyncio
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from app.models import ProviderDomain
from tests.api.client import new_tenant
from tests.browser.browser import Browser
from tests.people.relying.idp import Person, Provider, running
from tests.people.visitor import Known, new_person

PAGE = "/organisation/identity-providers"


@contextmanager
def in_a_thread(provider: Provider) -> Iterator[Provider]:
    """The provider, while this thread waits for a browser."""
    started, stop = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def run() -> None:
        async with running(provider):
            over = asyncio.Event()
            stop.append((asyncio.get_running_loop(), over))
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(10)
    yield provider
    loop, over = stop[0]
    loop.call_soon_threadsafe(over.set)
    thread.join()


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider whose person is always signed in there."""
    person = Person(secrets.token_hex(4), f"pat@d{secrets.token_hex(4)}.test")
    with in_a_thread(Provider(person=person)) as started:

        async def authorize(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"location": started.authorize(str(request.url))})

        started.instead["/authorize"] = authorize
        yield started


def set_up(browser: Browser, owner: Known, provider: Provider, sessions: sessionmaker[Session]) -> None:
    """The owner adds the provider and claims a domain, which is then as if it was proved."""
    domain = provider.person.email.partition("@")[2]
    browser.sign_in(owner.email)
    browser.open(PAGE)
    browser.look("identity-providers-none")
    browser.fill("Name", "Acme")
    browser.fill("Issuer", provider.issuer)
    browser.fill("Client id", provider.client_id)
    browser.fill("Client secret", provider.secret)
    browser.press("Add the identity provider")
    browser.fill("Domain of your addresses", domain)
    browser.press("Claim the domain")
    with sessions.begin() as db:
        claimed = update(ProviderDomain).where(ProviderDomain.domain == domain)
        db.execute(claimed.values(verified_at=datetime.now(UTC)))
    browser.open(PAGE)
    browser.look("identity-providers")
    assert "proved" in browser.text
    browser.press("Sign out")


def test_people_go_to_their_provider_and_come_back_signed_in(
    browser: Browser, person: Known, provider: Provider, sessions: sessionmaker[Session]
) -> None:
    set_up(browser, person, provider, sessions)
    browser.open("/sign-in")
    browser.fill("Mail address", provider.person.email)
    browser.press("Continue with your organisation")
    browser.wait_for("Sign out")
    assert browser.path == "/account"
    assert provider.person.email in browser.text
    assert browser.complaints() == []


def test_whoever_is_known_joins_the_two_accounts(
    browser: Browser, person: Known, provider: Provider, sessions: sessionmaker[Session]
) -> None:
    set_up(browser, person, provider, sessions)
    elsewhere = new_tenant(sessions).organisation_id
    known = new_person(sessions, elsewhere, email=provider.person.email)
    browser.open("/sign-in")
    browser.fill("Mail address", known.email)
    browser.press("Continue with your organisation")
    browser.wait_for("Sign in")
    browser.fill("Mail address", known.email)
    browser.fill("Password", "correct horse battery staple")
    browser.press("Sign in")
    browser.wait_for("Join your accounts")
    browser.look("identity-provider-join")
    browser.press("Join them")
    assert browser.path == "/account"
    browser.press("Sign out")
    browser.fill("Mail address", known.email)
    browser.press("Continue with your organisation")
    browser.wait_for("Sign out")
    assert browser.path == "/account"


def test_a_refusal_is_shown_on_a_page(
    browser: Browser, person: Known, provider: Provider, sessions: sessionmaker[Session]
) -> None:
    set_up(browser, person, provider, sessions)
    provider.change = lambda claims: claims.update(iss="https://other.example.com")
    browser.open("/sign-in")
    browser.fill("Mail address", provider.person.email)
    browser.press("Continue with your organisation")
    browser.wait_for("another issuer")
    browser.look("identity-provider-refused")
