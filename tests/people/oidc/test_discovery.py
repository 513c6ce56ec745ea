"""What the provider says of itself is what it does: each thing that is listed, and nothing that is not."""

import time
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import jwt
import pytest
from joserfc import jwt as jose
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from sqlalchemy.orm import Session, sessionmaker

from app.kit.clock import new_id
from tests.api.client import Api
from tests.people.oauth.conftest import api, stranger
from tests.people.oauth.world import App, as_first_party, basic, client_fields, new_app, redeem, request_of, told
from tests.people.visitor import Known, Visitor

__all__ = ["api", "stranger"]
Published = dict[str, Any]
CLIENTS = "/organisation/oauth-client"
ISSUER = "http://localhost:8000"
pytestmark = pytest.mark.acceptance("I02")
MEMBERS = {
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "introspection_endpoint",
    "end_session_endpoint",
    "scopes_supported",
    "response_types_supported",
    "response_modes_supported",
    "grant_types_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
    "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported",
    "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported",
    "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported",
    "code_challenge_methods_supported",
    "authorization_response_iss_parameter_supported",
    "prompt_values_supported",
    "acr_values_supported",
    "claim_types_supported",
    "claims_supported",
    "claims_parameter_supported",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "backchannel_logout_supported",
    "backchannel_logout_session_supported",
}


@pytest.fixture
async def published(http: aiohttp.ClientSession, base_url: str) -> Published:
    async with http.get(f"{base_url}/.well-known/openid-configuration") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert response.headers["cache-control"] == "public, max-age=300"
        found: Published = await response.json()
        return found


@pytest.fixture
async def signed_in(visitor: Visitor, person: Known) -> Visitor:
    await visitor.sign_in(person.email)
    return visitor


def authorize(app: App, **changes: str | None) -> str:
    return f"/oauth/authorize?{urlencode(request_of(app, **{'scope': 'openid', **changes}))}"


@pytest.mark.acceptance("I01")
async def test_oidcc_discovery_endpoint_verification(
    published: Published, http: aiohttp.ClientSession, base_url: str
) -> None:
    assert set(published) == MEMBERS
    assert published["issuer"] == ISSUER
    assert published["response_types_supported"] == ["code"]
    assert published["subject_types_supported"] == ["public"]
    assert "RS256" in published["id_token_signing_alg_values_supported"]
    assert "authorization_code" in published["grant_types_supported"]
    assert "openid" in published["scopes_supported"]
    assert {"sub", "iss", "auth_time", "acr", "name", "email"} <= set(published["claims_supported"])
    for name in MEMBERS:
        if name.endswith("_endpoint") or name == "jwks_uri":
            assert published[name].startswith(f"{ISSUER}/oauth/")
    async with http.get(base_url + urlsplit(published["jwks_uri"]).path) as response:
        assert jwt.PyJWKSet.from_dict(await response.json(content_type=None)).keys
    async with http.get(f"{base_url}/.well-known/oauth-authorization-server") as response:
        assert await response.json() == published


async def test_each_endpoint_is_there_and_registration_is_not(
    published: Published, http: aiohttp.ClientSession, base_url: str
) -> None:
    for name, method, status in (
        ("authorization_endpoint", "GET", 400),
        ("token_endpoint", "POST", 400),
        ("userinfo_endpoint", "GET", 401),
        ("jwks_uri", "GET", 200),
        ("revocation_endpoint", "POST", 401),
        ("introspection_endpoint", "POST", 401),
        ("end_session_endpoint", "GET", 200),
    ):
        form = {"token": "x"} if method == "POST" else None
        path = urlsplit(published[name]).path
        async with http.request(method, base_url + path, allow_redirects=False, data=form) as response:
            assert response.status == status, (name, await response.text())
    for path in ("/oauth/register", "/oauth/par", "/oauth/device", "/oauth/checksession"):
        async with http.get(base_url + path) as response:
            assert response.status == 404


async def test_each_grant_is_known_and_no_other(
    published: Published, api: Api, sessions: sessionmaker[Session]
) -> None:
    app = as_first_party(sessions, await new_app(api), "client_credentials", "password")
    others = ["implicit", "urn:ietf:params:oauth:grant-type:device_code", "urn:openid:params:grant-type:ciba"]
    for grant in [*published["grant_types_supported"], *others]:
        reply = await app.token(grant_type=grant)
        is_unknown = reply.body.get("error") == "unsupported_grant_type"
        assert is_unknown == (grant not in published["grant_types_supported"]), (grant, reply.raw)


async def test_each_kind_of_answer_is_given_and_no_other(published: Published, signed_in: Visitor, api: Api) -> None:
    app = await new_app(api)
    for response_type in ("code", "token", "id_token", "code id_token", "none"):
        reply = await signed_in.get(authorize(app, response_type=response_type))
        assert (reply.status == 200) == (response_type in published["response_types_supported"])
    for mode in ("query", "fragment", "form_post", "web_message", "jwt"):
        reply = await signed_in.get(authorize(app, response_mode=mode))
        assert (reply.status == 200) == (mode in published["response_modes_supported"])
    for method in ("S256", "plain"):
        reply = await signed_in.get(authorize(app, code_challenge_method=method))
        assert (reply.status == 200) == (method in published["code_challenge_methods_supported"])


