"""Clients that ask for tokens."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp

from tests.api.client import Api, Reply

Pairs = Sequence[tuple[str, str]]
CLIENTS = "/organisation/oauth-client"
CALLBACK = "https://app.example.test/callback"


def client_fields(**fields: object) -> dict[str, Any]:
    """A client that is taken."""
    return {
        "name": "Some app",
        "redirectUris": [CALLBACK],
        "grantTypes": ["authorization_code", "refresh_token"],
        "scopes": ["openid", "email", "message:read"],
        **fields,
    }


@dataclass(frozen=True)
class App:
    """A client at the token endpoint. `secret` None is a public one."""

    http: aiohttp.ClientSession
    base: str
    id: str
    secret: str | None = None

    async def token(self, **fields: str) -> Reply:
        """Asks for tokens as the client is registered by default."""
        return await self.post("/oauth/token", fields)

    async def post(self, path: str, fields: Mapping[str, str] | Pairs) -> Reply:
        """Sends a form with HTTP Basic, or as a public client does."""
        pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
        if self.secret is None:
            return await self.plain(path, [*pairs, ("client_id", self.id)], {})
        return await self.plain(path, pairs, {"authorization": basic(self.id, self.secret)})

    async def plain(self, path: str, fields: Mapping[str, str] | Pairs, headers: Mapping[str, str]) -> Reply:
        """Sends a form with nothing added."""
        body = urlencode(list(fields.items()) if isinstance(fields, Mapping) else fields)
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        async with self.http.post(self.base + path, data=body, headers=sent) as response:
            return Reply(response.status, response.headers, await response.read())

    def api(self, access_token: str) -> Api:
        """The API as it is called with an access token."""
        return Api(self.http, self.base, access_token)


def basic(name: str, secret: str) -> str:
    """The header of HTTP Basic."""
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


async def new_app(api: Api, **fields: object) -> App:
    """A client that was made over the API."""
    reply = await api.post(CLIENTS, client_fields(**fields))
    assert reply.status == 201, reply.raw
    return App(api.http, api.base, reply.body["id"], reply.body["secret"])
