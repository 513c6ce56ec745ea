"""API keys: shape, checksum, digest."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import api_key
from app.domain.api_key import Environment

RANDOM = st.binary(min_size=32, max_size=32)
ENVIRONMENTS: st.SearchStrategy[Environment] = st.sampled_from(("live", "test"))


@given(ENVIRONMENTS, RANDOM)
def test_a_key_looks_valid(environment: Environment, random: bytes) -> None:
    key = api_key.generate(environment, random)
    assert key.startswith(f"whk_{environment}_")
    assert len(key) == 59
    assert "." not in key
    assert api_key.looks_valid(key)


@given(RANDOM, st.integers(0, 58), st.characters())
def test_one_changed_character_is_noticed(random: bytes, place: int, character: str) -> None:
    key = api_key.generate("live", random)
    changed = key[:place] + character + key[place + 1 :]
    assert api_key.looks_valid(changed) == (changed == key)


@given(RANDOM, RANDOM)
def test_no_bit_is_lost(first: bytes, second: bytes) -> None:
    assert (api_key.generate("live", first) == api_key.generate("live", second)) == (first == second)


@pytest.mark.parametrize("text", ["", "whk_live_", "Bearer x", "whk_live_" + "0" * 43 + "_000000", "é" * 59])
def test_other_text_does_not_look_valid(text: str) -> None:
    assert not api_key.looks_valid(text)


def test_the_largest_secret_fits() -> None:
    key = api_key.generate("test", b"\xff" * 32)
    assert key.split("_")[2] != "0" * 43
    assert 62**43 > 2**256


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_takes_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        api_key.generate("live", bytes(size))


def test_digest_and_hint() -> None:
    key = api_key.generate("live", bytes(32))
    assert api_key.digest(key) == hashlib.sha256(key.encode()).digest()
    assert api_key.hint(key) == key[-4:]
