"""What every answer carries, whom it may be shown to, and what errors tell."""

import asyncio
import re
from urllib.parse import urlsplit

import pytest

from tests.api.client import Reply, Tenant
from tests.api.surface.door import (
    ASKS,
    HSTS,
    JSON,
    ORIGIN,
    SECRET,
    Ask,
    Door,
    ask,
    is_refusal,
)


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
