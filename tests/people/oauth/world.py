"""Clients that ask for tokens."""

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import decode
from app.models import OAuthClient
from tests.api.client import Api, Reply
from tests.people.visitor import Visitor

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


def as_first_party(sessions: sessionmaker[Session], app: App, *grants: str) -> App:
    """The client as the operator would have made it: nobody is asked, and it may have further grants."""
    with sessions.begin() as db:
        row = db.scalars(select(OAuthClient).filter_by(id=decode("client", app.id))).one()
        row.first_party, row.grant_types = True, [*row.grant_types, *grants]
    return app


async def new_app(api: Api, **fields: object) -> App:
    """A client that was made over the API."""
    reply = await api.post(CLIENTS, client_fields(**fields))
    assert reply.status == 201, reply.raw
    return App(api.http, api.base, reply.body["id"], reply.body["secret"])


VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""The pair of RFC 7636, appendix B."""
STATE = "some state/+%&=é"


def request_of(app: App, **changes: str | None) -> dict[str, str]:
    """An authorization request in which nothing is wrong but what is changed; None leaves a parameter out."""
    whole = {
        "response_type": "code",
        "client_id": app.id,
        "redirect_uri": CALLBACK,
        "scope": "openid message:read",
        "state": STATE,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def path_of(app: App, **changes: str | None) -> str:
    """Where its authorization request leads."""
    return f"/oauth/authorize?{urlencode(request_of(app, **changes))}"


def told(reply: Reply) -> dict[str, str]:
    """What a client is told by a redirect, each thing once."""
    assert reply.status == 303, (reply.status, reply.raw)
    pairs = parse_qsl(urlsplit(reply.headers["location"]).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def answered_to(reply: Reply) -> str:
    """The address that a redirect leads to, without its query."""
    return reply.headers["location"].partition("?")[0]


async def allow(visitor: Visitor, app: App, answer: str = "allow", **changes: str | None) -> Reply:
    """What comes of the page that asks."""
    return await visitor.submit("/oauth/consent", at=path_of(app, **changes), answer=answer)


async def code_for(visitor: Visitor, app: App, **changes: str | None) -> str:
    """A code for whoever is signed in."""
    return told(await allow(visitor, app, "allow", **changes))["code"]


async def redeem(app: App, code: str, **changes: str) -> Reply:
    """Tokens for a code."""
    sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    return await app.token(**{**sent, **changes})


async def refresh(app: App, token: str, **more: str) -> Reply:
    """The next tokens."""
    return await app.token(grant_type="refresh_token", refresh_token=token, **more)


async def dead_within_a_second(app: App, *tokens: str) -> None:
    """Access tokens that processes may remember for a moment are refused after a second."""
    await asyncio.sleep(1)
    for one in tokens:
        assert (await app.api(one).get("/app/none/msg")).status == 401
