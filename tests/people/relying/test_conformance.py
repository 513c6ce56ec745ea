"""What the OpenID Foundation's suite asks of relying parties: its profiles Basic RP, Config RP and Back-Channel RP."""

import base64
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import OctKey

from tests.api.client import Reply
from tests.people.relying.idp import Claims, new_key, public, sign, unsigned
from tests.people.relying.world import Relying, query_of
from tests.people.visitor import location

conformance = pytest.mark.conformance
refusals = pytest.mark.acceptance("I06")


def assert_accepted(relying: Relying, reply: Reply) -> None:
    assert (reply.status, location(reply)) == (303, "/account"), reply.raw
    assert relying.is_signed_in()


# Basic RP


@conformance("oidcc-client-test")
async def test_a_code_is_exchanged_for_tokens_that_are_checked_and_used(relying: Relying) -> None:
    url = await relying.leave()
    asked = query_of(url)
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len(asked["nonce"]) >= 22
    assert_accepted(relying, await relying.come_back(relying.provider.authorize(url)))
    assert [relying.provider.count(path) for path in ("/token", "/jwks", "/userinfo")] == [1, 1, 1]


@refusals
@conformance("oidcc-client-test-invalid-iss")
async def test_an_id_token_of_another_issuer_is_refused(relying: Relying) -> None:
    relying.provider.change = lambda claims: claims.update(iss=f"{claims['iss']}1")
    relying.assert_refused(await relying.sign_in(), "issuer_wrong")
    assert relying.provider.count("/userinfo") == 0


@refusals
@conformance("oidcc-client-test-missing-sub")
async def test_an_id_token_about_nobody_is_refused(relying: Relying) -> None:
    relying.provider.change = lambda claims: claims.pop("sub")
    relying.assert_refused(await relying.sign_in(), "subject_missing")


@refusals
@conformance("oidcc-client-test-invalid-aud")
async def test_an_id_token_for_somebody_else_is_refused(relying: Relying) -> None:
    relying.provider.change = lambda claims: claims.update(aud=f"{claims['aud']}1")
    relying.assert_refused(await relying.sign_in(), "audience_wrong")


@refusals
@conformance("oidcc-client-test-missing-iat")
async def test_an_id_token_that_does_not_say_when_it_was_made_is_refused(relying: Relying) -> None:
    relying.provider.change = lambda claims: claims.pop("iat")
    relying.assert_refused(await relying.sign_in(), "times_missing")


@conformance("oidcc-client-test-kid-absent-single-jwks")
async def test_the_only_key_verifies_a_token_that_names_none(relying: Relying) -> None:
    relying.provider.published = [_without_id(public(relying.provider.key))]
    relying.provider.header = {"kid": None}
    assert_accepted(relying, await relying.sign_in())


@refusals
@conformance("oidcc-client-test-kid-absent-multiple-jwks")
async def test_no_key_is_guessed_where_several_could_have_signed(relying: Relying) -> None:
    keys = (relying.provider.key, new_key())
    relying.provider.published = [_without_id(public(one)) for one in keys]
    relying.provider.header = {"kid": None}
    relying.assert_refused(await relying.sign_in(), "key_ambiguous")


@conformance("oidcc-client-test-idtoken-sig-rs256")
async def test_a_token_signed_by_rs256_is_accepted(relying: Relying) -> None:
    relying.provider.metadata = {"id_token_signing_alg_values_supported": ["RS256"]}
    assert_accepted(relying, await relying.sign_in())


@refusals
@conformance("oidcc-client-test-idtoken-sig-none")
async def test_an_unsigned_token_is_refused_even_when_the_provider_lists_none(relying: Relying) -> None:
    relying.provider.metadata = {"id_token_signing_alg_values_supported": ["none", "RS256"]}
    relying.provider.signed = unsigned
    relying.assert_refused(await relying.sign_in(), "algorithm_refused")
    assert relying.provider.count("/userinfo") == 0


