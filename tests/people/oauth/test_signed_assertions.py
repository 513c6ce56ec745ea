"""Clients that show who they are by signing."""

import time
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from app.kit.clock import new_id
from tests.api.client import Api, Reply
from tests.people.oauth.world import CLIENTS, App, client_fields, new_app

ISSUER = "http://localhost:8000"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEY = rsa.generate_private_key(65537, 2048)
OTHER_KEY = rsa.generate_private_key(65537, 2048)
SHORT_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505 it is to be refused
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def public(key: rsa.RSAPrivateKey, kid: str = "one") -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}


JWKS = {"keys": [public(KEY), {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "two"}]}


@dataclass(frozen=True)
class Signer:
    """A client that signs."""

    app: App

    def claims(self, **changes: object) -> dict[str, object]:
        now = int(time.time())
        whole = {
            "iss": self.app.id,
            "sub": self.app.id,
            "aud": ISSUER,
            "exp": now + 60,
            "iat": now,
            "jti": new_id().hex,
        }
        return {name: value for name, value in {**whole, **changes}.items() if value is not None}

    async def ask(self, assertion: str, **more: str) -> Reply:
        sent = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": assertion}
        return await self.app.plain("/oauth/token", {**sent, **more}, {})

    async def sign(self, key: Key = KEY, algorithm: str = "RS256", kid: str = "one") -> Reply:
        return await self.ask(jwt.encode(self.claims(), key, algorithm, {"kid": kid}))

    async def claim(self, **changes: object) -> Reply:
        return await self.ask(jwt.encode(self.claims(**changes), KEY, "RS256", {"kid": "one"}))


@pytest.fixture
async def signer(api: Api) -> Signer:
    fields = {"grantTypes": ["client_credentials"], "scopes": ["message:read"], "authMethod": "private_key_jwt"}
    return Signer(await new_app(api, **fields, jwks=JWKS))


@pytest.mark.acceptance("O11")
async def test_an_assertion_is_good_once(signer: Signer) -> None:
    text = jwt.encode(signer.claims(), KEY, "RS256", {"kid": "one"})
    assert [(await signer.ask(text)).status for _ in range(2)] == [200, 401]
    assert (await signer.claim(aud=[f"{ISSUER}/oauth/token", "https://other.test"])).status == 200
    assert (await signer.sign(KEY, "PS256")).status == 200
    assert (await signer.sign(EC_KEY, "ES256", "two")).status == 200


@pytest.mark.acceptance("O11")
@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere.test"},
        {"aud": None},
        {"iss": "client_01h455vb4pex5vsknk084sn02q"},
        {"sub": "client_01h455vb4pex5vsknk084sn02q"},
        {"sub": None},
        {"exp": 1},
        {"exp": None},
        {"exp": 9999999999},
        {"exp": 1e300},
        {"exp": 1e17},
        {"nbf": 9999999999},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 300},
    ],
)
async def test_wrong_claims_are_refused(signer: Signer, changes: dict[str, object]) -> None:
    reply = await signer.claim(**changes)
    assert (reply.status, reply.body["error"]) == (401, "invalid_client")


@pytest.mark.acceptance("O11")
async def test_only_the_registered_keys_are_taken_each_by_its_algorithms(signer: Signer) -> None:
    assert (await signer.sign(OTHER_KEY)).status == 401
    assert (await signer.sign(KEY, kid="three")).status == 401
    assert (await signer.sign(KEY, kid="two")).status == 401
    unsigned = jwt.encode(signer.claims(), "", "none", {"kid": "one"})
    symmetric = jwt.encode(signer.claims(), b"k" * 32, "HS256", {"kid": "one"})
    for text in (unsigned, symmetric, "a.b.c", "nonsense", "é"):
        assert (await signer.ask(text)).status == 401
    own = jwt.encode(signer.claims(), OTHER_KEY, "RS256", {"jwk": public(OTHER_KEY)})
    assert (await signer.ask(own)).status == 401
    wrong_type = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}
    good = jwt.encode(signer.claims(), KEY, "RS256", {"kid": "one"})
    assert (await signer.ask(good, **wrong_type)).status == 401
    assert (await signer.ask(good, client_secret="x")).status == 400


@pytest.mark.acceptance("O11")
async def test_a_client_with_a_secret_cannot_sign_instead(signer: Signer, app: App) -> None:
    assert (await Signer(app).sign()).status == 401


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [public(KEY), public(OTHER_KEY)],
        [public(SHORT_KEY)],
        [{**RSAAlgorithm.to_jwk(KEY, as_dict=True), "kid": "one"}],
        [{"kty": "RSA"}],
        "nonsense",
        [1],
    ],
)
async def test_keys_that_prove_nothing_are_not_registered(api: Api, keys: object) -> None:
    reply = await api.post(CLIENTS, client_fields(authMethod="private_key_jwt", jwks={"keys": keys}))
    assert (reply.status, reply.fields) == (422, ["body.jwks"])
