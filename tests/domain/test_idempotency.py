"""Idempotency: keys and fingerprints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.idempotency import fingerprint, is_valid_key

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
REQUESTS = st.tuples(TEXTS, TEXTS, st.binary(max_size=8))


@pytest.mark.parametrize("key", ["a", " ", "~", "auto_8c2f1e", "x" * 256])
def test_printable_keys_are_accepted(key: str) -> None:
    assert is_valid_key(key)


@pytest.mark.parametrize("key", ["", "x" * 257, "é", "a\n", "a\x00", "\x7f"])
def test_other_keys_are_refused(key: str) -> None:
    assert not is_valid_key(key)


@given(REQUESTS, REQUESTS)
def test_only_the_same_request_has_the_same_fingerprint(
    first: tuple[str, str, bytes], second: tuple[str, str, bytes]
) -> None:
    assert (fingerprint(*first) == fingerprint(*second)) == (first == second)


def test_bytes_do_not_move_between_parts() -> None:
    assert fingerprint("POST", "/a", b"b") != fingerprint("POST", "/ab", b"")
    assert fingerprint("POST", "/a 1 b", b"") != fingerprint("POST", "/a", b"1 b")
    assert len(fingerprint("POST", "/a", b"")) == 32
