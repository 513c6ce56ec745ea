"""The basic profile: a test for each module of the plan `oidcc-basic-certification-test-plan` of OpenID's suite.

The suite sends no challenge where it does not test PKCE, which this provider asks of every client; beside that each
test does what its module does, and expects what that expects.
"""

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.models import OAuthCode
from tests.api.client import Api, Reply
from tests.people.factors.acts import add_app
from tests.people.oauth.conftest import api, stranger
from tests.people.oauth.world import (
    CALLBACK,
    App,
    new_app,
    redeem,
    refresh,
    request_of,
    told,
)
from tests.people.visitor import PASSWORD, Known, Visitor, location
from tests.receiver import Receiver

__all__ = ["api", "stranger"]
pytestmark = pytest.mark.acceptance("I01")
SCOPES = ["openid", "profile", "email", "offline_access"]
Claims = dict[str, Any]


@dataclass(frozen=True)
class Flow:
    """A person at a browser, a client, and what the client makes of what it gets."""

    visitor: Visitor
    app: App
    http: aiohttp.ClientSession
    base: str
    person: Known

    def request(self, **changes: str | None) -> dict[str, str]:
        """A request as the modules make it: for openid, and for no permission of the API."""
        return request_of(self.app, **{"scope": "openid", **changes})

    def path(self, **changes: str | None) -> str:
        return f"/oauth/authorize?{urlencode(self.request(**changes))}"

    async def tokens(self, **changes: str | None) -> Claims:
        """Signs the person in where that is asked for, lets it allow what is asked, and takes the tokens."""
        return await self.redeemed(await self.code(**changes))

    async def code(self, **changes: str | None) -> str:
        reply = await self.visitor.get(self.path(**changes))
        if reply.status == 303 and location(reply).startswith("/sign-in"):
            reply = await self._sign_in(location(reply))
        if reply.status == 200:
            reply = await self.visitor.submit("/oauth/consent", at=self.path(**changes), answer="allow")
        return told(reply)["code"]

    async def redeemed(self, code: str) -> Claims:
        reply = await redeem(self.app, code)
        assert reply.status == 200, reply.raw
        tokens: Claims = reply.body
        assert (tokens["token_type"], reply.headers["cache-control"]) == ("Bearer", "no-store")
        return tokens

    async def verified(self, tokens: Claims, **changes: str) -> Claims:
        """The claims of the ID token, judged by another library, and by OpenID Connect Core 1.0, 3.1.3.7."""
        keys = jwt.PyJWKClient(f"{self.base}/oauth/jwks")
        key = await asyncio.to_thread(keys.get_signing_key_from_jwt, tokens["id_token"])
        must = ["iss", "sub", "aud", "exp", "iat"]
        options: Any = {"require": must}
        issuer = "http://localhost:8000"
        claims: Claims = jwt.decode(
            tokens["id_token"], key, ["RS256"], audience=self.app.id, issuer=issuer, options=options
        )
        assert claims["azp"] == self.app.id
        assert claims["sub"] == encode("user", self.person.id)
        assert len(claims["sub"]) <= 255
        assert claims.get("nonce") == changes.get("nonce")
        half = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
        assert claims["at_hash"] == base64.urlsafe_b64encode(half).rstrip(b"=").decode()
        return claims

    async def userinfo(self, tokens: Claims) -> Claims:
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        async with self.http.get(f"{self.base}/oauth/userinfo", headers=headers) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            said: Claims = await response.json()
        assert said["sub"] == encode("user", self.person.id)
        return said

    async def is_taken(self, **changes: str | None) -> Claims:
        """What every module ends with: the tokens of a request are good."""
        claims = await self.verified(await self.tokens(**changes))
        assert claims["auth_time"] <= claims["iat"]
        return claims

    async def _sign_in(self, path: str) -> Reply:
        page = path.partition("?")[0]
        fields = {"password": PASSWORD} | ({"email": self.person.email} if page == "/sign-in" else {})
        reply = await self.visitor.submit(page, at=path, **fields)
        assert reply.status == 303, reply.raw
        return await self.visitor.get(location(reply))


@pytest.fixture
async def flow(visitor: Visitor, api: Api, http: aiohttp.ClientSession, base_url: str, person: Known) -> Flow:
    """Nobody is signed in yet."""
    return Flow(visitor, await new_app(api, scopes=SCOPES), http, base_url, person)


