"""The provider's addresses are the organisation's to choose: none of them leads where Postrider must not call."""

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from tests.api.client import Api
from tests.egress.peers import NameServer
from tests.people.relying.conftest import Canary
from tests.people.relying.idp import Provider, running
from tests.people.relying.world import Relying

pytestmark = pytest.mark.acceptance("I11")
DISCOVERY = "/.well-known/openid-configuration"
PATHS = (DISCOVERY, "/token", "/jwks", "/userinfo")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def refused(relying: Relying) -> None:
    """A sign-in ends with 502, wherever it fails."""
    start = await relying.visitor.get(f"/sign-in/provider/start?provider={relying.id}")
    if start.status == 303:
        start = await relying.come_back(relying.provider.authorize(start.headers["location"]))
    relying.assert_refused(start, "provider_unavailable", 502)


@pytest.mark.parametrize(
    "issuer",
    [
        "http://127.0.0.2",
        "http://10.0.0.1",
        "http://169.254.169.254",
        "http://[::1]",
        "http://[::ffff:10.0.0.1]",
        "http://2130706433",
        "http://0x7f.1",
        "http://metadata.google.internal",
        "https://user:secret@sso.example.com",
        "https://sso.example.com:22",
        "https://sso.example.com?tenant=1",
        "https://sso.example.com#a",
        "ftp://sso.example.com",
        "javascript:alert(1)",
        "not a url",
    ],
)
async def test_an_issuer_that_may_not_be_called_is_refused_when_it_is_written(relying: Relying, issuer: str) -> None:
    api: Api = relying.api
    body = {"name": "Bad", "issuer": issuer, "clientId": "c", "authMethod": "none"}
    made = await api.post("/organisation/identity-provider", body)
    assert (made.status, made.fields) == (422, ["body.issuer"])
    shown = await api.get(relying.path)
    changed = await api.call("PATCH", relying.path, {"issuer": issuer}, headers={"if-match": shown.headers["etag"]})
    assert (changed.status, changed.fields) == (422, ["body.issuer"])
    assert (await api.get(relying.path)).body["issuer"] == relying.provider.issuer


@pytest.mark.parametrize("name", ["jwks_uri", "token_endpoint", "userinfo_endpoint", "authorization_endpoint"])
async def test_metadata_that_leads_to_a_forbidden_address_is_refused(
    relying: Relying, canary: Canary, name: str
) -> None:
    relying.provider.metadata = {name: f"{canary.url}/x"}
    await refused(relying)
    assert canary.hits == 0


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("path", PATHS)
async def test_redirects_are_not_followed(relying: Relying, canary: Canary, path: str, status: int) -> None:
    relying.provider.instead[path] = _answers(status=status, headers={"location": f"{canary.url}/x"})
    await refused(relying)
    assert canary.hits == 0


@pytest.mark.parametrize("addresses", [["127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["::ffff:127.0.0.2"]])
async def test_a_name_with_a_forbidden_address_is_refused(
    relying: Relying, canary: Canary, names: NameServer, named_port: int, addresses: list[str]
) -> None:
    names.answers = lambda _: addresses
    relying.provider.metadata = {"jwks_uri": f"http://keys{time.time_ns()}.test:{named_port}/jwks"}
    await refused(relying)
    assert canary.hits == 0


async def test_a_name_that_turns_to_a_forbidden_address_meanwhile_is_never_called_there(
    relying: Relying, canary: Canary, names: NameServer, named_port: int
) -> None:
    asked = 0

    def turning(_: str) -> list[str]:
        nonlocal asked
        asked += 1
        return ["127.0.0.1"] if asked <= 2 else ["127.0.0.2"]

    names.answers = turning
    async with running(Provider(person=relying.provider.person), named_port) as moved:
        moved.issuer = f"http://sso{time.time_ns()}.test:{named_port}"
        shown = await relying.api.get(relying.path)
        headers = {"if-match": shown.headers["etag"]}
        assert (await relying.api.call("PATCH", relying.path, {"issuer": moved.issuer}, headers=headers)).status == 200
        relying.provider = moved
        await relying.sign_in()
        assert moved.count(DISCOVERY) == 1
        # By now what is known of the name is too old.
        await asyncio.sleep(5.1)
        await relying.sign_in(relying.visitor.another())
    assert (asked > 2, canary.hits) == (True, 0)
    assert relying.reasons() == ["provider_unavailable"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_without_end_is_not_read(relying: Relying, path: str) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "application/json"})
        await answer.prepare(request)
        for _ in range(1000):
            await answer.write(b" " * 65536)
        return answer

    relying.provider.instead[path] = endless
    await refused(relying)


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_that_is_packed_is_not_unpacked(relying: Relying, path: str) -> None:
    packed = gzip.compress(b" " * 10_000_000)
    relying.provider.instead[path] = _answers(body=packed, headers={"content-encoding": "gzip"})
    reply = await relying.visitor.get(f"/sign-in/provider/start?provider={relying.id}")
    if reply.status == 303:
        reply = await relying.come_back(relying.provider.authorize(reply.headers["location"]))
    assert (reply.status in {401, 502}, relying.is_signed_in()) == (True, False)


@pytest.mark.parametrize("path", PATHS)
async def test_a_slow_answer_is_not_waited_for(relying: Relying, path: str) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3)
        return web.json_response({})

    relying.provider.instead[path] = slow
    started = time.monotonic()
    await refused(relying)
    assert time.monotonic() - started < 2.5


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [204, 400, 404, 500, 503])
async def test_an_answer_without_success_is_none(relying: Relying, path: str, status: int) -> None:
    relying.provider.instead[path] = _answers(status=status)
    await refused(relying)


async def test_tokens_that_come_with_an_error_are_none(relying: Relying) -> None:
    tokens = {"access_token": "a", "token_type": "Bearer", "id_token": "a.b.c"}
    relying.provider.instead["/token"] = _answers(status=400, json=tokens)
    await refused(relying)


async def test_proxies_in_the_environment_are_not_used(
    relying: Relying, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, canary.url)
    assert (await relying.sign_in()).status == 303
    assert (relying.is_signed_in(), canary.hits) == (True, 0)


async def test_cookies_of_a_provider_are_not_kept(relying: Relying) -> None:
    relying.provider.instead[DISCOVERY] = _answers(
        json=relying.provider.document(), headers={"set-cookie": "tracked=1; Path=/"}
    )
    assert (await relying.sign_in()).status == 303
    assert all("cookie" not in one.headers for one in relying.provider.requests)


def _answers(
    status: int = 200, body: bytes | None = None, json: object = None, headers: dict[str, str] | None = None
) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        if json is not None:
            return web.json_response(json, status=status, headers=headers)
        return web.Response(status=status, body=body, headers=headers)

    return answer
