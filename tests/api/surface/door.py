"""The surface from outside: apps as others set them up, requests of every kind, raw bytes."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, StreamingResponse
from multidict import CIMultiDict

from app.settings import Environment, Http, Settings
from tests.api.client import Reply

HOST, OTHER = "hooks.example.com", "api.example.com"
ORIGIN = "https://console.example.com"
SECRET = "hunter2"
HSTS = re.compile(r"max-age=(\d+); includeSubDomains")
JSON = {"content-type": "application/json"}
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


def is_refusal(reply: Reply, status: int, word: str) -> bool:
    """Whether it is an error in JSON of this type."""
    return (
        reply.status == status == reply.body["status"]
        and reply.headers["content-type"] == "application/json"
        and reply.body["type"] == f"urn:postrider:error:{word}"
    )


@dataclass(frozen=True)
class Ask:
    """A request and the status of its answer."""

    status: int
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    is_page: bool = False


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
    Ask(200, "GET", "/static/style.css"),
)


async def ask(door: Door, one: Ask, key: str) -> Reply:
    headers = {name: text.format(key=key) for name, text in one.headers.items()}
    if one.status != 413:
        return await door.call(one.method, one.path, headers=headers, raw=one.raw)
    # The length is announced; the body never comes.
    lines = "".join(f"{name}: {text}\r\n" for name, text in {**door.sent, **headers}.items())
    return await door.write(f"{one.method} {one.path} HTTP/1.1\r\n{lines}\r\n".encode())
