"""The key ring: round trips, binding to a row, rotation, and what it refuses."""

import base64
import itertools
import os
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kit.encryption import BadKeyRing, Forged, KeyRing, Undecryptable

BASE64 = string.ascii_letters + string.digits + "-_+/="


def _text(seed: int) -> str:
    return base64.b64encode(bytes([seed]) * 32).decode()


OLD = KeyRing.parse({"k1": _text(1)}, "k1")
NEW = KeyRing.parse({"k1": _text(1), "k2": _text(2)}, "k2")


@given(plain=st.binary(max_size=200), aad=st.binary(max_size=40))
def test_what_was_encrypted_comes_back(plain: bytes, aad: bytes) -> None:
    assert OLD.decrypt(OLD.encrypt(plain, aad), aad) == plain


def test_the_same_plain_text_never_looks_the_same() -> None:
    assert len({OLD.encrypt(b"secret", b"row") for _ in range(100)}) == 100


def test_the_blob_carries_version_and_key_id_but_not_the_plain_text() -> None:
    blob = OLD.encrypt(b"whsec_plain", b"row")
    assert blob[:4] == b"\x01\x02k1"
    assert b"whsec_plain" not in blob
    assert OLD.key_id(blob) == "k1"


def test_another_row_cannot_use_the_blob() -> None:
    blob = OLD.encrypt(b"secret", b"endpoint 1")
    with pytest.raises(Undecryptable) as caught:
        OLD.decrypt(blob, b"endpoint 2")
    assert caught.value.key_id == "k1"
    assert "secret" not in str(caught.value)


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    blob = bytearray(OLD.encrypt(b"secret", b"row"))
    position = data.draw(st.integers(0, len(blob) - 1))
    blob[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Undecryptable):
        OLD.decrypt(bytes(blob), b"row")


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(Undecryptable):
        OLD.decrypt(blob, b"row")


def test_the_key_id_in_the_header_cannot_be_swapped() -> None:
    twin = KeyRing.parse({"k3": _text(1)}, "k3")
    blob = OLD.encrypt(b"secret", b"row").replace(b"k1", b"k3", 1)
    with pytest.raises(Undecryptable):
        twin.decrypt(blob, b"row")


def test_rotation_reads_the_old_key_and_writes_the_new_one() -> None:
    old = OLD.encrypt(b"secret", b"row")
    assert not old.startswith(NEW.header)
    turned = NEW.encrypt(NEW.decrypt(old, b"row"), b"row")
    assert turned.startswith(NEW.header)
    assert NEW.key_id(turned) == "k2"


def test_a_retired_key_is_named() -> None:
    with pytest.raises(Undecryptable, match=r"key k2\): the key is not in the ring"):
        OLD.decrypt(NEW.encrypt(b"secret", b"row"), b"row")


@pytest.mark.parametrize(
    ("keys", "active", "said"),
    [
        ({}, "k1", "no encryption key"),
        ({"k1": _text(1)}, "k2", "active key 'k2'"),
        ({"k1": "not base64!"}, "k1", "'k1' is not base64"),
        ({"k1": "clé"}, "k1", "'k1' is not base64"),
        ({"k1": base64.b64encode(b"x" * 16).decode()}, "k1", "16 bytes, 32 are needed"),
        ({"k 1": _text(1)}, "k 1", "key id 'k 1'"),
        ({"k1": _text(1), "k2": _text(1)}, "k1", "the same key"),
    ],
)
def test_a_bad_ring_is_refused_in_clear_words(keys: dict[str, str], active: str, said: str) -> None:
    with pytest.raises(BadKeyRing, match=said):
        KeyRing.parse(keys, active)


def test_neither_ring_nor_error_shows_key_material() -> None:
    secret = base64.b64encode(os.urandom(31)).decode()
    with pytest.raises(BadKeyRing) as caught:
        KeyRing.parse({"k1": secret}, "k1")
    assert secret not in str(caught.value)
    assert _text(1) not in repr(OLD)
    assert repr(bytes([1]) * 32) not in repr(OLD)


@given(data=st.binary(max_size=64), aad=st.binary(max_size=20))
def test_a_sealed_string_opens_for_its_owner(data: bytes, aad: bytes) -> None:
    sealed = OLD.seal("iterator", data, aad)
    assert OLD.unseal("iterator", sealed, aad) == data
    assert set(sealed) <= set(BASE64) - set("+/=")


def test_a_sealed_string_opens_after_rotation() -> None:
    assert NEW.unseal("iterator", OLD.seal("iterator", b"id", b"org"), b"org") == b"id"


@pytest.mark.parametrize(("purpose", "aad"), [("portal", b"org 1"), ("iterator", b"org 2"), ("iterator", b"")])
def test_a_sealed_string_is_useless_elsewhere(purpose: str, aad: bytes) -> None:
    sealed = OLD.seal("iterator", b"id", b"org 1")
    with pytest.raises(Forged):
        OLD.unseal(purpose, sealed, aad)


@given(st.text(max_size=120))
def test_any_other_text_is_forged(text: str) -> None:
    with pytest.raises(Forged):
        OLD.unseal("iterator", text, b"org")


@pytest.mark.parametrize("data", [b"id", b"id1", b"id12"])
def test_a_changed_sealed_string_is_forged(data: bytes) -> None:
    sealed = OLD.seal("iterator", data, b"org")
    for position, other in itertools.product(range(len(sealed)), BASE64):
        changed = sealed[:position] + other + sealed[position + 1 :]
        if changed != sealed:
            with pytest.raises(Forged):
                OLD.unseal("iterator", changed, b"org")
    for changed in (sealed + "=", sealed + "==", sealed + "A", sealed[:-1], " " + sealed, sealed + "\n"):
        with pytest.raises(Forged):
            OLD.unseal("iterator", changed, b"org")


def test_a_row_blob_is_no_sealed_string() -> None:
    blob = OLD.encrypt(b"id", b"org")
    with pytest.raises(Forged):
        OLD.unseal("iterator", base64.urlsafe_b64encode(blob).decode(), b"org")
