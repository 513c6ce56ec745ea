"""What is not taken for an access token, however it is made to look like one."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import aiohttp
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from app.auth.access_tokens import SKEW
from app.domain.ids import encode
from app.features.oauth import keys
from app.kit.clock import new_id
from app.kit.token_keys import Algorithm, Key, TokenKey
from tests.api.client import Api, Reply, Tenant
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known
from tests.receiver import Receiver

Claims = dict[str, Any]


@dataclass(frozen=True)
class Forge:
    """Makes tokens of any kind, from what a good one says, and shows them to the API."""

    api: Api
    good: str
    signer: TokenKey

    @property
    def header(self) -> dict[str, Any]:
        return dict(jws.extract_compact(self.good.encode()).headers())

    @property
    def claims(self) -> Claims:
        payload = jws.extract_compact(self.good.encode()).payload
        assert payload is not None
        return dict(json.loads(payload))

    def signed(
        self, header: Mapping[str, Any] | None = None, claims: Claims | None = None, key: Key | None = None
    ) -> str:
        """Signed by one of our own keys, or another one, as the header says."""
        made = self.header if header is None else dict(header)
        algorithm = jws.JWSRegistry.algorithms[made["alg"]]
        return self.raw(made, claims, lambda text: algorithm.sign(text, key or self.signer.private))

    def raw(self, header: Mapping[str, Any], claims: Claims | None, sign: Callable[[bytes], bytes]) -> str:
        said = self.claims if claims is None else claims
        text = ".".join(encoded(json.dumps(one).encode()) for one in (header, said))
        return f"{text}.{encoded(sign(text.encode()))}"

    async def show(self, token: str) -> Reply:
        return await self.api.with_credential(token).get("/organisation")

    async def is_refused(self, token: str) -> bool:
        reply = await self.show(token)
        return reply.status == 401 and "www-authenticate" in reply.headers


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture
def forge(http: aiohttp.ClientSession, base_url: str, granter: Granter, tenant: Tenant, person: Known) -> Forge:
    grant = granter.grant(granter.client(tenant), person)
    with granter.sessions.begin() as db:
        found = keys.key_set(db, granter.settings.secrets.ring())
    signer = found.signer(Algorithm.rs256, datetime.now(UTC))
    return Forge(Api(http, base_url, None), granter.access(grant).text, signer)


async def test_what_is_changed_below_is_good_before(forge: Forge) -> None:
    assert (await forge.show(forge.good)).status == 200
    assert (await forge.show(forge.signed())).status == 200


@pytest.mark.acceptance("T01")
@pytest.mark.parametrize("alg", ["none", "None", "NONE"])
async def test_a_token_that_nobody_signed_is_refused(forge: Forge, alg: str) -> None:
    head = encoded(json.dumps({**forge.header, "alg": alg}).encode())
    body = forge.good.split(".")[1]
    for signature in ("", forge.good.split(".")[2]):
        reply = await forge.show(f"{head}.{body}.{signature}")
        assert (reply.status, reply.body["type"]) == (401, "urn:postrider:error:invalid_token")


@pytest.mark.acceptance("T01")
@pytest.mark.parametrize("alg", ["RS384", "PS256"])
async def test_a_key_is_good_for_its_one_algorithm(forge: Forge, alg: str) -> None:
    reply = await forge.show(forge.signed({**forge.header, "alg": alg}))
    assert (reply.status, reply.body["type"]) == (401, "urn:postrider:error:invalid_token")


@pytest.mark.acceptance("T02")
@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(lambda key: key.as_pem(private=False), id="PEM"),
        pytest.param(lambda key: key.as_pem(private=False).strip(), id="PEM without its last line's end"),
        pytest.param(lambda key: key.as_der(private=False), id="DER"),
        pytest.param(lambda key: key.public_key.public_bytes(Encoding.PEM, PublicFormat.PKCS1), id="PKCS1"),
        pytest.param(lambda key: json.dumps(key.as_dict(private=False)).encode(), id="JWK"),
        pytest.param(lambda key: key.as_dict(private=False)["n"].encode(), id="modulus"),
    ],
)
async def test_the_public_key_is_no_secret(forge: Forge, secret: Callable[[RSAKey], bytes]) -> None:
    assert isinstance(forge.signer.public, RSAKey)
    key = secret(forge.signer.public)
    token = forge.raw({**forge.header, "alg": "HS256"}, None, lambda text: hmac.digest(key, text, "sha256"))
    assert await forge.is_refused(token)


@pytest.mark.acceptance("T03")
@pytest.mark.parametrize("names_ours", [True, False])
async def test_a_header_brings_no_key_along_and_nothing_is_fetched(
    forge: Forge,
    receiver: Receiver,
    names_ours: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    theirs, path = RSAKey.generate_key(2048), receiver.path()
    kid = forge.signer.id if names_ours else "theirs"
    offers = (
        {"jwk": theirs.as_dict(private=False)},
        {"jku": receiver.base + path},
        {"x5u": receiver.base + path},
        {"x5c": ["MIIB"]},
    )
    for offer in offers:
        assert await forge.is_refused(forge.signed({**forge.header, "kid": kid, **offer}, key=theirs))
    assert receiver.at(path) == []


@pytest.mark.acceptance("T03")
@pytest.mark.parametrize("named", [["exp"], ["b64"], ["unknown"], []])
async def test_a_header_that_must_be_understood_is_not(forge: Forge, named: list[str]) -> None:
    head = {**forge.header, "crit": named, "unknown": 1, "b64": True}
    assert await forge.is_refused(forge.signed(head))


@pytest.mark.acceptance("T04")
@pytest.mark.parametrize("typ", ["JWT", "jwt", "logout+jwt", "rt+jwt", "", None, 7, "AT+JWT "])
async def test_another_type_is_refused(forge: Forge, typ: object) -> None:
    header = {name: value for name, value in {**forge.header, "typ": typ}.items() if value is not None}
    assert await forge.is_refused(forge.signed(header))


@pytest.mark.acceptance("T04")
@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
async def test_the_type_is_spelled_as_media_types_are(forge: Forge, typ: str) -> None:
    assert (await forge.show(forge.signed({**forge.header, "typ": typ}))).status == 200


@pytest.mark.acceptance("T04")
async def test_what_else_is_handed_out_opens_nothing(
    forge: Forge, granter: Granter, tenant: Tenant, person: Known
) -> None:
    minter, client = granter.minter(), granter.client(tenant)
    grant = granter.grant(client, person)
    for other in (
        minter.id_token(grant),
        minter.logout_token(client.id, person.id, new_id(), Algorithm.rs256),
        base64.urlsafe_b64encode(b"r" * 64).decode(),
    ):
        assert await forge.is_refused(other)


def _wrong(name: str, value: object) -> Any:  # noqa: ANN401 pytest's own
    return pytest.param(name, value, id=f"{name}={value!r}")


MISSING = object()
NOBODY = UUID(int=7)
WRONG = [
    *(pytest.param(name, MISSING, id=f"no {name}") for name in ("aud", "iss", "exp", "sub", "client_id", "iat", "jti")),
    *(pytest.param(name, MISSING, id=f"no {name}") for name in ("org", "fam", "scope")),
    _wrong("aud", "https://other.example.test"),
    _wrong("aud", []),
    _wrong("aud", ["https://other.example.test"]),
    _wrong("aud", {"a": 1}),
    _wrong("iss", "https://other.example.test"),
    _wrong("iss", ["http://localhost:8000"]),
    _wrong("exp", "soon"),
    _wrong("exp", bool("true")),
    _wrong("exp", float("inf")),
    _wrong("exp", float("nan")),
    _wrong("exp", 10**30),
    _wrong("sub", encode("user", NOBODY)),
    _wrong("sub", encode("client", NOBODY)),
    _wrong("sub", ""),
    _wrong("sub", 7),
    _wrong("client_id", encode("client", NOBODY)),
    _wrong("client_id", "client"),
    _wrong("jti", ""),
    _wrong("jti", 7),
    _wrong("org", encode("org", NOBODY)),
    _wrong("fam", NOBODY.hex),
    _wrong("fam", "x"),
]


@pytest.mark.acceptance("T05")
@pytest.mark.parametrize(("name", "value"), WRONG)
async def test_a_claim_that_is_missing_or_wrong(forge: Forge, name: str, value: object) -> None:
    claims = {**forge.claims, name: value}
    if value is MISSING:
        del claims[name]
    assert await forge.is_refused(forge.signed(claims=claims))


@pytest.mark.acceptance("T05")
@pytest.mark.parametrize("name", ["iat", "nbf"])
async def test_a_token_of_the_future_is_not_good_yet(forge: Forge, name: str) -> None:
    assert timedelta(seconds=60) >= SKEW
    soon = time.time() + SKEW.total_seconds()
    assert await forge.is_refused(forge.signed(claims={**forge.claims, name: soon + 10}))
    assert (await forge.show(forge.signed(claims={**forge.claims, name: soon - 10}))).status == 200


@pytest.mark.acceptance("T06")
@pytest.mark.parametrize("hours", [0, 2, -2])
async def test_a_token_ends_when_it_says_whatever_the_clock_of_a_process_says(forge: Forge, hours: int) -> None:
    def wrong() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    over = time.time() - SKEW.total_seconds()
    with mock.patch("app.auth.access_tokens.utc_now", wrong), mock.patch("app.auth.keys.utc_now", wrong):
        assert await forge.is_refused(forge.signed(claims={**forge.claims, "exp": over - 1}))
        assert (await forge.show(forge.signed(claims={**forge.claims, "exp": over + 20}))).status == 200
        assert (await forge.show(forge.signed(claims={**forge.claims, "exp": time.time() + 60}))).status == 200


@pytest.mark.acceptance("T06")
async def test_a_token_that_is_remembered_ends_too(forge: Forge) -> None:
    ends_at = time.time() - SKEW.total_seconds() + 1.5
    token = forge.signed(claims={**forge.claims, "exp": ends_at})
    assert (await forge.show(token)).status == 200
    while time.time() <= ends_at + SKEW.total_seconds():
        time.sleep(0.1)  # noqa: ASYNC251 nothing else runs
    assert await forge.is_refused(token)


async def test_a_key_that_nobody_knows_or_that_is_not_named_is_none(forge: Forge) -> None:
    theirs = ECKey.generate_key("P-256")
    assert await forge.is_refused(forge.signed({**forge.header, "alg": "ES256"}, key=theirs))
    assert await forge.is_refused(forge.signed({**forge.header, "kid": "theirs", "alg": "ES256"}, key=theirs))
    nameless = {name: value for name, value in forge.header.items() if name != "kid"}
    assert await forge.is_refused(forge.signed(nameless))


@pytest.mark.parametrize("text", ["..", "a.b.c", "e30.e30.", "e30.e30.e30", "é.é.é", "." * 2 + "x" * 5000])
async def test_what_is_no_token_at_all(forge: Forge, text: str) -> None:
    header = {"authorization": f"Bearer {text}".encode().decode("latin-1")}
    reply = await forge.api.call("GET", "/organisation", headers=header)
    assert reply.status == 401
