"""What a page carries sealed is good for minutes, for one purpose and for one owner."""

import os
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta

import pytest

from app.features.factors import recovery_codes
from app.features.factors.offers import LIFETIME, Offer
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing


@pytest.fixture
def ring() -> KeyRing:
    """A ring of one key."""
    return KeyRing.parse({"one": b64encode(os.urandom(32)).decode()}, "one")


def test_an_offer_comes_back_as_it_was_made(ring: KeyRing) -> None:
    offer = Offer.new(32)
    found = Offer.open(ring, "enrol", b"owner", offer.seal(ring, "enrol", b"owner"))
    assert found is not None
    assert (found.id, found.secret) == (offer.id, offer.secret)
    assert timedelta(0) < found.expires_at - utc_now() <= LIFETIME <= timedelta(minutes=10)


@pytest.mark.parametrize(("purpose", "owner"), [("sign-in", b"owner"), ("enrol", b"another"), ("enro", b"l:owner")])
def test_an_offer_is_for_one_purpose_and_one_owner(ring: KeyRing, purpose: str, owner: bytes) -> None:
    assert Offer.open(ring, purpose, owner, Offer.new(32).seal(ring, "enrol", b"owner")) is None


def test_an_offer_that_is_over_or_was_changed_is_none(ring: KeyRing) -> None:
    old = replace(Offer.new(32), expires_at=utc_now() - timedelta(seconds=1))
    assert Offer.open(ring, "enrol", b"owner", old.seal(ring, "enrol", b"owner")) is None
    text = Offer.new(32).seal(ring, "enrol", b"owner")
    for changed in ("", text[:-1], text + "A", text[::-1], "é"):
        assert Offer.open(ring, "enrol", b"owner", changed) is None


def test_an_offer_does_not_show_its_secret(ring: KeyRing) -> None:
    offer = Offer.new(20)
    assert offer.secret.hex() not in repr(offer) + offer.seal(ring, "enrol", b"owner")


@pytest.mark.parametrize(
    "typed", ["abcd-efgh-ijkl-mnop", "ABCDEFGHIJKLMNOP", " abcd efgh ijkl mn0p ", "abcd—efgh—ijk1—mnop"]
)
def test_a_recovery_code_is_the_same_however_it_is_typed(typed: str) -> None:
    assert recovery_codes.digest(typed) == recovery_codes.digest("abcdefghijklmnop")


def test_recovery_codes_are_ten_and_none_is_like_another() -> None:
    codes = [one for _ in range(100) for one in recovery_codes.new_codes()]
    assert len(codes) == 100 * recovery_codes.COUNT
    assert len({recovery_codes.digest(one) for one in codes}) == len(codes)
    assert recovery_codes.CODE_BYTES * 8 >= 80
