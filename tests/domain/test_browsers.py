"""What browsers say of themselves, coarsely."""

import pytest

from app.domain.browsers import Browser, languages_of
from app.kit.user_agents import browser_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/{}.0"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", ("de", "en")),
        ("", ()),
        ("*", ()),
        ("en,de,fr,it,es", ("en", "de", "fr", "it")),
        ("x" * 100 + ",ünsinn,EN", ("en",)),
    ],
)
def test_languages_are_told_without_regions(header: str, expected: tuple[str, ...]) -> None:
    assert languages_of(header) == expected


def test_a_newer_version_is_the_same_browser_and_another_family_is_not() -> None:
    old, new = (browser_of(FIREFOX.format(version), "de-AT") for version in (140, 141))
    assert old.name == "Firefox on Linux"
    assert old.fingerprint == new.fingerprint
    assert len({old.fingerprint, browser_of("curl/8", "de").fingerprint, browser_of("curl/8", "en").fingerprint}) == 3


def test_what_cannot_be_told_has_a_name_all_the_same() -> None:
    assert Browser().name == "an unknown browser"
    assert Browser(system="Linux").name == "an unknown browser on Linux"
    assert Browser("curl").name == "curl"
