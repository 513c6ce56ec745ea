"""A body that drips is waited for in time, and holds nothing up meanwhile that others need."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from multidict import CIMultiDict
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from app.kit.protocol import LINGER_SECONDS, SERVER
from app.kit.surface.bodies import InTime
from app.main import create_app
from app.settings import Settings
from tests.api.client import Api, Reply, Tenant, served
from tests.api.surface.door import changed, is_refusal

SECONDS, PAUSE = 1.5, 0.1
LENGTH = "content-length: 1000"
CHUNKED = "transfer-encoding: chunked"
MANY = 100
SLOW_ROUTES = ("/api/v1/app", "/api/v1/app/x/msg", "/sign-in")
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Drips:
    """What came of a request whose body came in drops, and after how many seconds."""

    reply: Reply | None
    ended_after: float


@pytest_asyncio.fixture(scope="module")
async def base_url(settings: Settings) -> AsyncIterator[str]:
    """An API of little patience."""
    hurried = settings.http.model_copy(update={"body_seconds": SECONDS})
    async with served(create_app(changed(settings, hurried))) as url:
        yield url


Dripping = Callable[..., Coroutine[Any, Any, Drips]]


@pytest.fixture
def dripping(base_url: str, tenant: Tenant) -> Dripping:
    """Posts to a path, the head at once and its body in pieces, until just before that was too long."""

    async def drip(path: str, *more: str) -> Drips:
        kind = FORM if path == "/sign-in" else JSON
        framing = next((one for one in more if one in {LENGTH, CHUNKED}), LENGTH)
        lines = {"host: localhost", f"authorization: Bearer {tenant.key}", f"content-type: {kind}", framing, *more}
        head = "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""])
        return await drop(base_url, head.encode(), b"1\r\n \r\n" if framing == CHUNKED else b" ", 0.9 * SECONDS)

    return drip


async def nowhere(_message: Message) -> None:
    raise AssertionError("nothing is answered here")


async def drop(url: str, head: bytes, piece: bytes, seconds: float) -> Drips:
    """Sends pieces for so many seconds, or until the connection is cut, and waits until it is."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    began = time.monotonic()
    writer.write(head)
    heard = asyncio.create_task(_all_of(reader))
    while not heard.done() and time.monotonic() - began < seconds:
        writer.write(piece)
        await asyncio.wait([heard], timeout=PAUSE)
    drips = Drips(_reply(await heard), time.monotonic() - began)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return drips


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection is cut, gently or not."""
    found = b""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            found += data
    return found


def _reply(data: bytes) -> Reply | None:
    if not data:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return Reply(int(status.split()[1]), CIMultiDict((name, value) for name, _, value in pairs), body)


@pytest.mark.acceptance("H13")
async def test_pieces_that_come_soon_enough_do_not_make_a_body_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the time passes with each, by the loop's clock."""
    sent, loop = 0, asyncio.get_running_loop()
    began = loop.time()
    monkeypatch.setattr(loop, "time", lambda: began + sent * SECONDS / 3)

    async def receive() -> Message:
        nonlocal sent
        sent += 1
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def read(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["more_body"] and sent < MANY:
            pass

    with pytest.raises(HTTPException) as refused:
        await InTime(read, seconds=SECONDS)({"type": "http"}, receive, nowhere)
    assert refused.value.status_code == 408
    assert 2 < sent < 6


@pytest.mark.acceptance("H13")
async def test_a_body_that_drips_is_cut_with_a_word(dripping: Dripping) -> None:
    for drips in await asyncio.gather(*(dripping(path, one) for path in SLOW_ROUTES for one in (LENGTH, CHUNKED))):
        assert drips.reply is not None
        assert is_refusal(drips.reply, 408, "request_timeout")
        assert drips.reply.headers["connection"] == "close"
        assert drips.reply.headers["x-request-id"] == drips.reply.body["requestId"]
        assert drips.ended_after >= SECONDS


async def test_who_is_cut_may_go_on_for_a_moment_to_hear_why(base_url: str, tenant: Tenant) -> None:
    """A connection that is reset takes the answer with it for whoever, as NGINX does, sends before it reads."""
    reader, writer = await asyncio.open_connection(urlsplit(base_url).hostname, urlsplit(base_url).port)
    head = f"POST /api/v1/app HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {tenant.key}\r\n"
    writer.write(f"{head}content-type: {JSON}\r\n{LENGTH}\r\n\r\n".encode())
    reply = _reply(await reader.read())
    assert reply is not None
    assert is_refusal(reply, 408, "request_timeout")
    for _ in range(5):
        writer.write(b" ")
        await asyncio.sleep(PAUSE)
    assert not writer.transport.is_closing()
    until = time.monotonic() + 5 * LINGER_SECONDS
    while not writer.transport.is_closing() and time.monotonic() < until:
        writer.write(b" ")
        await asyncio.sleep(PAUSE)
    assert writer.transport.is_closing()


async def test_a_body_that_stops_is_cut_too(base_url: str, tenant: Tenant) -> None:
    lines = f"host: localhost\r\nauthorization: Bearer {tenant.key}\r\ncontent-type: {JSON}\r\n{LENGTH}"
    drips = await drop(base_url, f"POST /api/v1/app HTTP/1.1\r\n{lines}\r\n\r\n".encode(), b"", 0)
    assert drips.reply is not None
    assert is_refusal(drips.reply, 408, "request_timeout")


async def test_a_body_that_comes_in_time_is_taken_however_it_comes(api: Api) -> None:
    assert (await api.post("/app", {"name": "a", "uid": "u"})).status == 201
    assert (await api.post("/event-type", {"name": "a.b", "description": "d"})).status == 201

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"eventType": ', b'"a.b", "payload', b'": {"a": 1}}'):
            yield piece
            await asyncio.sleep(SECONDS / 4)

    headers = {"authorization": f"Bearer {api.credential}", "content-type": JSON}
    async with api.http.post(f"{api.base}/api/v1/app/u/msg", data=pieces(), headers=headers) as response:
        assert response.status == 202, await response.read()