async def test_oidcc_server(flow: Flow) -> None:
    code = await flow.code(nonce="n-0S6_WzA2Mj")
    assert len(code) >= 22
    claims = await flow.verified(tokens := await flow.redeemed(code), nonce="n-0S6_WzA2Mj")
    assert "name" not in claims
    await flow.userinfo(tokens)


async def test_oidcc_response_type_missing(flow: Flow) -> None:
    assert told(await flow.visitor.get(flow.path(response_type=None)))["error"] == "invalid_request"


@pytest.mark.acceptance("I03")
async def test_oidcc_idtoken_signature(flow: Flow) -> None:
    tokens = await flow.tokens()
    await flow.verified(tokens)
    header = jwt.get_unverified_header(tokens["id_token"])
    async with flow.http.get(f"{flow.base}/oauth/jwks") as response:
        published = {one["kid"]: one["alg"] for one in (await response.json(content_type=None))["keys"]}
    assert header["alg"] == "RS256" == published[header["kid"]]


async def test_oidcc_idtoken_unsigned(flow: Flow, api: Api) -> None:
    published = (await flow.visitor.get("/.well-known/openid-configuration")).body
    assert "none" not in published["id_token_signing_alg_values_supported"]
    client = {"name": "x", "redirectUris": [CALLBACK], "scopes": ["openid"], "idTokenAlgorithm": "none"}
    assert (await api.post("/organisation/oauth-client", client)).status == 422


async def test_oidcc_userinfo_get(flow: Flow) -> None:
    said = await flow.userinfo(await flow.tokens())
    assert set(said) == {"sub"}


async def test_oidcc_userinfo_post_header(flow: Flow) -> None:
    tokens = await flow.tokens()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    async with flow.http.post(f"{flow.base}/oauth/userinfo", headers=headers) as response:
        assert (response.status, await response.json()) == (200, await flow.userinfo(tokens))


async def test_oidcc_userinfo_post_body(flow: Flow) -> None:
    tokens = await flow.tokens()
    sent = {"access_token": tokens["access_token"]}
    async with flow.http.post(f"{flow.base}/oauth/userinfo", data=sent) as response:
        assert (response.status, await response.json()) == (200, await flow.userinfo(tokens))


async def test_oidcc_ensure_request_without_nonce_succeeds_for_code_flow(flow: Flow) -> None:
    assert "nonce" not in await flow.is_taken(nonce=None)


async def test_oidcc_scope_profile(flow: Flow) -> None:
    said = await flow.userinfo(await flow.tokens(scope="openid profile"))
    assert said["name"] == "Test Person"
    assert isinstance(said["updated_at"], int)


async def test_oidcc_scope_email(flow: Flow) -> None:
    said = await flow.userinfo(await flow.tokens(scope="openid email"))
    assert (said["email"], said["email_verified"]) == (flow.person.email, True)


@pytest.mark.parametrize(
    "scope", [pytest.param("address", id="oidcc-scope-address"), pytest.param("phone", id="oidcc-scope-phone")]
)
async def test_what_nobody_is_asked_for_here_is_not_said_to_be_known(flow: Flow, scope: str) -> None:
    published = (await flow.visitor.get("/.well-known/openid-configuration")).body
    assert scope not in published["scopes_supported"]
    tokens = await flow.tokens(scope=f"openid {scope}")
    assert tokens["scope"] == "openid"
    assert set(await flow.userinfo(tokens)) == {"sub"}


async def test_oidcc_scope_all(flow: Flow) -> None:
    tokens = await flow.tokens(scope="openid profile email address phone")
    said = await flow.userinfo(tokens)
    assert set(said) == {"sub", "name", "updated_at", "email", "email_verified"}
    assert tokens["scope"].split() == ["openid", "profile", "email"]


async def test_oidcc_ensure_other_scope_order_succeeds(flow: Flow) -> None:
    tokens = await flow.tokens(scope="email openid")
    await flow.verified(tokens)
    assert (await flow.userinfo(tokens))["email"] == flow.person.email


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("display", "page", id="oidcc-display-page"),
        pytest.param("display", "popup", id="oidcc-display-popup"),
        pytest.param("extra", "foobar", id="oidcc-ensure-request-with-unknown-parameter-succeeds"),
        pytest.param("login_hint", "buffy@localhost", id="oidcc-login-hint"),
        pytest.param("ui_locales", "se", id="oidcc-ui-locales"),
        pytest.param("claims_locales", "se", id="oidcc-claims-locales"),
    ],
)
async def test_what_is_asked_for_beside_is_no_error(flow: Flow, name: str, value: str) -> None:
    await flow.is_taken(**{name: value})