@refusals
@conformance("oidcc-client-test-invalid-sig-rs256")
async def test_a_wrong_signature_is_refused(relying: Relying) -> None:
    other = new_key(kid=relying.provider.key.kid)
    relying.provider.signed = lambda claims: sign(claims, other)
    relying.assert_refused(await relying.sign_in(), "signature_wrong")


@refusals
@conformance("oidcc-client-test-userinfo-invalid-sub")
async def test_userinfo_about_somebody_else_is_refused(relying: Relying) -> None:
    relying.provider.userinfo = lambda claims: claims.update(sub=f"{claims['sub']}1")
    relying.assert_refused(await relying.sign_in(), "userinfo_subject_wrong")


@refusals
@conformance("oidcc-client-test-nonce-invalid")
async def test_a_token_of_another_sign_in_is_refused(relying: Relying) -> None:
    relying.provider.change = lambda claims: claims.update(nonce=f"{claims['nonce']}1")
    relying.assert_refused(await relying.sign_in(), "nonce_wrong")


@conformance("oidcc-client-test-scope-userinfo-claims")
async def test_the_address_is_asked_for_by_a_scope_and_read_from_userinfo(relying: Relying) -> None:
    url = await relying.leave()
    assert query_of(url)["scope"].split() == ["openid", "email", "profile"]
    assert_accepted(relying, await relying.come_back(relying.provider.authorize(url)))
    person = relying.person()
    assert person is not None
    assert person.name == relying.provider.person.name


@conformance("oidcc-client-test-client-secret-basic")
async def test_the_client_shows_who_it_is_by_http_basic(relying: Relying) -> None:
    assert_accepted(relying, await relying.sign_in())
    (request,) = [one for one in relying.provider.requests if one.path == "/token"]
    pair = f"{relying.provider.client_id}:{relying.provider.secret}"
    assert request.headers["authorization"] == f"Basic {base64.b64encode(pair.encode()).decode()}"
    assert "client_secret" not in relying.provider.forms[0]
    (asked,) = [one for one in relying.provider.requests if one.path == "/userinfo"]
    assert asked.headers["authorization"].startswith("Bearer ")
    assert asked.query_string == ""


# Config RP; oidcc-client-test-idtoken-sig-none belongs to it too, and is above.


@conformance("oidcc-client-test-discovery-openid-config")
async def test_the_metadata_is_read_and_used(relying: Relying) -> None:
    relying.provider.metadata = {"authorization_endpoint": f"{relying.provider.issuer}/elsewhere?own=1"}
    url = await relying.leave()
    assert url.startswith(f"{relying.provider.issuer}/elsewhere?own=1&")
    assert relying.provider.seen == [("GET", "/.well-known/openid-configuration")]


@conformance("oidcc-client-test-discovery-jwks-uri-keys")
async def test_keys_are_read_where_the_metadata_says(relying: Relying) -> None:
    moved = f"/keys/{time.time_ns()}"
    relying.provider.metadata = {"jwks_uri": relying.provider.issuer + moved}
    relying.provider.instead[moved] = lambda _: web.json_response({"keys": [public(relying.provider.key)]})
    assert_accepted(relying, await relying.sign_in())
    assert (relying.provider.count(moved), relying.provider.count("/jwks")) == (1, 0)


@pytest.mark.acceptance("I07")
@conformance("oidcc-client-test-discovery-issuer-mismatch")
async def test_metadata_of_another_issuer_is_refused(relying: Relying) -> None:
    relying.provider.metadata = {"issuer": f"{relying.provider.issuer}/other"}
    reply = await relying.visitor.get(f"/sign-in/provider/start?provider={relying.id}")
    relying.assert_refused(reply, "discovery_issuer_wrong")
    assert relying.provider.count("/jwks") == 0


