"""By whom, under which name and over what the API is called."""

import asyncio
import logging
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.forwarded import ProxyHeaders
from app.domain.ids import encode
from app.main import create_app
from app.models import AuditEvent
from app.settings import Http, Settings
from tests.api.client import Tenant, served
from tests.api.surface.door import BEHIND, HOST, JSON, OTHER, SECRET, Door, changed, is_refusal, production, with_routes
from tests.lines import fields_of


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
    "path", ["/portal?a=b%20c", "/static/style.css", "/docs", "/portal/x%2Fy", "/static//evil.test"]
)
async def test_pages_move_on_to_https(plain: Door, path: str) -> None:
    for method in ("GET", "HEAD"):
        reply = await plain.call(method, path)
        assert (reply.status, reply.headers["location"]) == (308, f"https://{HOST}{path}")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert is_refusal(await plain.call(method, path), 403, "https_required")


@pytest.mark.acceptance("H03")
async def test_pages_move_to_where_the_public_url_is(settings: Settings) -> None:
    given = production(settings).model_dump() | {"public_url": f"https://{HOST}:8443/hooks/"}
    async with served(create_app(Settings.model_validate(given))) as url:
        reply = await Door(url, {"host": OTHER}).get("/portal?token=x")
    assert (reply.status, reply.headers["location"]) == (308, f"https://{HOST}:8443/hooks/portal?token=x")


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
    (line,) = [one for one in caplog.records if one.name == "app.kit.surface.https"]
    assert line.getMessage() == "credential_without_https"
    assert SECRET not in str(fields_of(line))
    assert SECRET not in caplog.text


@pytest.mark.acceptance("H03")
async def test_its_organisation_is_told_of_a_key_that_came_by_plain_http(
    plain: Door, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    assert is_refusal(await plain.get("/api/v1/app", authorization=f"Bearer {tenant.key}"), 403, "https_required")
    mine = select(AuditEvent).where(
        AuditEvent.organisation_id == tenant.organisation_id, AuditEvent.action == "credential.leaked"
    )
    for _ in range(100):
        with sessions() as db:
            if (found := db.scalars(mine).one_or_none()) is not None:
                break
        await asyncio.sleep(0.1)
    assert found is not None
    assert (found.actor_id, found.ip) == (encode("key", tenant.key_id), "203.0.113.7")


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
    for path in ("/api/v1/app", "/portal", "/static/style.css", "/nothing"):
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
