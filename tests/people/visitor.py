"""A browser without a screen: follows nothing by itself, keeps cookies, and fills in the forms that it is shown."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
from argon2 import PasswordHasher
from sqlalchemy.orm import Session, sessionmaker

from app.domain.permissions import Role
from app.features.people import operations
from app.kit.hashing import LANES, MEMORY_KIB, PASSES
from tests.api.client import Reply
from tests.canaries import plant

PASSWORD = plant("a password", "correct horse battery staple")
_COOKIE = re.compile(r"([^=;]+)=([^;]*)")


class Forms(HTMLParser):
    """The forms of a page: where they lead, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._fields: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._fields = self.forms.setdefault(given.get("action", ""), {})
        elif tag in {"input", "button"} and "name" in given and not _is_unchecked(given):
            self._fields.setdefault(given["name"], given.get("value", ""))


def _is_unchecked(given: Mapping[str, str]) -> bool:
    return given.get("type") in {"checkbox", "radio"} and "checked" not in given


@dataclass
class Visitor:
    """Somebody at a browser; `page` is the last one that was shown."""

    http: aiohttp.ClientSession
    base: str
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Tester/1"}
    )
    cookies: dict[str, str] = field(default_factory=dict)
    page: Reply = field(default=Reply(0, {}, b""))

    async def get(self, path: str, **headers: str) -> Reply:
        """Opens a page; redirects are not followed."""
        return await self._ask("GET", path, None, headers)

    async def submit(self, path: str, /, *, at: str | None = None, **fields: str) -> Reply:
        """Opens the page `at` (by default the form's own path) and sends its form that leads to `path`."""
        shown = await self.get(at or path)
        assert shown.status == 200, (at or path, shown.status, shown.raw)
        forms = Forms(shown.raw.decode()).forms
        assert path in forms, (path, sorted(forms))
        return await self.post(path, {**forms[path], **fields})

    async def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Reply:
        """Sends a form as a browser does from one of our own pages."""
        ours = {"origin": self.base, "sec-fetch-site": "same-origin", **headers}
        return await self._ask("POST", path, fields, ours)

    async def sign_in(self, email: str, password: str = PASSWORD) -> Reply:
        """The first step."""
        return await self.submit("/sign-in", email=email, password=password)

    def another(self) -> Self:
        """Somebody else, at a browser of the same kind."""
        return type(self)(self.http, self.base, self.headers)

    async def _ask(self, method: str, path: str, fields: Mapping[str, str] | None, headers: Mapping[str, str]) -> Reply:
        sent = {**self.headers, **headers}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = path if path.startswith("http") else self.base + path
        async with self.http.request(method, url, data=fields, headers=sent, allow_redirects=False) as response:
            for one in response.headers.getall("set-cookie", []):
                self._keep(one)
            self.page = Reply(response.status, response.headers, await response.read())
        return self.page

    def _keep(self, header: str) -> None:
        found = _COOKIE.match(header)
        assert found is not None, header
        if "max-age=0" in header.lower():
            self.cookies.pop(found[1], None)
        else:
            self.cookies[found[1]] = found[2]


def location(reply: Reply) -> str:
    """Where a redirect leads: path and query."""
    parts = urlsplit(reply.headers["location"])
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


@dataclass(frozen=True)
class Known:
    """A person who is known, with a password."""

    id: UUID
    email: str
    organisation_id: UUID


@cache
def _hashed(password: str) -> str:
    """As it is stored; once for all who have the same one, since it takes as long as the rest of making them."""
    return PasswordHasher(PASSES, MEMORY_KIB, LANES).hash(password)


def new_person(
    sessions: sessionmaker[Session],
    organisation_id: UUID,
    role: Role = Role.owner,
    password: str | None = PASSWORD,
    email: str | None = None,
) -> Known:
    """Somebody of the organisation, made as the operator's commands do."""
    address = email or f"p{secrets.token_hex(6)}@example.test"
    with sessions.begin() as db:
        user = operations.create_user(db, address, "Test Person", verified=True)
        db.flush()
        operations.join(db, organisation_id, user.id, role)
        if password is not None:
            operations.set_password(db, user.id, _hashed(password))
        return Known(user.id, address, organisation_id)
