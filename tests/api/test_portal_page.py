"""The page that a portal link opens."""

from html.parser import HTMLParser

import aiohttp
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from app.models import Endpoint, Status
from tests.api.client import Api, Reply, Tenant
from tests.api.world import World, uuid_of

COOKIE = "postrider_portal"
HOSTILE = "<script>alert('x')</script>\"'&"


class Page(HTMLParser):
    """What a reader finds on a page: elements, attributes, text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += " " + " ".join(data.split())


@pytest.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    return await World(api, sessions, tenant.id).setup(endpoints=0)


async def token_of(world: World, **allowed: object) -> str:
    token = (await world.api.portal(world.app_id, **allowed)).credential
    assert token is not None
    return token


async def visit(api: Api, path: str = "/portal", *, token: str | None = None, cookie: str | None = None) -> Reply:
    """One GET without following redirects."""
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as browser,
        browser.get(
            api.base + path,
            params={"token": token} if token is not None else None,
            cookies={COOKIE: cookie} if cookie is not None else None,
            allow_redirects=False,
        ) as response,
    ):
        return Reply(response.status, response.headers.copy(), await response.read())


async def page_of(world: World, **allowed: object) -> Page:
    reply = await visit(world.api, cookie=await token_of(world, **allowed))
    assert reply.status == 200, reply.raw
    return Page(reply.raw.decode())


async def test_a_link_moves_its_token_into_a_cookie(world: World) -> None:
    link = (await world.api.post(f"/auth/app-portal-access/{world.app_id}", {})).body
    assert link["url"] == f"http://localhost:8000/portal?token={link['token']}"
    reply = await visit(world.api, token=link["token"])
    assert (reply.status, reply.headers["Location"]) == (303, "/portal")
    cookie = reply.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}={link['token']};")
    for part in ("HttpOnly", "Path=/portal", "SameSite=lax"):
        assert part in cookie
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert (await visit(world.api, cookie=link["token"])).status == 200


async def test_a_link_is_made_only_when_a_browser_keeps_its_cookie(world: World) -> None:
    flags = [f"flag-{number:03}" for number in range(400)]
    refused = await world.api.post(f"/auth/app-portal-access/{world.app_id}", {"featureFlags": flags})
    assert (refused.status, refused.fields) == (422, ["body.featureFlags"])
    every = ["ViewBase", "ViewEndpointSecret", "ManageEndpointSecret", "ManageTransformations", "CreateAttempts"] * 100
    most = {"featureFlags": flags[:180], "capabilities": every, "sessionId": "s" * 256, "readOnly": True}
    link = (await world.api.post(f"/auth/app-portal-access/{world.app_id}", most)).body
    reply = await visit(world.api, token=link["token"])
    assert len(reply.headers["Set-Cookie"]) <= 4096
    assert (await visit(world.api, cookie=link["token"])).status == 200


async def test_endpoints_are_shown_with_their_state(world: World) -> None:
    assert "There is no endpoint yet" in (await page_of(world)).text
    await world.endpoint(description="Billing", url="http://127.0.0.1:9/first")
    await world.endpoint(description=HOSTILE, disabled=True, url="http://127.0.0.1:9/second?a=1&b=2")
    page = await page_of(world)
    for text in ("http://127.0.0.1:9/first", "Enabled", "Billing", "http://127.0.0.1:9/second?a=1&b=2", "Disabled"):
        assert text in page.text
    assert HOSTILE in page.text
    assert "script" not in page.tags


@pytest.mark.parametrize(("reason", "words"), [("gone", "410 Gone"), ("failing", "failed for days")])
async def test_the_reason_of_a_disabled_endpoint_is_told(world: World, reason: str, words: str) -> None:
    endpoint = await world.endpoint()
    with world.sessions.begin() as db:
        statement = update(Endpoint).where(Endpoint.id == uuid_of(endpoint))
        db.execute(statement.values(disabled=True, disabled_reason=reason))
    assert words in (await page_of(world)).text


async def test_attempts_are_shown_with_their_result(world: World) -> None:
    await world.endpoint()
    message = await world.message()
    assert "Nothing has been sent yet" in (await page_of(world)).text
    world.attempt(message, event_type="user.created", response_status=201, duration_ms=34)
    world.attempt(
        message, event_type="user.deleted", status=Status.fail, response_status=0, failure="timeout", duration_ms=15000
    )
    page = await page_of(world)
    for text in ("user.created", "Delivered", "201", "34 ms", "user.deleted", "Failed", "timeout", "15000 ms", message):
        assert text in page.text
    assert page.text.index("user.deleted") < page.text.index("user.created")


async def test_fifty_attempts_are_shown_over_all_endpoints(world: World) -> None:
    endpoints = [await world.endpoint() for _ in range(3)]
    message = await world.message()
    for number in range(60):
        world.attempt(message, endpoints[number % 3], event_type=f"number.{number:02}")
    text = (await page_of(world)).text
    shown = [number for number in range(60) if f"number.{number:02}" in text]
    assert shown == list(range(10, 60))


async def test_event_types_beyond_the_flags_are_not_shown(world: World) -> None:
    await world.api.post("/event-type", {"name": "beta.only", "description": "", "featureFlags": ["beta"]})
    await world.endpoint()
    message = await world.message("beta.only")
    world.attempt(message, event_type="beta.only")
    world.attempt(message, event_type="plain")
    assert "beta.only" not in (await page_of(world)).text
    assert "plain" in (await page_of(world)).text
    assert "beta.only" in (await page_of(world, featureFlags=["beta"])).text


async def test_another_applications_endpoints_are_not_shown(world: World) -> None:
    await world.endpoint(description="mine")
    other = await World(world.api, world.sessions, world.environment_id).setup(description="theirs")
    other.attempt(await other.message(), event_type="theirs.too")
    text = (await page_of(world)).text
    assert "mine" in text
    assert "theirs" not in text


async def test_the_page_needs_no_script_and_permits_none(world: World) -> None:
    await world.endpoint()
    reply = await visit(world.api, cookie=await token_of(world))
    policy = reply.headers["Content-Security-Policy"]
    for part in ("default-src 'none'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'none'"):
        assert part in policy
    assert "unsafe" not in policy
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(reply.raw.decode())
    assert {"script", "style", "img", "iframe", "form"}.isdisjoint(page.tags)
    assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
    assert ("lang", "en") in page.attributes
    assert {"main", "nav", "h1", "h2"} <= set(page.tags)
    assert page.tags.count("h1") == 1
    style = await visit(world.api, "/static/style.css")
    assert (style.status, style.headers["Content-Type"].split(";")[0]) == (200, "text/css")


@pytest.mark.parametrize("kind", ["none", "empty", "garbage", "api key", "forged"])
async def test_without_a_good_token_there_is_no_page(world: World, kind: str) -> None:
    good = await token_of(world)
    tokens = {
        "none": None,
        "empty": "",
        "garbage": "a.b.c",
        "api key": world.api.credential,
        "forged": good[:-4] + "AAAA",
    }
    for reply in (
        await visit(world.api, cookie=tokens[kind]),
        await visit(world.api, token=tokens[kind]),
    ):
        assert reply.status == 401
        assert "This link has ended" in reply.raw.decode()
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert good not in reply.headers.get("Set-Cookie", "")
        assert str(world.api.credential) not in reply.headers.get("Set-Cookie", "")


async def test_a_page_ends_with_its_application(world: World) -> None:
    token = await token_of(world)
    assert (await visit(world.api, cookie=token)).status == 200
    await world.api.delete(world.path)
    assert (await visit(world.api, cookie=token)).status == 401


async def test_the_page_is_not_the_api(world: World) -> None:
    token = await token_of(world)
    async with world.api.http.get(f"{world.api.base}/api/v1{world.path}", cookies={COOKIE: token}) as response:
        assert response.status == 401
