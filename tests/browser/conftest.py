"""The real pages in Chromium, at http://localhost: the one plain origin that browsers trust as they do HTTPS."""

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from fastapi import FastAPI
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.ports import any_free
from app.main import create_app
from app.settings import Settings, read_settings
from tests.api.client import Tenant, served
from tests.api.conftest import sessions, tenant
from tests.browser.browser import WIDTH, Browser
from tests.people.visitor import Known, new_person

__all__ = ["sessions", "tenant"]


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    """The settings of an installation whose public URL is on localhost."""
    given = {**environment, "POSTRIDER_PUBLIC_URL": f"http://localhost:{any_free()}"}
    with mock.patch.dict(os.environ, given, clear=True):
        return read_settings()


@pytest.fixture(scope="module")
def installation(settings: Settings) -> Iterator[str]:
    """Where the pages are."""
    with running(create_app(settings), int(settings.public_url.rpartition(":")[2])):
        yield settings.public_url


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    """A browser, which is told by WebDriver what to do."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("pages are looked at in Chromium: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for one in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=1280,900"):
        options.add_argument(f"--{one}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield started
    started.quit()


@pytest.fixture
def browser(driver: webdriver.Chrome, installation: str, pytestconfig: pytest.Config) -> Iterator[Browser]:
    """The browser without cookies."""
    shots: Path | None = pytestconfig.getoption("screenshots")
    fresh = Browser(driver, installation, shots)
    driver.get("about:blank")
    driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    fresh.resize(WIDTH)
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
    yield fresh
    fresh.remove_authenticator()


@pytest.fixture
def person(sessions: sessionmaker[Session], tenant: Tenant) -> Known:
    """An owner of a fresh organisation."""
    return new_person(sessions, tenant.organisation_id)


@contextmanager
def running(app: FastAPI, port: int) -> Iterator[None]:
    """The app in a thread of its own: who drives a browser waits for it."""
    started, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def run() -> None:
        async with served(app, port):
            over = asyncio.Event()
            loops.append((asyncio.get_running_loop(), over))
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(30), "the API did not start"
    try:
        yield
    finally:
        loop, over = loops[0]
        loop.call_soon_threadsafe(over.set)
        thread.join()
