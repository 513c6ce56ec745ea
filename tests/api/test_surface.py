"""How the API is reached and what every answer carries, seen through a real socket."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, StreamingResponse
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from multidict import CIMultiDict

from app.domain.forwarded import ProxyHeaders
from app.main import create_app
from app.settings import Environment, Http, Settings
from tests.api.client import Reply, Tenant, served

HOST, OTHER = "hooks.example.com", "api.example.com"
ORIGIN = "https://console.example.com"
SECRET = "hunter2"
HSTS = re.compile(r"max-age=(\d+); includeSubDomains")
BEHIND = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7"}
PLAIN = {"x-forwarded-proto": "http", "x-forwarded-for": "203.0.113.7"}


@dataclass(frozen=True)
class Door:
    """One served app, and what is sent with each request unless it is said otherwise."""

    url: str
    sent: Mapping[str, str] = field(default_factory=dict)

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, raw: bytes | None = None
    ) -> Reply:
        """One request, without following redirects."""
        sent = {**self.sent, **(headers or {})}
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
            http.request(method, self.url + path, headers=sent, data=raw, allow_redirects=False) as response,
        ):
            return Reply(response.status, response.headers.copy(), await response.read())

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.call("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})

    async def write(self, data: bytes) -> Reply:
        """Bytes as they are, and the one answer to them."""
        reader, writer = await asyncio.open_connection(urlsplit(self.url).hostname, urlsplit(self.url).port)
        writer.write(data)
        status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = CIMultiDict((name, value) for name, _, value in (line.partition(": ") for line in lines if line))
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        writer.close()
        return Reply(int(status.split()[1]), headers, body)


def changed(settings: Settings, http: Http, **others: object) -> Settings:
    """The module's settings as somebody else has set them, and validated as they would be."""
    return Settings.model_validate({**settings.model_dump(), "http": http.model_dump(), **others})


def production(settings: Settings, **http: object) -> Settings:
    """Behind a proxy that ends TLS."""
    given = {"trusted_proxies": "127.0.0.0/8", "allowed_hosts": OTHER, "cors_origins": ORIGIN, **http}
    closed = settings.egress.model_copy(update={"allow": ()})
    return changed(
        settings,
        Http.model_validate(given),
        environment=Environment.production,
        public_url=f"https://{HOST}",
        egress=closed.model_dump(),
    )


def with_routes(app: FastAPI) -> FastAPI:
    """The app with routes that do what none of the product's do."""

    async def boom() -> None:
        raise RuntimeError(SECRET)

    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for part in (b"data: 1\n\n", b"data: 2\n\n"):
                yield part

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def broken() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            raise RuntimeError(SECRET)

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def away() -> RedirectResponse:
        return RedirectResponse("/portal")

    async def seen(request: Request) -> dict[str, object]:
        return {"client": request.scope["client"], "scheme": request.scope["scheme"], "url": str(request.url)}

    for route in (boom, stream, broken, away, seen):
        app.add_api_route(f"/api/v1/{route.__name__}", route, response_model=None)
    return app


@pytest_asyncio.fixture(scope="module")
async def front(settings: Settings) -> AsyncIterator[Door]:
    """A production behind a proxy, called over HTTPS by its name."""
    async with served(with_routes(create_app(production(settings)))) as url:
        yield Door(url, {"host": HOST, **BEHIND})


@pytest_asyncio.fixture(scope="module")
async def plain(front: Door) -> Door:
    """The same, called over plain HTTP."""
    return Door(front.url, {"host": HOST, **PLAIN})


@pytest_asyncio.fixture(scope="module")
async def bare(settings: Settings) -> AsyncIterator[Door]:
    """A developer's, which has no proxy and no HTTPS."""
    async with served(with_routes(create_app(settings))) as url:
        yield Door(url)


def is_refusal(reply: Reply, status: int, word: str) -> bool:
    """Whether it is an error in JSON of this type."""
    return (
        reply.status == status == reply.body["status"]
        and reply.headers["content-type"] == "application/json"
        and reply.body["type"] == f"urn:postrider:error:{word}"
    )


