"""What surrounds every route: request ids, bodies that cannot be, errors that are always JSON."""

import logging

import aiohttp
import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.main import CONSOLE, ROUTERS, create_app
from app.settings import Settings
from tests.api.client import Api, Reply, Tenant, served

PROBLEM = {"code", "detail", "type", "title", "status", "instance", "requestId"}
LIMIT = 1024 * 1024 + 64 * 1024
WRITING = [
    ("POST", "/app"),
    ("PUT", "/app/u"),
    ("PATCH", "/app/u"),
    ("POST", "/event-type"),
    ("PUT", "/event-type/u"),
    ("PATCH", "/event-type/u"),
    ("POST", "/auth/app-portal-access/u"),
    ("POST", "/app/u/endpoint"),
    ("POST", "/app/u/msg"),
]


def _is_problem(reply: Reply, status: int) -> bool:
    return (
        reply.status == status
        and set(reply.body) == PROBLEM
        and reply.headers["content-type"] == "application/json"
        and reply.headers["x-request-id"] == reply.body["requestId"]
    )


async def test_who_is_unknown_is_told_so_before_the_body_is_looked_at(api: Api) -> None:
    for method, path in WRITING:
        assert (await api.with_credential("x").call(method, path, raw=b"{")).status == 401


async def test_the_refusal_names_the_field(api: Api) -> None:
    assert (await api.call("POST", "/app", raw=b'{"name": "a", "name": "b"}')).fields == ["body.name"]
    assert (await api.call("POST", "/app", raw=b"[]")).fields == ["body"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/cloudevents+json"]
)
async def test_json_content_types_are_not(api: Api, content_type: str) -> None:
    reply = await api.call("POST", "/app", raw=b'{"name": "a"}', headers={"content-type": content_type})
    assert reply.status == 201


async def test_a_long_body_is_refused_by_its_length(api: Api) -> None:
    reply = await api.call("POST", "/app", raw=b'{"name": "' + b"a" * LIMIT + b'"}')
    assert _is_problem(reply, 413)
    assert reply.code == "payload_too_large"


async def test_a_body_without_a_length_is_read(api: Api, http: aiohttp.ClientSession) -> None:
    async def chunks() -> object:
        yield b'{"name":'
        yield b' "a"}'

    headers = {"authorization": f"Bearer {api.credential}", "content-type": "application/json"}
    async with http.post(f"{api.base}/api/v1/app", data=chunks(), headers=headers) as response:
        assert response.status == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/health", 405), ("GET", "/app/u", 404), ("GET", "/app?limit=x", 400)],
)
async def test_every_error_is_a_problem(api: Api, method: str, path: str, status: int) -> None:
    assert _is_problem(await api.call(method, path), status)


async def test_a_well_formed_request_id_is_kept_and_another_replaced(api: Api) -> None:
    for path in ("/app", "/nothing"):
        kept = await api.call("GET", path, headers={"x-request-id": "abc-123_DEF.4"})
        assert kept.headers["x-request-id"] == "abc-123_DEF.4"
        for bad in ("short", "with blank", "x" * 129, "<script>alert(1)</script>"):
            replaced = (await api.call("GET", path, headers={"x-request-id": bad})).headers["x-request-id"]
            assert replaced != bad
            assert len(replaced) == 32


def test_no_route_has_to_be_made_when_the_first_request_comes(settings: Settings) -> None:
    """As those of included routers are: half a second of it."""
    served_routes = create_app(settings).routes
    assert all(route in served_routes for router in (*ROUTERS, *CONSOLE) for route in router.routes)


async def test_an_unexpected_error_is_a_problem_that_tells_nothing(
    settings: Settings, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)

    async def boom() -> None:
        msg = "the password is hunter2"
        raise RuntimeError(msg)

    app.add_api_route("/api/v1/boom", boom)
    with caplog.at_level(logging.CRITICAL, logger="uvicorn.error"):
        async with served(app) as url:
            reply = await Api(http, url, None).get("/boom")
    assert _is_problem(reply, 500)
    assert reply.code == "internal_error"
    assert b"hunter2" not in reply.raw


@pytest.mark.parametrize(
    ("sqlstate", "status"),
    [("28P01", 503), ("3D000", 503), ("53100", 503), ("57P03", 503), ("58030", 503), ("22P02", 500), ("", 500)],
)
async def test_a_database_that_cannot_be_used_is_an_outage(
    settings: Settings, http: aiohttp.ClientSession, sqlstate: str, status: int
) -> None:
    app, origin = create_app(settings), Exception("the password is hunter2")
    origin.sqlstate = sqlstate  # type: ignore[attr-defined] # as the driver's errors have

    async def fail() -> None:
        raise DBAPIError("SELECT 1", None, origin)

    app.add_api_route("/api/v1/fail", fail)
    async with served(app) as url:
        reply = await Api(http, url, None).get("/fail")
    assert _is_problem(reply, status)
    assert ("retry-after" in reply.headers) == (status == 503)
    assert b"hunter2" not in reply.raw


async def test_a_commit_that_fails_is_no_success(api: Api) -> None:
    def fail(_: Session) -> None:
        msg = "the connection is gone"
        raise ConnectionResetError(msg)

    event.listen(Session, "before_commit", fail)
    try:
        reply = await api.post("/app", {"name": "a"}, key="k")
    finally:
        event.remove(Session, "before_commit", fail)
    assert _is_problem(reply, 503)
    assert (await api.get("/app")).body["data"] == []
    assert (await api.post("/app", {"name": "a"}, key="k")).status == 201


async def test_health_needs_no_credential(api: Api) -> None:
    nobody = api.with_credential(None)
    health = await nobody.get("/health/")
    assert (health.status, health.body) == (200, {"status": "ok"})
    assert (await nobody.call("HEAD", "/health")).status == 200
    for method in ("GET", "HEAD"):
        ping = await nobody.call(method, "/health/ping")
        assert (ping.status, ping.raw) == (204, b"")


async def test_without_the_queue_it_is_still_healthy(
    settings: Settings, http: aiohttp.ClientSession, tenant: Tenant
) -> None:
    from pydantic import SecretStr

    alone = settings.model_copy(
        update={"redis": settings.redis.model_copy(update={"url": SecretStr("redis://127.0.0.1:1/0")})}
    )
    async with served(create_app(alone)) as url:
        health = await Api(http, url, tenant.key).get("/health")
    assert (health.status, health.body) == (200, {"status": "ok", "db": "ok", "queue": "unavailable"})


async def test_the_document_names_every_operation_once(api: Api, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{api.base}/openapi.json") as response:
        paths = (await response.json())["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names))
    assert {"v1.application.create", "v1.event-type.list", "v1.message.create", "v1.authentication.logout"} <= set(
        names
    )
    assert all({"413", "415", "422"} <= set(one["responses"]) for one in operations if "requestBody" in one)
    assert not any("415" in one["responses"] for one in operations if "requestBody" not in one)
    async with http.get(f"{api.base}/docs") as response:
        assert response.status == 200
