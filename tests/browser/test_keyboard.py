"""Nobody needs a mouse."""

from selenium.webdriver.common.keys import Keys

from tests.browser.browser import Browser
from tests.people.visitor import PASSWORD, Known


def test_one_signs_in_and_out_by_the_keyboard_alone(browser: Browser, person: Known) -> None:
    browser.open("/sign-in?next=/account/factors")
    browser.tab_to("email")
    browser.type_keys(person.email, Keys.TAB, PASSWORD)
    with browser.next_page():
        browser.type_keys(Keys.ENTER)
    assert browser.path == "/account/factors"
    browser.tab_to_text("Sign out")
    with browser.next_page():
        browser.type_keys(Keys.ENTER)
    assert browser.path == "/sign-in"


def test_the_first_stop_skips_to_the_content(browser: Browser, person: Known) -> None:
    browser.sign_in(person.email)
    browser.open("/account/sessions")
    browser.type_keys(Keys.TAB)
    assert browser.focused_text == "Skip to content"
    assert browser.driver.switch_to.active_element.is_displayed()
    browser.type_keys(Keys.ENTER)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "content"


def test_a_passkey_is_made_by_the_keyboard_alone(browser: Browser, person: Known) -> None:
    browser.add_authenticator()
    browser.sign_in(person.email)
    browser.open("/account/factors/passkey")
    browser.tab_to("name")
    browser.type_keys("Desk")
    with browser.next_page():
        browser.type_keys(Keys.ENTER)
    assert "Your recovery codes" in browser.text


def test_what_has_the_focus_is_seen_to_have_it(browser: Browser) -> None:
    browser.open("/sign-in")
    for _ in range(6):
        browser.type_keys(Keys.TAB)
        outline = browser.driver.switch_to.active_element.value_of_css_property("outline-style")
        assert outline not in {"none", ""}