# Plain HTTP.


@pytest.mark.acceptance("H03")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/v1/app", "/api/v1/app/x/msg", "/api/v1/nothing", "/", "/nothing", "/portals"])
async def test_the_api_refuses_plain_http(plain: Door, method: str, path: str) -> None:
    reply = await plain.call(method, path)
    assert is_refusal(reply, 403, "https_required")
    assert reply.code == "insufficient access"
    assert "location" not in reply.headers


@pytest.mark.acceptance("H03")
@pytest.mark.parametrize(
    "path", ["/portal?a=b%20c", "/static/portal.css", "/docs", "/portal/x%2Fy", "/static//evil.test"]
)
async def test_pages_move_on_to_https(plain: Door, path: str) -> None:
    for method in ("GET", "HEAD"):
        reply = await plain.call(method, path)
        assert (reply.status, reply.headers["location"]) == (308, f"https://{HOST}{path}")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert is_refusal(await plain.call(method, path), 403, "https_required")


@pytest.mark.acceptance("H03")
@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/api/v1/app", {"authorization": f"Bearer {SECRET}"}),
        ("/api/v1/app/x/msg", {"authorization": f"Bearer {SECRET}"}),
        ("/api/v1/health", {"authorization": f"Bearer {SECRET}"}),
        ("/portal", {"cookie": f"postrider_portal={SECRET}"}),
        (f"/portal?token={SECRET}", {}),
    ],
)
async def test_a_credential_that_came_by_plain_http_is_flagged(
    plain: Door, path: str, header: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await plain.call("GET", path, headers=header)
    (line,) = [one.getMessage() for one in caplog.records if one.name == "app.kit.surface.https"]
    assert "203.0.113.7" in line
    assert SECRET not in caplog.text


async def test_nothing_is_flagged_without_a_credential_or_with_https(
    plain: Door, front: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await plain.get("/api/v1/app")
    await front.get("/api/v1/app", authorization=f"Bearer {SECRET}")
    assert [one for one in caplog.records if one.name == "app.kit.surface.https"] == []


async def test_probes_answer_by_plain_http_and_by_address(front: Door) -> None:
    for path in ("/api/v1/health", "/api/v1/health/", "/api/v1/health/ping"):
        for host in ("127.0.0.1:8000", "10.1.2.3", "[fd00::1]:80"):
            reply = await Door(front.url, {"host": host}).get(path)
            assert reply.status in {200, 204}
            assert "strict-transport-security" not in reply.headers


async def test_https_can_be_left_to_others(settings: Settings) -> None:
    async with served(create_app(production(settings, require_https=False))) as url:
        assert (await Door(url, {"host": HOST}).get("/api/v1/app")).status == 401


async def test_a_developer_calls_this_machine_by_any_of_its_names(bare: Door, settings: Settings) -> None:
    http = Http(require_https=True)
    async with served(create_app(changed(settings, http, public_url=f"https://{HOST}"))) as url:
        for host in ("localhost", "localhost:1", "127.0.0.1:8000", "127.9.9.9", "[::1]:80"):
            assert (await Door(url, {"host": host}).get("/api/v1/app")).status == 401
            assert (await Door(bare.url, {"host": host}).get("/api/v1/app")).status == 401
        assert is_refusal(await Door(url, {"host": HOST}).get("/api/v1/app"), 403, "https_required")


# What every answer carries.


@dataclass(frozen=True)
class Ask:
    """A request and the status of its answer."""

    status: int
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    is_page: bool = False


JSON = {"content-type": "application/json"}
ASKS = (
    Ask(200, "GET", "/api/v1/health"),
    Ask(204, "GET", "/api/v1/health/ping"),
    Ask(204, "OPTIONS", "/api/v1/app"),
    Ask(200, "GET", "/api/v1/app?limit=1", {"authorization": "Bearer {key}"}),
    Ask(201, "POST", "/api/v1/app", {"authorization": "Bearer {key}", **JSON}, b'{"name": "a"}'),
    Ask(400, "GET", "/api/v1/app?limit=x", {"authorization": "Bearer {key}"}),
    Ask(400, "GET", "/api/v1/app", {"host": "evil.test"}),
    Ask(401, "GET", "/api/v1/app"),
    Ask(404, "GET", "/api/v1/nothing"),
    Ask(404, "GET", "/nothing"),
    Ask(404, "GET", "/static/nothing.css"),
    Ask(405, "PUT", "/api/v1/app"),
    Ask(405, "TRACE", "/api/v1/app"),
    Ask(413, "POST", "/api/v1/app", {"content-length": str(2**40), **JSON}),
    Ask(415, "POST", "/api/v1/app", {"content-type": "text/plain"}, b"{}"),
    Ask(422, "POST", "/api/v1/app", {"authorization": "Bearer {key}", **JSON}, b"[]"),
    Ask(500, "GET", "/api/v1/boom"),
    Ask(200, "GET", "/api/v1/stream"),
    Ask(307, "GET", "/api/v1/away"),
    # The fast way of a message.
    Ask(401, "POST", "/api/v1/app/x/msg", {"authorization": "Bearer x", **JSON}, b"{}"),
    Ask(422, "POST", "/api/v1/app/x/msg", {"authorization": "Bearer {key}", **JSON}, b"{}"),
    Ask(404, "POST", "/api/v1/app/x/msg", {"authorization": "Bearer {key}", **JSON}, b'{"eventType":"a","payload":{}}'),
    Ask(413, "POST", "/api/v1/app/x/msg", {"content-length": str(2**40), "authorization": "Bearer {key}", **JSON}),
    # Pages.
    Ask(401, "GET", "/portal", is_page=True),
    Ask(401, "GET", "/portal?token=x", is_page=True),
    Ask(405, "POST", "/portal"),
    Ask(200, "GET", "/static/portal.css"),
)


async def ask(door: Door, one: Ask, key: str) -> Reply:
    headers = {name: text.format(key=key) for name, text in one.headers.items()}
    if one.status != 413:
        return await door.call(one.method, one.path, headers=headers, raw=one.raw)
    # The length is announced; the body never comes.
    lines = "".join(f"{name}: {text}\r\n" for name, text in {**door.sent, **headers}.items())
    return await door.write(f"{one.method} {one.path} HTTP/1.1\r\n{lines}\r\n".encode())


@pytest.mark.acceptance("H04")
@pytest.mark.parametrize("one", ASKS, ids=lambda one: f"{one.status} {one.method} {one.path}")
async def test_every_answer_tells_browsers_what_they_may_not_do(front: Door, tenant: Tenant, one: Ask) -> None:
    reply = await ask(front, one, tenant.key)
    assert reply.status == one.status, reply.raw
    headers = reply.headers
    said = HSTS.fullmatch(headers["strict-transport-security"])
    assert said
    assert int(said[1]) >= 365 * 86400
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("style-src 'self'" in policy) == one.is_page
    assert ("no-store" in headers.get("cache-control", "")) == (not one.path.startswith("/static"))
    assert re.fullmatch(r"[A-Za-z0-9_\-.]{8,128}", headers["x-request-id"])
    assert {"server", "x-powered-by"}.isdisjoint(name.lower() for name in headers)
    names = [name.lower() for name in headers]
    assert len(names) == len(set(names))


@pytest.mark.acceptance("H04")
async def test_a_message_that_is_taken_carries_the_same(front: Door, tenant: Tenant) -> None:
    key = {"authorization": f"Bearer {tenant.key}", **JSON}
    await front.call("POST", "/api/v1/app", headers=key, raw=b'{"name": "a", "uid": "u"}')
    body = b'{"eventType":"a","payload":{}}'
    taken = await front.call("POST", "/api/v1/app/u/msg", headers=key, raw=body)
    by_route = await front.call("POST", "/api/v1/app/u/msg?with_content=false", headers=key, raw=body)
    assert (taken.status, by_route.status) == (202, 202)
    different = {"x-request-id", "content-length", "date"}
    shown = [{name.lower(): text for name, text in one.headers.items()} for one in (taken, by_route)]
    assert shown[0].keys() == shown[1].keys()
    assert {name for name, text in shown[0].items() if text != shown[1][name]} <= different
    assert HSTS.fullmatch(taken.headers["strict-transport-security"])


async def test_an_answer_that_breaks_off_began_with_its_headers(front: Door) -> None:
    reader, writer = await asyncio.open_connection(urlsplit(front.url).hostname, urlsplit(front.url).port)
    lines = "".join(f"{name}: {text}\r\n" for name, text in front.sent.items())
    writer.write(f"GET /api/v1/broken HTTP/1.1\r\n{lines}\r\n".encode())
    came = await reader.read()
    writer.close()
    assert b"x-content-type-options: nosniff" in came
    assert SECRET.encode() not in came


@pytest.mark.acceptance("H04")
@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\na: " + b"x" * 200_000])
async def test_what_reaches_no_app_is_answered_with_the_same(bare: Door, data: bytes) -> None:
    reply = await bare.write(data)
    assert reply.status in {400, 431}
    assert reply.body["status"] == reply.status
    for name in ("x-content-type-options", "content-security-policy", "referrer-policy", "cache-control"):
        assert name in reply.headers
    assert {"server", "strict-transport-security"}.isdisjoint(name.lower() for name in reply.headers)


async def test_over_plain_http_nothing_is_said_of_https(bare: Door, plain: Door) -> None:
    for reply in (await bare.get("/api/v1/app"), await plain.get("/api/v1/app"), await plain.get("/portal")):
        assert "strict-transport-security" not in reply.headers


async def test_an_upgrade_is_not_taken(front: Door) -> None:
    reply = await front.get("/api/v1/app", connection="upgrade", upgrade="websocket", sec_websocket_key="x")
    assert is_refusal(reply, 401, "authentication_failed")


# Other origins.


def said_of_origins(reply: Reply) -> list[str]:
    return [name for name in reply.headers if name.lower().startswith("access-control-")]


@pytest.mark.acceptance("H05")
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "https://evil.test",
        "http://console.example.com",
        "https://console.example.com:8443",
        "https://console.example.com.evil.test",
        "https://evil.test/https://console.example.com",
        "https://xconsole.example.com",
        "HTTPS://CONSOLE.EXAMPLE.COM",
        "",
    ],
)
async def test_an_origin_that_is_not_listed_is_told_nothing(front: Door, origin: str) -> None:
    for path in ("/api/v1/app", "/api/v1/health", "/api/v1/nothing", "/api/v1/boom", "/portal"):
        assert said_of_origins(await front.get(path, origin=origin)) == []
        asked = {"origin": origin, "access-control-request-method": "POST"}
        assert said_of_origins(await front.call("OPTIONS", path, headers=asked)) == []