@pytest.mark.acceptance("I08")
@conformance("oidcc-client-test-signing-key-rotation-just-before-signing")
async def test_a_key_that_is_new_since_the_keys_were_read_is_looked_for(relying: Relying) -> None:
    assert_accepted(relying, await relying.sign_in())

    def rotate() -> None:
        relying.provider.key = new_key()

    relying.provider.before_token = rotate
    other = relying.visitor.another()
    await relying.sign_in(other)
    assert relying.is_signed_in(other)
    assert relying.provider.count("/jwks") == 2


@pytest.mark.acceptance("I08")
@conformance("oidcc-client-test-signing-key-rotation")
async def test_keys_may_change_between_sign_ins_without_a_restart(relying: Relying) -> None:
    for _ in range(3):
        somebody = relying.visitor.another()
        await relying.sign_in(somebody)
        assert relying.is_signed_in(somebody)
        relying.provider.key = new_key()
    assert relying.provider.count("/jwks") == 3


# Back-Channel Logout RP. The suite lets the client start the logout; what it judges is the answer to the token.


async def logged_out(relying: Relying, token: str) -> int:
    return (await relying.visitor.post(f"/sign-in/provider/{relying.id}/logout", {"logout_token": token})).status


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout")
async def test_a_logout_at_the_provider_ends_the_session_here(relying: Relying) -> None:
    await relying.sign_in()
    assert await logged_out(relying, relying.provider.logout_token()) == 200
    assert relying.live() == []
    assert (await relying.visitor.get("/account")).status == 303
    assert [one.details["reason"] for one in relying.events("session.ended")] == ["signed out at the identity provider"]


async def assert_ignored(relying: Relying, token: str, reason: str) -> None:
    await relying.sign_in()
    assert await logged_out(relying, token) == 400
    assert len(relying.live()) == 1
    assert relying.reasons() == [reason]


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-alg-none")
async def test_an_unsigned_logout_token_ends_nothing(relying: Relying) -> None:
    token = unsigned(_logout_claims(relying))
    await assert_ignored(relying, token, "algorithm_refused")


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-no-event")
async def test_a_logout_token_without_events_ends_nothing(relying: Relying) -> None:
    token = relying.provider.logout_token(lambda claims: claims.pop("events"))
    await assert_ignored(relying, token, "event_missing")


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-with-nonce")
async def test_a_logout_token_with_a_nonce_ends_nothing(relying: Relying) -> None:
    token = relying.provider.logout_token(lambda claims: claims.update(nonce="n"))
    await assert_ignored(relying, token, "nonce_present")


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-wrong-alg")
async def test_a_logout_token_of_another_algorithm_ends_nothing(relying: Relying) -> None:
    key = OctKey.import_key(relying.provider.secret.ljust(32, "-").encode())
    token = sign(_logout_claims(relying), key, "HS256", kid=relying.provider.key.kid, typ="logout+jwt")
    await assert_ignored(relying, token, "algorithm_refused")


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-wrong-aud")
async def test_a_logout_token_for_somebody_else_ends_nothing(relying: Relying) -> None:
    token = relying.provider.logout_token(lambda claims: claims.update(aud="another-client"))
    await assert_ignored(relying, token, "audience_wrong")


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-wrong-event")
async def test_a_logout_token_of_another_event_ends_nothing(relying: Relying) -> None:
    events: Mapping[str, Any] = {"http://schemas.openid.net/event/frontchannel-logout": {}}
    token = relying.provider.logout_token(lambda claims: claims.update(events=events))
    await assert_ignored(relying, token, "event_missing")


@conformance("oidcc-client-test-rp-backchannel-rpinitlogout-wrong-iss")
async def test_a_logout_token_of_another_issuer_ends_nothing(relying: Relying) -> None:
    token = relying.provider.logout_token(lambda claims: claims.update(iss="https://other.example.com"))
    await assert_ignored(relying, token, "issuer_wrong")


def _without_id(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "kid"}


def _logout_claims(relying: Relying) -> Claims:
    kept: list[Claims] = []
    relying.provider.logout_token(kept.append)
    return kept[0]
