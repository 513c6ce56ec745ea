"""An OpenID provider on loopback that does what a test says, right or wrong."""

import base64
import hashlib
import secrets
import time
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

Key = RSAKey | ECKey | OKPKey | OctKey
Claims = dict[str, Any]
Change = Callable[[Claims], None]
EVENT = "http://schemas.openid.net/event/backchannel-logout"


def new_key(algorithm: str = "RS256", kid: str | None = None) -> Key:
    """A key for an algorithm, with an id of its own unless it is given one."""
    kid = kid or secrets.token_hex(4)
    match algorithm:
        case "RS256" | "PS256":
            return RSAKey.generate_key(2048, {"kid": kid})
        case "ES256":
            return ECKey.generate_key("P-256", {"kid": kid})
        case "EdDSA":
            return OKPKey.generate_key("Ed25519", {"kid": kid})
    raise AssertionError(algorithm)


def public(key: Key) -> dict[str, Any]:
    """A key as it is published."""
    return dict(key.as_dict(private=False))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def half_hash(text: str) -> str:
    """RS256's at_hash."""
    return encoded(hashlib.sha256(text.encode()).digest()[:16])


def sign(claims: Mapping[str, Any], key: Key, algorithm: str = "RS256", **header: object) -> str:
    """A signed JWT; `kid` is the key's unless the header says otherwise (None leaves it out)."""
    head = {"alg": algorithm, "kid": key.kid, **header}
    payload = _json(claims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return jws.serialize_compact({k: v for k, v in head.items() if v is not None}, payload, key, [algorithm])


def unsigned(claims: Mapping[str, Any]) -> str:
    """A JWT of the algorithm `none`."""
    return f"{encoded(_json({'alg': 'none'}))}.{encoded(_json(claims))}."


def _json(value: object) -> bytes:
    import json

    return json.dumps(value).encode()


@dataclass
class Person:
    """Whom the provider knows."""

    subject: str
    email: str
    email_verified: object = True
    name: str = "Pat Example"


@dataclass
class Provider:
    """The provider. Whatever is changed takes effect with the next request."""

    issuer: str = ""
    client_id: str = "postrider"
    secret: str = "a-secret-of-the-client"
    person: Person = field(default_factory=lambda: Person("sub-1", "pat@example.test"))
    key: Key = field(default_factory=new_key)
    algorithm: str = "RS256"
    published: list[dict[str, Any]] | None = None
    """The key set, by default the one key."""
    metadata: Claims = field(default_factory=dict)
    header: Claims = field(default_factory=dict)
    change: Change = lambda _claims: None
    """What is done to the claims of an ID token before it is signed."""
    signed: Callable[[Claims], str] | None = None
    """Makes the ID token instead."""
    userinfo: Change = lambda _claims: None
    token: Change = lambda _answer: None
    before_token: Callable[[], None] = lambda: None
    session: str = "sid-1"
    instead: dict[str, Callable[[web.Request], Any]] = field(default_factory=dict)
    """Handlers in the place of those of paths."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    forms: list[Mapping[str, Any]] = field(default_factory=list)
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    """What was asked for by the code that was given."""

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return len([one for _, one in self.seen if one == path])

    def authorize(self, url: str, **changes: str | None) -> str:
        """What the person's browser is sent to when the person signs in: a URL of the client's.

        `changes` are parameters of the answer that are to be otherwise, or left out (None).
        """
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = secrets.token_urlsafe(16)
        self.asked[code] = asked
        answer = {"code": code, "state": asked["state"], "iss": self.issuer, **changes}
        given = {name: value for name, value in answer.items() if value is not None}
        return f"{asked['redirect_uri']}?{urlencode(given)}"

    def document(self) -> Claims:
        """The metadata."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "authorization_response_iss_parameter_supported": True,
            "id_token_signing_alg_values_supported": ["RS256", "none"],
            **self.metadata,
        }

    def claims(self, nonce: str, access_token: str) -> Claims:
        """The claims of an ID token, as they should be."""
        now = int(time.time())
        return {
            "iss": self.issuer,
            "sub": self.person.subject,
            "aud": self.client_id,
            "exp": now + 300,
            "iat": now,
            "auth_time": now,
            "nonce": nonce,
            "sid": self.session,
            "at_hash": half_hash(access_token),
        }

    def logout_token(self, change: Change = lambda _claims: None, **header: object) -> str:
        """A logout token of the person and the session, unless it is changed."""
        now = int(time.time())
        claims: Claims = {
            "iss": self.issuer,
            "sub": self.person.subject,
            "sid": self.session,
            "aud": self.client_id,
            "exp": now + 120,
            "iat": now,
            "jti": secrets.token_hex(8),
            "events": {EVENT: {}},
        }
        change(claims)
        return sign(claims, self.key, self.algorithm, **{"typ": "logout+jwt", **header})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.seen.append((request.method, request.path))
        self.requests.append(request)
        if request.path in self.instead:
            answer = self.instead[request.path](request)
            found: web.StreamResponse = await answer if hasattr(answer, "__await__") else answer
            return found
        match request.path:
            case "/.well-known/openid-configuration":
                return web.json_response(self.document())
            case "/jwks":
                keys = [public(self.key)] if self.published is None else self.published
                return web.json_response({"keys": keys})
            case "/token":
                return await self._token(request)
            case "/userinfo":
                return self._userinfo(request)
        return web.Response(status=404)

    async def _token(self, request: web.Request) -> web.Response:
        self.before_token()
        form = dict(await request.post())
        self.forms.append(form)
        asked = self.asked.pop(str(form.get("code")), None)
        challenge = encoded(hashlib.sha256(str(form.get("code_verifier")).encode()).digest())
        if asked is None or asked.get("code_challenge") != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        access_token = secrets.token_urlsafe(16)
        claims = self.claims(asked["nonce"], access_token)
        self.change(claims)
        made = self.signed(claims) if self.signed else sign(claims, self.key, self.algorithm, **self.header)
        answer = {"access_token": access_token, "token_type": "Bearer", "expires_in": 300, "id_token": made}
        self.token(answer)
        return web.json_response(answer)

    def _userinfo(self, _request: web.Request) -> web.Response:
        one = self.person
        claims = {"sub": one.subject, "email": one.email, "email_verified": one.email_verified, "name": one.name}
        self.userinfo(claims)
        return web.json_response(claims)


@asynccontextmanager
async def running(provider: Provider, port: int = 0) -> AsyncIterator[Provider]:
    """The provider on this port, or a free one."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert site._server is not None
    listens = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    provider.issuer = f"http://127.0.0.1:{listens}"
    try:
        yield provider
    finally:
        await runner.cleanup()