@pytest.mark.acceptance("H05")
@pytest.mark.parametrize("one", ASKS, ids=lambda one: f"{one.status} {one.method} {one.path}")
async def test_a_listed_origin_reads_every_answer(front: Door, tenant: Tenant, one: Ask) -> None:
    asked = Ask(one.status, one.method, one.path, {**one.headers, "origin": ORIGIN}, one.raw)
    reply = await ask(front, asked, tenant.key)
    assert reply.status == one.status
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in reply.headers
    assert "Origin" in reply.headers["vary"]
    exposed = reply.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "etag", "retry-after", "ratelimit", "idempotency-replayed"} <= set(exposed)


@pytest.mark.acceptance("H05")
@pytest.mark.parametrize("path", ["/api/v1/app", "/api/v1/app/x/msg", "/api/v1/nothing"])
async def test_a_preflight_says_what_is_allowed(front: Door, path: str) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-evil",
        "access-control-request-private-network": "true",
    }
    reply = await front.call("OPTIONS", path, headers=asked)
    assert (reply.status, reply.raw) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= set(reply.headers["access-control-allow-methods"].split(", "))
    allowed = reply.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type", "idempotency-key"} <= set(allowed.split(", "))
    assert "x-evil" not in allowed
    assert not {"access-control-allow-credentials", "access-control-allow-private-network"} & set(reply.headers)


