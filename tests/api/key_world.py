"""Keys that tests make over HTTP, and calls from other addresses of this machine."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.api.client import Api, Reply

KEYS = "/organisation/api-key"
MEMORY_SECONDS = 1.0
ANY_VERSION = {"if-match": "*"}


@dataclass(frozen=True)
class Made:
    """A key that was made over HTTP."""

    id: str
    text: str
    body: Mapping[str, Any]

    @property
    def path(self) -> str:
        return f"{KEYS}/{self.id}"


async def make(api: Api, role: str = "admin", **fields: object) -> Made:
    """A key, which must be made."""
    reply = await api.post(KEYS, {"name": "made", "role": role, **fields})
    assert reply.status == 201, reply.raw
    return Made(reply.body["id"], reply.body["key"], reply.body)


async def patch(api: Api, path: str, body: object, **query: str) -> Reply:
    """A change, whatever the version is."""
    return await api.call("PATCH", path, body, headers=ANY_VERSION, query=query)


async def status(api: Api, credential: str) -> int:
    """What a credential is answered."""
    return (await api.with_credential(credential).get("/organisation")).status


async def refused_within_a_second(api: Api, *credentials: str, status_: int = 401) -> None:
    """Whatever is asked a second from now is refused, since processes remember for so long who called."""
    await asyncio.sleep(MEMORY_SECONDS)
    assert {await status(api, one) for one in credentials} == {status_}


async def eventually(look: Callable[[], Awaitable[bool]], patience: float = 5.0) -> None:
    """Returns when it is so."""
    began = time.monotonic()
    while not await look():
        assert time.monotonic() - began < patience
        await asyncio.sleep(0.02)


@asynccontextmanager
async def calling_from(address: str, api: Api) -> AsyncIterator[Api]:
    """The API as it is called from another loopback address."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        yield Api(http, api.base, api.credential)
