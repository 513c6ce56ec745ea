"""Where browsers may be sent."""

import pytest

from app.domain import redirects


@pytest.mark.parametrize(
    "uri", ["https://a.test", "https://a.test:8443/x?y=z", "http://localhost:1/", "http://[::1]/cb"]
)
def test_https_and_this_machine_may_be_registered(uri: str) -> None:
    assert redirects.fault(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        "", "a.test/cb", "//a.test/cb", "https:///cb", "https://", "http://a.test/", "ftp://127.0.0.1/", "https://a.test/#x",
        "https://a.test/#", "https://@a.test/", "https://a.test:0/", "https://a.test:x/", "https://a.test/./b",
        "https://a.test/%2E%2e/b", "https://a.test/\n", "https://a.test/é", "https://a.test/\\b", "https://A.test/",
        "https://[::1/", "http://127.0.0.1.evil.test/", "http://169.254.169.254/", "https://a.test/" + "x" * 2048,
    ],
)  # fmt: skip
def test_nothing_else_may(uri: str) -> None:
    assert redirects.fault(uri) is not None


@pytest.mark.parametrize(
    ("registered", "asked", "good"),
    [
        ("https://a.test/cb", "https://a.test/cb", True),
        ("https://a.test/cb", "https://a.test:443/cb", False),
        ("https://a.test/cb", "https://a.test/cb/", False),
        ("https://a.test/cb", "https://a.test/cb?", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:40000/cb", True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", True),
        ("http://[::1]:1/cb?x=1", "http://[::1]:2/cb?x=1", True),
        ("http://127.0.0.1/cb", "http://localhost/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb?x", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1@evil.test/cb", False),
    ],
)
def test_an_address_is_compared_letter_by_letter_but_for_the_port_on_this_machine(
    registered: str,
    asked: str,
    good: bool,  # noqa: FBT001 what is expected
) -> None:
    assert redirects.is_registered([registered], asked) is good


def test_parameters_come_after_what_was_registered() -> None:
    assert redirects.with_parameters("https://a.test/", [("a", "b c")]) == "https://a.test/?a=b+c"
    assert redirects.with_parameters("https://a.test/?x=%2f", [("a", "&")]) == "https://a.test/?x=%2f&a=%26"


def test_a_policy_names_the_origin() -> None:
    assert redirects.policy_source("https://a.test:8443/x?y") == "https://a.test:8443"
    assert redirects.policy_source("http://[::1]:1/x") == "http:"