@pytest.mark.acceptance("H05")
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_of_two_origins_none_is_reflected(front: Door, method: str) -> None:
    lines = "".join(f"{name}: {text}\r\n" for name, text in front.sent.items())
    lines += f"origin: https://evil.test\r\norigin: {ORIGIN}\r\naccess-control-request-method: GET\r\n"
    reply = await front.write(f"{method} /api/v1/app HTTP/1.1\r\n{lines}\r\n".encode())
    assert said_of_origins(reply) == []


@pytest.mark.acceptance("H05")
async def test_without_a_list_no_origin_is_told_anything(bare: Door) -> None:
    for origin in (ORIGIN, "null", "http://localhost:3000"):
        assert said_of_origins(await bare.get("/api/v1/app", origin=origin)) == []


# Proxies.


INVENTED = ("10.0.0.1", "127.0.0.1", "::1", "unknown", "10.0.0.1, 127.0.0.1", "", 'for="', "for=10.0.0.1;proto=https")
CHAIN = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded", "x-real-ip")


@pytest.mark.acceptance("H06")
@pytest.mark.parametrize("invented", [*INVENTED, "https", "evil.test"])
async def test_without_proxies_no_header_is_believed(bare: Door, invented: str) -> None:
    honest = (await bare.get("/api/v1/seen")).body
    reply = await bare.call("GET", "/api/v1/seen", headers=dict.fromkeys(CHAIN, invented))
    assert reply.body["client"][0] == honest["client"][0] == "127.0.0.1"
    assert (reply.body["scheme"], reply.body["url"]) == ("http", honest["url"])


