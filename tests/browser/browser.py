"""A person's browser: fields are found by their labels and buttons by their text, as people find them."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.common.virtual_authenticator import Protocol, Transport, VirtualAuthenticatorOptions
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait

from tests.people.visitor import PASSWORD

WAIT_SECONDS = 30
WIDTH, HEIGHT = 1280, 900
MOST_TABS = 30
# What is wrong with the page that is shown, in the words of WCAG's rules; nothing for a good one.
FAULTS = (Path(__file__).parent / "faults.js").read_text()


class Browser:
    """Chromium at one installation."""

    def __init__(self, driver: webdriver.Chrome, base: str, shots: Path | None) -> None:
        self.driver = driver
        self.base = base
        self._shots = shots
        self._has_authenticator = False

    @property
    def path(self) -> str:
        """The page that is shown: path and query."""
        parts = urlsplit(self.driver.current_url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    @property
    def text(self) -> str:
        """What can be read on it."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def open(self, path: str) -> None:
        """Opens a page."""
        self.driver.get(path if "://" in path else self.base + path)

    def field(self, label: str) -> WebElement:
        """The field under a label that begins so."""
        labelled = self.driver.find_element(By.XPATH, f"//label[starts-with(normalize-space(), {label!r})]")
        return self.driver.find_element(By.ID, labelled.get_attribute("for") or "")

    def fill(self, label: str, text: str) -> None:
        """Types into a field."""
        found = self.field(label)
        found.clear()
        found.send_keys(text)

    def press(self, text: str) -> None:
        """Presses the button with this text, or follows the link, and waits for the next page."""
        xpath = f"//button[normalize-space()={text!r}] | //a[normalize-space()={text!r}]"
        with self.next_page():
            WebDriverWait(self.driver, WAIT_SECONDS).until(
                expected_conditions.element_to_be_clickable((By.XPATH, xpath))
            ).click()

    def wait_for(self, text: str) -> None:
        """Returns when this can be read."""
        self.wait_until(lambda: text in self.text)

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Returns when it is true."""
        WebDriverWait(self.driver, WAIT_SECONDS).until(lambda _: true())

    @contextmanager
    def next_page(self) -> Iterator[None]:
        """What the block does leads to another page, which is there at its end."""
        self.driver.execute_script("window.isLeft = false")
        yield
        # Between two pages there is none that could be asked.
        WebDriverWait(self.driver, WAIT_SECONDS, ignored_exceptions=[WebDriverException]).until(
            lambda driver: driver.execute_script(
                "return window.isLeft === undefined && document.readyState === 'complete'"
            )
        )

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """The first step, by a password."""
        self.open("/sign-in")
        self.fill("Mail address", email)
        self.fill("Password", password)
        self.press("Sign in")

    def type_keys(self, *keys: str) -> None:
        """Presses keys, wherever the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    @property
    def focused_text(self) -> str:
        """What is read on the element that has the focus."""
        return self.driver.switch_to.active_element.text

    def tab_to(self, element_id: str) -> None:
        """Presses Tab until the element of this id has the focus."""
        self._tab_until(lambda: self.driver.switch_to.active_element.get_attribute("id") == element_id)

    def tab_to_text(self, text: str) -> None:
        """Presses Tab until the element with this text has the focus."""
        self._tab_until(lambda: self.focused_text == text)

    def _tab_until(self, reached: Callable[[], bool]) -> None:
        for _ in range(MOST_TABS):
            self.type_keys(Keys.TAB)
            if reached():
                return
        raise AssertionError("the keyboard does not reach it")

    def resize(self, width: int) -> None:
        """Makes the window so wide, as a device's screen is."""
        screen = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def add_authenticator(self, *, verifies: bool = True) -> None:
        """Plugs in an authenticator of Chromium's own, which says yes to everything."""
        options = VirtualAuthenticatorOptions(
            protocol=Protocol.CTAP2,
            transport=Transport.INTERNAL,
            has_resident_key=True,
            has_user_verification=True,
            is_user_verified=verifies,
        )
        self.driver.add_virtual_authenticator(options)
        self._has_authenticator = True

    def remove_authenticator(self) -> None:
        """Takes it out again."""
        if self._has_authenticator:
            self.driver.remove_virtual_authenticator()
            self._has_authenticator = False

    def faults(self) -> list[str]:
        """What is wrong with the page that is shown, and what the browser refused to load or run on it."""
        found: list[str] = self.driver.execute_script(FAULTS)
        return found + [entry["message"] for entry in self.complaints()]

    def complaints(self) -> list[dict[str, Any]]:
        """What the browser's console says since it was last asked, but for answers that are no success."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
        return [one for one in entries if "Failed to load resource" not in one["message"]]

    def look(self, name: str) -> None:
        """Fails for a page with faults; takes a picture of it where pictures are wanted."""
        if self._shots is not None:
            self._shots.mkdir(parents=True, exist_ok=True)
            (self._shots / f"{name}.png").write_bytes(self._whole_page())
        faults = self.faults()
        assert not faults, f"{name}: {faults}"

    def _whole_page(self) -> bytes:
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        return b64decode(shot["data"])
