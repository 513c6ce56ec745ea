"""What the API does not take and does not show."""

import json
import re

import pytest

from tests.api.client import Tenant
from tests.api.surface.door import JSON, SECRET, Door, is_refusal

PATHS = ("/api/v1/app", "/api/v1/app/x/msg", "/api/v1/health", "/portal", "/static/style.css")


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
    reply = await front.get(path)
    assert is_refusal(reply, 404, "not_found") or is_refusal(reply, 401, "authentication_failed")


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