@pytest.mark.acceptance("H06")
async def test_a_proxy_of_another_network_is_not_believed(settings: Settings) -> None:
    http = Http.model_validate({"trusted_proxies": "10.0.0.0/8,127.0.0.2"})
    async with served(with_routes(create_app(changed(settings, http)))) as url:
        body = (await Door(url, BEHIND).get("/api/v1/seen", x_forwarded_host="evil.test")).body
    assert (body["client"][0], body["scheme"]) == ("127.0.0.1", "http")
    assert "evil" not in body["url"]


@pytest.mark.acceptance("H06")
@pytest.mark.parametrize("written", list(ProxyHeaders))
async def test_only_the_headers_that_the_proxies_write_are_believed(settings: Settings, written: ProxyHeaders) -> None:
    http = Http.model_validate({"trusted_proxies": "127.0.0.1,10.0.0.0/8", "proxy_headers": written})
    sent = {
        "x-forwarded-for": "198.51.100.1, 203.0.113.1, 10.0.0.7",
        "forwarded": "for=198.51.100.1, for=203.0.113.2;proto=https, for=10.0.0.7",
        "x-real-ip": "203.0.113.3",
    }
    async with served(with_routes(create_app(changed(settings, http)))) as url:
        body = (await Door(url, sent).get("/api/v1/seen")).body
    expected = {"x-forwarded": "203.0.113.1", "forwarded": "203.0.113.2", "x-real-ip": "203.0.113.3"}
    assert body["client"] == [expected[written], 0]


@pytest.mark.acceptance("H06")
@tried(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    client=st.ip_addresses(network="203.0.113.0/24") | st.ip_addresses(network="2001:db8::/32"),
    between=st.lists(st.ip_addresses(network="127.0.0.0/8"), max_size=3),
    invented=st.lists(st.sampled_from(INVENTED), max_size=3),
)
async def test_the_rightmost_address_that_is_not_trusted_called(
    front: Door, client: object, between: list[object], invented: list[str]
) -> None:
    chain = ", ".join([*invented, *(str(one) for one in (client, *between))])
    others = {"x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    reply = await front.call("GET", "/api/v1/seen", headers={"x-forwarded-for": chain, **others})
    assert reply.body["client"] == [str(client), 0]


async def test_headers_of_one_name_are_one_list(front: Door) -> None:
    lines = f"host: {HOST}\r\nx-forwarded-proto: https\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-for: 203.0.113.9\r\n"
    reply = await front.write(f"GET /api/v1/seen HTTP/1.1\r\n{lines}\r\n".encode())
    assert reply.body["client"] == ["203.0.113.9", 0]


# Hosts.


@pytest.mark.acceptance("H07")
@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "localhost",
        "127.0.0.1",
        f"{HOST}.evil.test",
        f"evil.{HOST}",
        f"{HOST}@evil.test",
        f"evil.test/{HOST}",
        f"{HOST}.",
        f"{HOST}:x",
        f"{HOST}, evil.test",
        "",
        "[::1]",
    ],
)
async def test_an_unknown_host_is_refused(front: Door, host: str) -> None:
    for path in ("/api/v1/app", "/portal", "/static/portal.css", "/nothing"):
        assert is_refusal(await front.get(path, host=host), 400, "unknown_host")
    lane = {"host": host, "authorization": "Bearer x", **JSON}
    assert is_refusal(await front.call("POST", "/api/v1/app/x/msg", headers=lane, raw=b"{}"), 400, "unknown_host")