async def test_each_prompt_is_known_and_no_other(published: Published, signed_in: Visitor, api: Api) -> None:
    app = await new_app(api)
    for prompt in ("none", "login", "consent", "select_account", "create"):
        reply = await signed_in.get(authorize(app, prompt=prompt))
        refused = "location" in reply.headers and "error=invalid_request" in reply.headers["location"]
        assert refused == (prompt not in published["prompt_values_supported"])


async def test_each_answer_says_who_gives_it(published: Published, visitor: Visitor, api: Api) -> None:
    assert published["authorization_response_iss_parameter_supported"] is True
    assert told(await visitor.get(authorize(await new_app(api), prompt="none")))["iss"] == published["issuer"]


async def test_requests_by_value_or_reference_are_refused(published: Published, visitor: Visitor, api: Api) -> None:
    app = await new_app(api)
    for name in ("request", "request_uri"):
        assert published[f"{name}_parameter_supported"] is False
        answer = told(await visitor.get(authorize(app, **{name: "https://client.example.test/request"})))
        assert answer["error"] == f"{name}_not_supported"


async def test_each_scope_and_algorithm_can_be_registered_and_no_other(published: Published, api: Api) -> None:
    assert (await api.post(CLIENTS, client_fields(scopes=published["scopes_supported"]))).status == 201
    for scope in ("address", "phone", "profile:write", "everything"):
        assert (await api.post(CLIENTS, client_fields(scopes=[scope]))).status == 422
    for algorithm in ("RS256", "ES256", "PS256", "HS256", "EdDSA", "none"):
        status = (await api.post(CLIENTS, client_fields(idTokenAlgorithm=algorithm))).status
        assert (status == 201) == (algorithm in published["id_token_signing_alg_values_supported"])


async def test_each_claim_is_to_be_had(published: Published, signed_in: Visitor, api: Api) -> None:
    app = await new_app(api, scopes=["openid", "profile", "email"])
    named = '{"id_token":{"name":null,"updated_at":null,"email":{"essential":true},"email_verified":null}}'
    at = authorize(app, claims=named, nonce="n")
    reply = await signed_in.submit("/oauth/consent", at=at, answer="allow")
    tokens = (await redeem(app, told(reply)["code"])).body
    claims = jwt.decode(tokens["id_token"], options={"verify_signature": False})
    assert set(claims) == set(published["claims_supported"])
    assert claims["acr"] in published["acr_values_supported"]


KEYS: dict[str, Key] = {
    "RS256": RSAKey.generate_key(2048),
    "PS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "ES384": ECKey.generate_key("P-384"),
    "ES512": ECKey.generate_key("P-521"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
    "Ed25519": OKPKey.generate_key("Ed25519"),
}
ENDPOINTS = ("token", "revocation", "introspection")


async def _ask(app: App, endpoint: str, fields: dict[str, str], headers: dict[str, str]) -> bool:
    """Whether the client is known at an endpoint by what it shows."""
    path = {"token": "token", "revocation": "revoke", "introspection": "introspect"}[endpoint]
    grant = {"grant_type": "authorization_code", "code": "c", "redirect_uri": "x", "code_verifier": "v" * 43}
    reply = await app.plain(f"/oauth/{path}", {**(grant if endpoint == "token" else {"token": "t"}), **fields}, headers)
    return bool(reply.status != 401)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_each_way_in_which_clients_show_who_they_are(published: Published, api: Api, endpoint: str) -> None:
    ways = published[f"{endpoint}_endpoint_auth_methods_supported"]
    for way in ("client_secret_basic", "client_secret_post", "private_key_jwt", "none"):
        jwks = {"jwks": {"keys": [KEYS["ES256"].as_dict(private=False)]}} if way == "private_key_jwt" else {}
        app = await new_app(api, authMethod=way, **jwks)
        fields, headers = {"client_id": app.id}, {}
        if way == "client_secret_basic":
            headers = {"authorization": basic(app.id, app.secret or "")}
        elif way == "client_secret_post":
            fields["client_secret"] = app.secret or ""
        elif way == "private_key_jwt":
            fields |= assertion(app, "ES256", KEYS["ES256"])
        assert await _ask(app, endpoint, fields, headers) == (way in ways), way
    for way in ("client_secret_jwt", "tls_client_auth"):
        assert (await api.post(CLIENTS, client_fields(authMethod=way))).status == 422


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_each_algorithm_by_which_clients_sign(published: Published, api: Api, endpoint: str) -> None:
    listed = published[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]
    assert sorted(KEYS) == sorted(listed)
    for algorithm, key in KEYS.items():
        app = await new_app(api, authMethod="private_key_jwt", jwks={"keys": [key.as_dict(private=False)]})
        assert await _ask(app, endpoint, assertion(app, algorithm, key), {}), algorithm
    for algorithm, key in (("RS512", KEYS["RS256"]), ("HS256", OctKey.generate_key(256))):
        app = await new_app(api, authMethod="private_key_jwt", jwks={"keys": [KEYS["RS256"].as_dict(private=False)]})
        assert not await _ask(app, endpoint, assertion(app, algorithm, key), {}), algorithm


def assertion(app: App, algorithm: str, key: Key) -> dict[str, str]:
    """How a client shows who it is by its key."""
    now = int(time.time())
    claims = {"iss": app.id, "sub": app.id, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": new_id().hex}
    text = jose.encode({"alg": algorithm}, claims, key, [algorithm])
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    return {"client_assertion_type": kind, "client_assertion": text}
