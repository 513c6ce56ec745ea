"""Portal tokens that were not made here, or not any more."""

from base64 import b64encode
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from app.auth import portal
from app.auth.portal import Grant, PortalTokens
from app.domain.ids import encode
from app.kit.clock import new_id, utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem

DEEP = f"{b64encode(b'[' * 30_000).decode()}.e30.e30"
ONE, TWO = (b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
RING = KeyRing.parse({"one": ONE}, "one")
TOKENS = PortalTokens(RING)
GRANT = Grant(new_id(), new_id(), new_id(), ("beta",), ("ViewBase",), read_only=True, session_id="s")


def _is_refused(text: str, tokens: PortalTokens = TOKENS) -> bool:
    with pytest.raises(Problem) as caught:
        tokens.verify(text)
    return caught.value.kind is Kind.unauthenticated


def _forge(key: bytes, header: dict[str, Any], **changes: object) -> str:
    now = int(utc_now().timestamp())
    claims: dict[str, Any] = {
        "iss": portal.ISSUER,
        "sub": encode("app", new_id()),
        "org": encode("org", new_id()),
        "env": encode("env", new_id()),
        "jti": str(new_id()),
        "exp": now + 60,
        "featureFlags": [],
    }
    changed = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode({"kid": "one", **header}, changed, OctKey.import_key(key), [header["alg"]])


def test_a_token_says_what_was_granted() -> None:
    token = TOKENS.verify(TOKENS.mint(GRANT, timedelta(hours=1)))
    assert token.grant.organisation_id == GRANT.organisation_id
    assert (token.grant.environment_id, token.grant.application_id) == (GRANT.environment_id, GRANT.application_id)
    caller = token.caller()
    assert (caller.feature_flags, caller.permissions) == (frozenset({"beta"}), portal.LOOKS)
    assert timedelta(minutes=59) < token.expires_at - utc_now() <= timedelta(hours=1)


def test_a_token_ends() -> None:
    text = TOKENS.mint(GRANT, timedelta(hours=1))
    with mock.patch.object(portal, "utc_now", return_value=utc_now() + timedelta(hours=1, seconds=6)):
        assert _is_refused(text)


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=28, seconds=1), timedelta(days=-1)])
def test_a_lifetime_out_of_bounds_is_refused(lifetime: timedelta) -> None:
    with pytest.raises(ValueError, match="28 days"):
        TOKENS.mint(GRANT, lifetime)


def test_tokens_of_an_older_key_stay_good_until_it_leaves_the_ring() -> None:
    text = TOKENS.mint(GRANT)
    turned = PortalTokens(KeyRing.parse({"one": ONE, "two": TWO}, "two"))
    assert turned.verify(text).grant.application_id == GRANT.application_id
    assert _is_refused(turned.mint(GRANT))
    assert _is_refused(text, PortalTokens(KeyRing.parse({"two": TWO}, "two")))


def test_the_forger_of_these_tests_can_make_a_good_one() -> None:
    key = RING.derive(portal.PURPOSE)[1]
    assert TOKENS.verify(_forge(key, {"alg": "HS256"})).grant.feature_flags == []


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone"},
        {"iss": None},
        {"sub": encode("org", UUID(int=1))},
        {"sub": None},
        {"sub": 1},
        {"org": "org_x"},
        {"exp": None},
        {"exp": 0},
        {"exp": "soon"},
        {"exp": 10**30},
        {"jti": "x"},
        {"jti": None},
    ],
    ids=str,
)
def test_a_claim_that_is_not_ours_is_refused(changes: dict[str, object]) -> None:
    assert _is_refused(_forge(RING.derive(portal.PURPOSE)[1], {"alg": "HS256"}, **changes))


def test_only_our_algorithm_and_key_are_taken() -> None:
    key = RING.derive(portal.PURPOSE)[1]
    assert _is_refused(_forge(key, {"alg": "HS512"}))
    assert _is_refused(_forge(RING.derive("another purpose")[1], {"alg": "HS256"}))
    assert _is_refused(_forge(bytes([1]) * 32, {"alg": "HS256"}))
    assert _is_refused(_forge(key, {"alg": "HS256", "kid": "none"}))
    body = TOKENS.mint(GRANT).split(".")[1]
    none = "eyJhbGciOiJub25lIiwia2lkIjoib25lIn0"
    assert _is_refused(f"{none}.{body}.")


@pytest.mark.parametrize(
    "text", ["", "..", "a.b.c", "é.é.é", "eyJ.eyJ.eyJ", "." * 1000, "e30.e30.e30", "W10.W10.W10", DEEP], ids=len
)
def test_other_text_is_refused(text: str) -> None:
    assert _is_refused(text)


def test_every_changed_character_is_noticed() -> None:
    text = TOKENS.mint(GRANT)
    for place in range(0, len(text), 7):
        other = "A" if text[place] != "A" else "Q"
        assert _is_refused(text[:place] + other + text[place + 1 :])
