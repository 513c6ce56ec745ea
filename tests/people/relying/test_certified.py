"""Signing in at npm's `oidc-provider`, a certified provider that this project did not write."""

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest

from tests.egress.peers import closed_port
from tests.people.relying.world import Relying
from tests.people.visitor import location
from tests.sdk.environments import javascript_with, node

HERE = Path(__file__).parent / "js"
CALLBACK = "/sign-in/provider/callback/"


@pytest.fixture(scope="module")
def judge() -> Path:
    """Where it is installed."""
    return javascript_with(HERE)


@dataclass
class Certified:
    """The provider while it runs, and what a browser keeps of it."""

    issuer: str
    http: aiohttp.ClientSession

    async def sign_in(self, url: str) -> str:
        """Follows the provider's redirects up to the one that leads back to us."""
        for _ in range(10):
            async with self.http.get(url, allow_redirects=False) as reply:
                assert reply.status in {302, 303}, await reply.text()
                url = urljoin(url, reply.headers["location"])
            if CALLBACK in url:
                return url
        raise AssertionError(url)

    async def sign_out(self) -> None:
        """Signs out there, as a person does who confirms it."""
        async with self.http.get(f"{self.issuer}/session/end") as reply:
            page = await reply.text()
        secret = re.search(r'name="xsrf" value="([^"]+)"', page)
        assert secret is not None, page
        confirmed = {"xsrf": secret[1], "logout": "yes"}
        async with self.http.post(f"{self.issuer}/session/end/confirm", data=confirmed) as reply:
            assert reply.status == 200, await reply.text()


@asynccontextmanager
async def started(judge: Path, relying: Relying, base_url: str, **more: object) -> AsyncIterator[Certified]:
    """The provider, as the organisation has set it up at its side."""
    shown = (await relying.api.get(relying.path)).body
    person = relying.provider.person
    given = {
        "issuer": shown["issuer"],
        "clientId": shown["clientId"],
        "clientSecret": relying.provider.secret,
        "redirectUri": shown["redirectUri"],
        "backchannelLogoutUri": shown["backchannelLogoutUri"].replace(relying.public_url, base_url),
        "authMethod": shown["authMethod"],
        "algorithm": "RS256",
        "subject": person.subject,
        "claims": {"email": person.email, "email_verified": person.email_verified, "name": person.name},
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        node(), "provider.mjs", json.dumps(given), cwd=judge, stdout=subprocess.PIPE
    )
    jar = aiohttp.CookieJar(unsafe=True)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line == b"listening\n", line
        async with aiohttp.ClientSession(cookie_jar=jar) as http:
            yield Certified(str(shown["issuer"]), http)
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def at_home(relying: Relying) -> Relying:
    """The organisation's provider is going to be at a port where nothing is yet."""
    shown = await relying.api.get(relying.path)
    moved = {"issuer": f"http://127.0.0.1:{closed_port()}"}
    headers = {"if-match": shown.headers["etag"]}
    assert (await relying.api.call("PATCH", relying.path, moved, headers=headers)).status == 200
    return relying


@pytest.mark.acceptance("I06")
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_people_of_a_certified_provider_are_signed_in(
    at_home: Relying, judge: Path, base_url: str, algorithm: str
) -> None:
    async with started(judge, at_home, base_url, algorithm=algorithm) as certified:
        back = await certified.sign_in(await at_home.leave())
        assert f"iss={certified.issuer}".replace(":", "%3A").replace("/", "%2F") in back
        reply = await at_home.come_back(back)
        assert (reply.status, location(reply)) == (303, "/account"), reply.raw
        assert (await at_home.visitor.get("/account")).status == 200
        person = at_home.person()
        assert person is not None
        assert person.name == at_home.provider.person.name
        assert (await at_home.come_back(back)).status == 401


async def test_a_logout_at_a_certified_provider_ends_the_session_here(
    at_home: Relying, judge: Path, base_url: str
) -> None:
    async with started(judge, at_home, base_url) as certified:
        await at_home.come_back(await certified.sign_in(await at_home.leave()))
        (session,) = at_home.live()
        assert session.provider_session is not None
        await certified.sign_out()
        assert at_home.live() == []
        assert (await at_home.visitor.get("/account")).status == 303


async def test_a_certified_provider_that_expects_another_secret_gives_nothing(
    at_home: Relying, judge: Path, base_url: str
) -> None:
    async with started(judge, at_home, base_url, clientSecret="another") as certified:
        reply = await at_home.come_back(await certified.sign_in(await at_home.leave()))
    at_home.assert_refused(reply, "code_refused")