async def test_oidcc_prompt_login(flow: Flow) -> None:
    first = await flow.is_taken()
    await asyncio.sleep(1.1)
    asked = await flow.visitor.get(flow.path(prompt="login"))
    assert location(asked).startswith("/sign-in/again")
    second = await flow.is_taken(prompt="login")
    assert second["auth_time"] > first["auth_time"]


async def test_oidcc_prompt_none_not_logged_in(flow: Flow) -> None:
    state = "s" * 128
    answer = told(await flow.visitor.get(flow.path(prompt="none", state=state)))
    assert (answer["error"], answer["state"]) == ("login_required", state)


async def test_oidcc_prompt_none_logged_in(flow: Flow) -> None:
    first = await flow.is_taken()
    reply = await flow.visitor.get(flow.path(prompt="none"))
    second = await flow.verified(await flow.redeemed(told(reply)["code"]))
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


async def test_oidcc_max_age_1(flow: Flow) -> None:
    first = await flow.is_taken()
    await asyncio.sleep(2.1)
    assert location(await flow.visitor.get(flow.path(max_age="1"))).startswith("/sign-in/again")
    second = await flow.is_taken(max_age="1")
    assert second["auth_time"] > first["auth_time"]
    assert second["iat"] - second["auth_time"] <= 5


async def test_oidcc_max_age_10000(flow: Flow) -> None:
    first = await flow.is_taken(max_age="15000")
    reply = await flow.visitor.get(flow.path(max_age="10000"))
    second = await flow.verified(await flow.redeemed(told(reply)["code"]))
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


async def test_oidcc_id_token_hint(flow: Flow) -> None:
    tokens = await flow.tokens()
    reply = await flow.visitor.get(flow.path(prompt="none", id_token_hint=tokens["id_token"]))
    second = await flow.verified(await flow.redeemed(told(reply)["code"]))
    first = await flow.verified(tokens)
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


@pytest.mark.acceptance("M10")
async def test_oidcc_ensure_request_with_acr_values_succeeds(flow: Flow) -> None:
    published = (await flow.visitor.get("/.well-known/openid-configuration")).body
    levels = published["acr_values_supported"]
    claims = await flow.is_taken(acr_values=" ".join(levels))
    assert claims["acr"] in levels


async def test_oidcc_codereuse(flow: Flow) -> None:
    code = await flow.code()
    await flow.redeemed(code)
    again = await redeem(flow.app, code)
    assert (again.status, again.body["error"]) == (400, "invalid_grant")


async def test_oidcc_codereuse_30seconds(flow: Flow, sessions: sessionmaker[Session]) -> None:
    code = await flow.code()
    tokens = await flow.redeemed(code)
    with sessions.begin() as db:
        half_a_minute = func.make_interval(0, 0, 0, 0, 0, 0, 30)
        moved = {"used_at": OAuthCode.used_at - half_a_minute, "expires_at": OAuthCode.expires_at - half_a_minute}
        db.execute(update(OAuthCode).where(OAuthCode.user_id == flow.person.id).values(moved))
    again = await redeem(flow.app, code)
    assert (again.status, again.body["error"]) == (400, "invalid_grant")
    await asyncio.sleep(1)
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    async with flow.http.get(f"{flow.base}/oauth/userinfo", headers=headers) as response:
        assert response.status == 401


async def test_oidcc_ensure_registered_redirect_uri(flow: Flow) -> None:
    reply = await flow.visitor.get(flow.path(redirect_uri=f"{CALLBACK}/somewhere"))
    assert (reply.status, "location" in reply.headers) == (400, False)


async def test_oidcc_ensure_post_request_succeeds(flow: Flow) -> None:
    await flow.visitor.sign_in(flow.person.email)
    elsewhere = {"origin": "https://app.example.test", "sec-fetch-site": "cross-site"}
    reply = await flow.visitor.post("/oauth/authorize", flow.request(), **elsewhere)
    assert reply.status == 303
    reply = await flow.visitor.submit("/oauth/consent", at=location(reply), answer="allow")
    await flow.verified(await flow.redeemed(told(reply)["code"]))