@pytest.mark.acceptance("H07")
@pytest.mark.parametrize("lines", ["", f"host: {HOST}\r\nhost: {HOST}\r\n", f"host: {HOST}\r\nhost: evil.test\r\n"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_no_host_and_two_are_refused(front: Door, lines: str, version: str) -> None:
    behind = "".join(f"{name}: {text}\r\n" for name, text in BEHIND.items())
    reply = await front.write(f"GET /api/v1/app HTTP/{version}\r\n{lines}{behind}\r\n".encode())
    assert is_refusal(reply, 400, "unknown_host")


@pytest.mark.acceptance("H07")
async def test_a_proxy_that_is_believed_may_not_name_another_host_either(front: Door) -> None:
    assert is_refusal(await front.get("/api/v1/app", x_forwarded_host="evil.test"), 400, "unknown_host")
    assert (await front.get("/api/v1/app", host="inside", x_forwarded_host=OTHER)).status == 401


@pytest.mark.parametrize("host", [HOST, HOST.upper(), f"{HOST}:443", OTHER, f"{OTHER}:8443"])
async def test_hosts_that_are_ours_are_taken_with_any_port(front: Door, host: str) -> None:
    assert (await front.get("/api/v1/app", host=host)).status == 401


@pytest.mark.acceptance("H07")
async def test_an_address_is_no_name_for_more_than_probes(front: Door) -> None:
    for path in ("/api/v1/app", "/api/v1/health/x", "/api/v1/healthy", "/"):
        assert is_refusal(await front.get(path, host="10.1.2.3"), 400, "unknown_host")
    assert is_refusal(await front.get("/api/v1/health", host="evil.test"), 400, "unknown_host")


async def test_a_page_links_to_the_public_url_whoever_was_called(front: Door, tenant: Tenant) -> None:
    key = {"authorization": f"Bearer {tenant.key}", "host": OTHER, **JSON}
    await front.call("POST", "/api/v1/app", headers=key, raw=b'{"name": "a", "uid": "u"}')
    link = (await front.call("POST", "/api/v1/auth/app-portal-access/u", headers=key, raw=b"{}")).body
    assert link["url"].startswith(f"https://{HOST}/portal?token=")


# Methods and media types.


PATHS = ("/api/v1/app", "/api/v1/app/x/msg", "/api/v1/health", "/portal", "/static/portal.css")


@pytest.mark.acceptance("H09")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "LINK", "PURGE", "M-SEARCH"])
async def test_a_method_that_nothing_takes_is_refused_with_those_that_are_taken(
    front: Door, path: str, method: str
) -> None:
    reply = await front.call(method, path, headers={"x-evil": SECRET})
    assert is_refusal(reply, 405, "method_not_allowed")
    assert {"OPTIONS"} < set(reply.headers["allow"].split(", "))
    assert method not in reply.headers["allow"]
    assert SECRET.encode() not in reply.raw


@pytest.mark.acceptance("H09")
@pytest.mark.parametrize(
    "data", [b"CONNECT evil.test:443 HTTP/1.1\r\nhost: evil.test:443\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n"]
)
async def test_a_method_that_is_none_of_http_s_is_no_error_of_ours(bare: Door, data: bytes) -> None:
    reply = await bare.write(data)
    assert 400 <= reply.status < 500
    assert reply.body["status"] == reply.status