async def test_the_time_begins_anew_with_each_request(api: Api) -> None:
    """One connection, over which more time passes than one body may take."""
    until = time.monotonic() + 1.5 * SECONDS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        steady = Api(http, api.base, api.credential)
        while time.monotonic() < until:
            assert (await steady.post("/app", {"name": "a"})).status == 201
            await asyncio.sleep(SECONDS / 4)


async def test_slow_bodies_hold_no_connection_of_the_database(
    dripping: Dripping, api: Api, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    """This route reads no body of its own, and its transaction would have begun before the body is there."""
    many = 3 * settings.database.pool_size
    slow = [asyncio.create_task(dripping("/api/v1/auth/logout", f"idempotency-key: {one}")) for one in range(many)]
    await asyncio.sleep(SECONDS / 4)
    assert (await api.get("/app")).status == 200
    with sessions() as db:
        question = text("SELECT count(*) FROM pg_stat_activity WHERE usename = :api AND state LIKE 'idle in trans%'")
        api_role = urlsplit(settings.database.url.get_secret_value()).username
        assert db.scalar(question, {"api": api_role}) == 0
    assert not any(one.done() for one in slow)
    assert {one.reply and one.reply.status for one in await asyncio.gather(*slow)} == {408}


async def test_a_slow_sign_in_is_in_nobodys_way(dripping: Dripping, base_url: str, http: aiohttp.ClientSession) -> None:
    slow = [asyncio.create_task(dripping("/sign-in")) for _ in range(10)]
    await asyncio.sleep(SECONDS / 4)
    # Its form comes from nowhere; that it is judged at all means that it had a turn.
    async with http.post(f"{base_url}/sign-in", data={"email": "a@example.com", "password": "x"}) as response:
        assert response.status == 403
    assert not any(one.done() for one in slow)
    assert {one.reply and one.reply.status for one in await asyncio.gather(*slow)} == {408}


async def test_a_form_that_is_far_too_long_gets_no_turn(http: aiohttp.ClientSession, base_url: str) -> None:
    async with http.post(f"{base_url}/sign-in", data={"email": "a" * 100_000}) as response:
        assert response.status == 413


@pytest.mark.parametrize("path", ["/api/v1/app/x/msg", "/api/v1/app"])
async def test_what_was_waited_for_is_no_part_of_the_duration(api: Api, path: str) -> None:
    route = path.replace("/x/", "/{app_id}/")

    def seconds() -> float:
        return (
            REGISTRY.get_sample_value("postrider_http_request_seconds_sum", {"method": "POST", "route": route}) or 0.0
        )

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(SECONDS / 2)
        yield b"}"

    headers = {"authorization": f"Bearer {api.credential}", "content-type": JSON}
    before = seconds()
    async with api.http.post(api.base + path, data=pieces(), headers=headers) as response:
        assert response.status == 422
    assert 0 < seconds() - before < SECONDS / 2


async def test_the_rest_of_a_body_that_was_answered_is_not_read_for_ever(settings: Settings) -> None:
    app = create_app(settings)
    config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False, timeout_keep_alive=1, **SERVER)
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SERVER["http"](config, state, {}), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        head = f"POST /api/v1/app HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n{LENGTH}\r\n\r\n"
        drips = await drop(f"http://127.0.0.1:{port}", head.encode(), b" ", 10.0)
    assert drips.reply is not None
    assert drips.reply.status == 415
    assert 1.0 <= drips.ended_after < 10.0
