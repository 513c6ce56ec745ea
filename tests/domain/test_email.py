"""Which texts are mail addresses, and which of them are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import email


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("Ada@Example.com", "ada@example.com"),
        (" ada+hooks@example.com ", "ada+hooks@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ＡＤＡ@example.com", "ada@example.com"),
        ("o'hara@example.com", "o'hara@example.com"),
        ("root@localhost", "root@localhost"),
    ],
)
def test_an_address_has_one_key(address: str, key: str) -> None:
    assert email.key(address) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "ada@-x.com",
        "a da@example.com",
        "ada@example.com\nBcc: x@y.z",
        "a,b@x.com",
        "x" * 65 + "@example.com",
        "a@" + "x." * 130 + "com",
        '"ada"@example.com',
        "<ada@example.com>",
        "a@b@c.com.",
    ],
)
def test_what_is_no_address_has_none(text: str) -> None:
    assert email.key(text) is None


@given(st.text(max_size=80))
def test_a_key_is_the_key_of_itself(text: str) -> None:
    key = email.key(text)
    assert key is None or email.key(key) == key


def test_the_domain_is_what_follows_the_last_sign() -> None:
    assert email.domain("ada@example.com") == "example.com"