@pytest.mark.acceptance("H09")
@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"]
)
@pytest.mark.parametrize("path", ["/api/v1/app", "/api/v1/app/x/msg", "/api/v1/event-type"])
async def test_another_media_type_is_refused(front: Door, tenant: Tenant, path: str, kind: str) -> None:
    headers = {"authorization": f"Bearer {tenant.key}", "content-type": kind}
    reply = await front.call("POST", path, headers=headers, raw=b"{}")
    assert is_refusal(reply, 415, "unsupported_media_type")


# What errors tell.


TELLING = re.compile(
    r"traceback|file \"|line \d+, in|\.py\b|site-packages|/home/|/usr/|/app/main|select |insert into|update .* set|"
    r"sqlalchemy|asyncpg|psycopg|postgres|redis|uvicorn|gunicorn|starlette|fastapi|pydantic|python|"
    r"\d+\.\d+\.\d+|runtimeerror|0x[0-9a-f]{6,}",
    re.IGNORECASE,
)


@pytest.mark.acceptance("H10")
@pytest.mark.parametrize(
    "one", [one for one in ASKS if one.status >= 400], ids=lambda one: f"{one.status} {one.method} {one.path}"
)
async def test_errors_tell_nothing_of_the_inside(front: Door, tenant: Tenant, one: Ask) -> None:
    reply = await ask(front, one, tenant.key)
    assert TELLING.findall(reply.raw.decode()) == []
    shown = " ".join(f"{name}: {text}" for name, text in reply.headers.items())
    assert TELLING.findall(shown) == []
    if not one.is_page:
        assert set(reply.body) == {"code", "detail", "type", "title", "status", "instance", "requestId"}


@pytest.mark.acceptance("H10")
async def test_an_unknown_error_shows_an_id_that_the_log_explains(
    front: Door, caplog: pytest.LogCaptureFixture
) -> None:
    reply = await front.get("/api/v1/boom")
    assert is_refusal(reply, 500, "internal_error")
    assert SECRET not in reply.raw.decode()
    assert reply.body["requestId"] == reply.headers["x-request-id"]
    assert SECRET in caplog.text


# What is not shown.


@pytest.mark.acceptance("H12")
@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/api/v1/docs", "/api/v1/openapi.json"),
        *("/metrics", "/api/v1/metrics", "/debug", "/api/v1/debug", "/.env", "/.git/config", "/status", "/console"),
        *("/static/", "/static/../pages.py", "/static/%2e%2e/pages.py", "/static/..%2fpages.py"),
    ],
)
async def test_production_shows_nothing_of_itself(front: Door, path: str) -> None:
    assert is_refusal(await front.get(path), 404, "not_found")


@pytest.mark.acceptance("H12")
async def test_health_tells_details_to_organisations_alone(front: Door, tenant: Tenant) -> None:
    mine = {"authorization": f"Bearer {tenant.key}"}
    await front.call("POST", "/api/v1/app", headers={**mine, **JSON}, raw=b'{"name": "a", "uid": "u"}')
    access = await front.call("POST", "/api/v1/auth/app-portal-access/u", headers={**mine, **JSON}, raw=b"{}")
    for credential in (None, "x", tenant.key[:-1], access.body["token"]):
        headers = {"authorization": f"Bearer {credential}"} if credential else None
        reply = await front.call("GET", "/api/v1/health", headers=headers)
        assert (reply.status, reply.body) == (200, {"status": "ok"})
    reply = await front.call("GET", "/api/v1/health", headers=mine)
    assert json.loads(reply.raw) == {"status": "ok", "db": "ok", "queue": "ok"}


async def test_elsewhere_the_documentation_is_shown_under_a_policy_of_its_own(bare: Door) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        reply = await bare.get(path)
        assert reply.status == 200
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
        sources = re.findall(r'(?:src|href)="(https://[^/]+)', reply.raw.decode())
        assert all(source in reply.headers["content-security-policy"] for source in sources), sources
