"""Libraries that this project did not write, as clients of a running API, and as judges of its tokens."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import aiohttp
import jwt
import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.ports import any_free
from app.domain.ids import decode, encode
from app.main import create_app
from app.models import OAuthClient
from app.settings import read_settings
from tests.api.client import Api, Tenant, served
from tests.people.oauth.world import CALLBACK, App, new_app
from tests.people.visitor import PASSWORD, Known, Visitor, location
from tests.sdk.environments import javascript_with, node
from tests.servers import ROOT

AFTER = "https://app.example.test/signed-out"
LINE = 2**20
SCOPES = ["openid", "profile", "email", "offline_access", "organisation:read"]
pytestmark = [pytest.mark.acceptance("I03"), pytest.mark.timeout(420)]  # the first test of a judge installs it


@pytest_asyncio.fixture(scope="module")
async def issuer(environment: Mapping[str, str]) -> AsyncIterator[str]:
    """An API that is reached where it says that it is."""
    port = any_free()
    named = {**environment, "POSTRIDER_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with mock.patch.dict(os.environ, named, clear=True):
        settings = read_settings()
    async with served(create_app(settings), port) as url:
        yield url


@pytest_asyncio.fixture(scope="module")
async def judges() -> str:
    return str(await asyncio.to_thread(javascript_with, ROOT / "tests/people/oidc/js"))


@pytest.fixture
def browser(http: aiohttp.ClientSession, issuer: str) -> Visitor:
    return Visitor(http, issuer)


@pytest.fixture
async def client(http: aiohttp.ClientSession, issuer: str, tenant: Tenant) -> App:
    return await new_app(
        Api(http, issuer, tenant.key),
        scopes=SCOPES,
        role="viewer",
        grantTypes=["authorization_code", "refresh_token", "client_credentials"],
        postLogoutRedirectUris=[AFTER],
    )


async def opened(browser: Visitor, person: Known, url: str) -> str:
    """Where an address leads in the end: through signing in and the question, as a person at a browser goes."""
    reply = await browser.get(url)
    if reply.status == 303 and location(reply).startswith("/sign-in?"):
        path = location(reply)
        reply = await browser.submit("/sign-in", at=path, email=person.email, password=PASSWORD)
        url = location(reply)
        reply = await browser.get(url)
    if reply.status == 200:
        parts = urlsplit(url)
        reply = await browser.submit("/oauth/consent", at=f"{parts.path}?{parts.query}", answer="allow")
    return reply.headers["location"]


async def driven(script: str, client: App, browser: Visitor, person: Known) -> dict[str, Any]:
    """What a judge says that drives the client, while the person opens what it is asked to open."""
    assert client.secret is not None
    arguments = (script, client.base, client.id, client.secret, CALLBACK, AFTER)
    judge = await asyncio.create_subprocess_exec(node(), *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LINE)
    assert judge.stdin is not None
    assert judge.stdout is not None
    assert judge.stderr is not None
    async with asyncio.timeout(60):
        while line := await judge.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if "go" not in said:
                return said
            judge.stdin.write((await opened(browser, person, said["go"])).encode() + b"\n")
        raise AssertionError((await judge.stderr.read()).decode()[-3000:])


async def test_openid_client_signs_in_refreshes_and_signs_out(
    judges: str, client: App, browser: Visitor, person: Known
) -> None:
    said = await driven(f"{judges}/openid_client.mjs", client, browser, person)
    assert said["person"] == {"sub": encode("user", person.id), "email": person.email, "email_verified": True}
    assert (said["renewed"], said["active"]) == (True, [True, False])
    assert said["left"] == f"{AFTER}?state=signed-out"
    assert (await browser.get("/account")).status == 303


async def test_oauth4webapi_signs_in_judges_the_token_and_calls_the_api(
    judges: str, client: App, browser: Visitor, person: Known
) -> None:
    said = await driven(f"{judges}/oauth4webapi.mjs", client, browser, person)
    assert said["issuers"] == [client.base, client.base]
    assert said["person"]["name"] == "Test Person"
    assert said["scope"] == "openid profile organisation:read"
    assert (said["called"], said["left"]) == (200, AFTER)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_jose_and_pyjwt_take_the_tokens_for_what_they_are(
    judges: str,
    client: App,
    browser: Visitor,
    person: Known,
    sessions: sessionmaker[Session],
    algorithm: str,
) -> None:
    with sessions.begin() as db:
        row = db.scalars(select(OAuthClient).where(OAuthClient.id == decode("client", client.id))).one()
        row.id_token_algorithm = algorithm
    said = await driven(f"{judges}/oauth4webapi.mjs", client, browser, person)
    tokens = said["accessToken"], said["idToken"]
    arguments = (f"{judges}/jose.mjs", client.base, client.id, *tokens)
    judge = await asyncio.create_subprocess_exec(node(), *arguments, stdout=PIPE, stderr=PIPE)
    out, error = await asyncio.wait_for(judge.communicate(), 30)
    assert judge.returncode == 0, error.decode()[-2000:]
    judged = json.loads(out)
    assert judged["algorithms"] == [algorithm, algorithm]
    assert judged["crossed"] == "ERR_JWT_CLAIM_VALIDATION_FAILED"
    keys = jwt.PyJWKClient(f"{client.base}/oauth/jwks")
    for text, audience, seen in zip(tokens, (f"{client.base}/api/v1", client.id), ("access", "id"), strict=True):
        key = await asyncio.to_thread(keys.get_signing_key_from_jwt, text)
        claims = jwt.decode(text, key, [algorithm], audience=audience, issuer=client.base)
        assert claims == judged[seen]
