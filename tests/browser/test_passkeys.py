"""Passkeys in a real browser, with the authenticator that it brings for tests."""

import pytest
from selenium.webdriver.common.by import By

from tests.browser.browser import Browser
from tests.people.visitor import Known


def test_a_passkey_is_made_is_a_second_step_and_signs_in_alone(browser: Browser, person: Known) -> None:
    browser.add_authenticator()
    browser.sign_in(person.email)
    assert browser.path == "/account"
    browser.open("/account/factors/passkey")
    browser.fill("A name", "Laptop")
    browser.press("Make the passkey")
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".codes code")) == 10
    browser.press("I have kept them")
    assert "Laptop" in browser.text

    browser.press("Sign out")
    browser.sign_in(person.email)
    assert browser.path == "/sign-in/second-step"
    browser.press("Use a passkey")
    assert browser.path == "/account"

    browser.press("Sign out")
    browser.press("Sign in with a passkey")
    browser.press("Use a passkey")
    assert browser.path == "/account"
    assert person.email in browser.text
    assert browser.complaints() == []


@pytest.mark.acceptance("M06")
def test_an_authenticator_that_does_not_verify_its_user_makes_no_passkey(browser: Browser, person: Known) -> None:
    browser.add_authenticator(verifies=False)
    browser.sign_in(person.email)
    browser.open("/account/factors/passkey")
    browser.driver.find_element(By.XPATH, "//button[normalize-space()='Make the passkey']").click()
    browser.wait_for("Nothing was done")
    assert browser.path == "/account/factors/passkey"
