"""Revocation and introspection of tokens."""

from typing import Any

import pytest

from tests.api.client import Api
from tests.people.oauth.world import App, basic, code_for, dead_within_a_second, new_app, redeem, refresh
from tests.people.visitor import Visitor

REVOKE, INTROSPECT = "/oauth/revoke", "/oauth/introspect"
INACTIVE = {"active": False}


@pytest.fixture
async def tokens(signed_in: Visitor, app: App) -> dict[str, Any]:
    """What the person's first code became."""
    body: dict[str, Any] = (await redeem(app, await code_for(signed_in, app))).body
    return body


@pytest.mark.acceptance("O15")
async def test_with_its_refresh_token_the_whole_grant_is_revoked(app: App, tokens: dict[str, Any]) -> None:
    reply = await app.post(REVOKE, {"token": tokens["refresh_token"], "token_type_hint": "access_token"})
    assert reply.status == 200
    assert (await refresh(app, tokens["refresh_token"])).status == 400
    await dead_within_a_second(app, tokens["access_token"])


@pytest.mark.acceptance("O15")
async def test_an_access_token_is_revoked_alone(app: App, tokens: dict[str, Any]) -> None:
    newer = (await refresh(app, tokens["refresh_token"])).body
    assert (await app.post(REVOKE, {"token": tokens["access_token"], "token_type_hint": "nonsense"})).status == 200
    await dead_within_a_second(app, tokens["access_token"])
    assert (await app.api(newer["access_token"]).get("/app/none/msg")).status == 404
    assert (await refresh(app, newer["refresh_token"])).status == 200


@pytest.mark.acceptance("O15")
async def test_of_what_is_unknown_nothing_is_said_and_what_is_others_stays(
    api: Api, stranger: Api, app: App, tokens: dict[str, Any]
) -> None:
    assert (await app.post(REVOKE, {"token": "nonsense"})).status == 200
    assert (await app.post(REVOKE, {})).status == 400
    for other, status in ((await new_app(api), 400), (await new_app(stranger), 200)):
        for token in (tokens["access_token"], tokens["refresh_token"]):
            assert (await other.post(REVOKE, {"token": token})).status == status
    assert (await refresh(app, tokens["refresh_token"])).status == 200


@pytest.mark.acceptance("O15")
@pytest.mark.acceptance("O16")
async def test_who_cannot_show_who_it_is_revokes_and_learns_nothing(app: App, tokens: dict[str, Any]) -> None:
    for path in (REVOKE, INTROSPECT):
        for headers in ({}, {"authorization": basic(app.id, "wrong")}):
            reply = await app.plain(path, {"token": tokens["access_token"], "client_id": app.id}, headers)
            assert (reply.status, reply.body["error"]) == (401, "invalid_client")
    assert (await refresh(app, tokens["refresh_token"])).status == 200


@pytest.mark.acceptance("O15")
async def test_a_public_client_revokes_but_does_not_introspect(signed_in: Visitor, api: Api) -> None:
    public = await new_app(api, authMethod="none")
    tokens = (await redeem(public, await code_for(signed_in, public))).body
    assert (await public.post(INTROSPECT, {"token": tokens["access_token"]})).status == 401
    assert (await public.post(REVOKE, {"token": tokens["refresh_token"]})).status == 200
    assert (await refresh(public, tokens["refresh_token"])).status == 400


@pytest.mark.acceptance("O16")
async def test_a_client_hears_of_its_own_tokens(app: App, tokens: dict[str, Any]) -> None:
    access = (await app.post(INTROSPECT, {"token": tokens["access_token"]})).body
    assert set(access) == {"active", "client_id", "scope", "sub", "iss", "exp", "token_type", "aud", "jti"}
    assert (access["active"], access["client_id"], access["scope"]) == (True, app.id, "openid message:read")
    assert access["sub"].startswith("user_")
    kept = (await app.post(INTROSPECT, {"token": tokens["refresh_token"]})).body
    assert (kept["active"], kept["sub"], "jti" in kept) == (True, access["sub"], False)


@pytest.mark.acceptance("O16")
async def test_of_foreign_used_revoked_and_malformed_ones_it_hears_that_they_are_not_in_force(
    api: Api, stranger: Api, app: App, tokens: dict[str, Any]
) -> None:
    for other in (await new_app(api), await new_app(stranger)):
        for token in (tokens["access_token"], tokens["refresh_token"]):
            assert (await other.post(INTROSPECT, {"token": token})).body == INACTIVE
    newer = (await refresh(app, tokens["refresh_token"])).body
    assert (await app.post(INTROSPECT, {"token": tokens["refresh_token"]})).body == INACTIVE
    for token in ("nonsense", tokens["id_token"], tokens["access_token"][:-4] + "AAAA", "a.b.c", "é"):
        assert (await app.post(INTROSPECT, {"token": token})).body == INACTIVE
    await app.post(REVOKE, {"token": newer["refresh_token"]})
    for token in (newer["access_token"], newer["refresh_token"]):
        assert (await app.post(INTROSPECT, {"token": token})).body == INACTIVE


@pytest.mark.acceptance("T12")
async def test_a_token_elsewhere_than_in_the_header_is_no_credential(app: App, tokens: dict[str, Any]) -> None:
    token = tokens["access_token"]
    for path in ("/api/v1/app/none/msg", "/oauth/userinfo"):
        async with app.http.get(f"{app.base}{path}?access_token={token}") as reply:
            assert reply.status == 401
        form = {"content-type": "application/x-www-form-urlencoded"}
        body = f"access_token={token}"
        async with app.http.request("GET", f"{app.base}{path}", data=body, headers=form) as reply:
            assert reply.status in {401, 415}


@pytest.mark.acceptance("O22", offered=False)
async def test_tokens_bound_to_a_key_are_not_offered(app: App, signed_in: Visitor) -> None:
    async with app.http.get(f"{app.base}/.well-known/openid-configuration") as reply:
        assert "dpop_signing_alg_values_supported" not in await reply.json()
    code = await code_for(signed_in, app)
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://app.example.test/callback"}
    proof = {"authorization": basic(app.id, app.secret or ""), "dpop": "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.e30"}
    verifier = {"code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}
    reply_ = await app.plain("/oauth/token", {**fields, **verifier}, proof)
    assert (reply_.status, reply_.body["token_type"]) == (200, "Bearer")