async def test_oidcc_server_client_secret_post(flow: Flow, api: Api) -> None:
    app = await new_app(api, scopes=SCOPES, authMethod="client_secret_post")
    assert app.secret is not None
    posting = App(app.http, app.base, app.id)
    theirs = Flow(flow.visitor, app, flow.http, flow.base, flow.person)
    code = await theirs.code()
    reply = await redeem(posting, code, client_secret=app.secret)
    assert reply.status == 200, reply.raw
    await theirs.verified(reply.body)


async def test_oidcc_request_uri_unsigned_supported_correctly_or_rejected_as_unsupported(
    flow: Flow, receiver: Receiver
) -> None:
    path = receiver.path()
    answer = told(await flow.visitor.get(flow.path(request_uri=receiver.base + path)))
    assert answer["error"] == "request_uri_not_supported"
    assert receiver.at(path) == []
    published = (await flow.visitor.get("/.well-known/openid-configuration")).body
    assert published["request_uri_parameter_supported"] is False


async def test_oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported(flow: Flow) -> None:
    request = jwt.encode(flow.request(), "", algorithm="none")
    answer = told(await flow.visitor.get(flow.path(request=request)))
    assert answer["error"] == "request_not_supported"
    published = (await flow.visitor.get("/.well-known/openid-configuration")).body
    assert published["request_parameter_supported"] is False


async def test_oidcc_claims_essential(flow: Flow) -> None:
    wanted = json.dumps({"userinfo": {"name": {"essential": True}}})
    asked = await flow.visitor.sign_in(flow.person.email)
    asked = await flow.visitor.get(flow.path(claims=wanted))
    assert b"See your name" in asked.raw
    tokens = await flow.tokens(claims=wanted)
    assert (await flow.userinfo(tokens))["name"] == "Test Person"
    assert "name" not in await flow.verified(tokens)


async def test_oidcc_ensure_request_object_with_redirect_uri(flow: Flow) -> None:
    request = jwt.encode(flow.request(), "", algorithm="none")
    reply = await flow.visitor.get(flow.path(request=request, redirect_uri=f"{CALLBACK}/somewhere"))
    assert (reply.status, "location" in reply.headers) == (400, False)


async def test_oidcc_refresh_token(flow: Flow, api: Api) -> None:
    other = Flow(flow.visitor, await new_app(api, scopes=SCOPES), flow.http, flow.base, flow.person)
    theirs = await other.tokens(scope="openid offline_access", prompt="consent")
    tokens = await flow.tokens(scope="openid offline_access", prompt="consent")
    before = await flow.verified(tokens)
    renewed = await refresh(flow.app, tokens["refresh_token"])
    after = await flow.verified(renewed.body)
    await flow.userinfo(renewed.body)
    same = ("iss", "sub", "aud", "azp", "auth_time", "sid")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert after["iat"] >= before["iat"]
    stolen = await refresh(flow.app, theirs["refresh_token"])
    assert (stolen.status, stolen.body["error"]) == (400, "invalid_grant")


async def test_oidcc_ensure_request_with_valid_pkce_succeeds(flow: Flow) -> None:
    assert flow.request()["code_challenge_method"] == "S256"
    await flow.is_taken()
    code = await flow.code()
    wrong = await redeem(flow.app, code, code_verifier="w" * 43)
    assert (wrong.status, wrong.body["error"]) == (400, "invalid_grant")


@pytest.mark.acceptance("I03")
async def test_a_client_is_told_who_signed_in_and_where_by_names_of_its_own(flow: Flow) -> None:
    claims = await flow.is_taken()
    assert isinstance(claims["aud"], str)
    assert {"amr", "acr", "auth_time", "sid", "at_hash", "azp"} <= set(claims)
    assert claims["amr"] == ["pwd"]
    assert (await flow.verified(await flow.tokens()))["sid"] == claims["sid"]


@pytest.mark.acceptance("M10")
async def test_a_level_that_a_client_needs_is_shown_or_refused_and_what_is_said_of_it_is_true(flow: Flow) -> None:
    wanted = json.dumps({"id_token": {"acr": {"essential": True, "values": ["aal2"]}}})
    before = await flow.is_taken()
    assert (before["amr"], before["acr"]) == (["pwd"], "aal1")
    refused = told(await flow.visitor.get(flow.path(claims=wanted)))
    assert refused["error"] == "unmet_authentication_requirements"
    await add_app(flow.visitor)
    after = await flow.is_taken(claims=wanted)
    assert (after["acr"], "otp" in after["amr"]) == ("aal2", True)
