"""What people do with factors, as their browsers do it."""

import re
import time
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape

import pyotp
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.features.mail.letters import Text, write
from app.features.mail.operations import unseal
from app.kit.cache import forget_from_outside
from app.models import Mail, PersonSession
from app.settings import Settings
from tests.api.client import Reply
from tests.people.factors.authenticator import Authenticator
from tests.people.visitor import Forms, Known, Visitor, location

_SECRET = re.compile(r'<code id="secret">([A-Z2-7 ]+)</code>')
_CODE = re.compile(r"<li><code>([a-z2-7-]{19})</code></li>")
_OPTIONS = re.compile(r'data-options="([^"]+)"')


@dataclass
class App:
    """A person's authenticator app, which counts periods from when it was set up."""

    secret: str
    since: float = field(default_factory=time.time)

    def code(self, offset: int = 0) -> str:
        """The code of the period that is so many after the first."""
        return pyotp.TOTP(self.secret).at(self.since, counter_offset=offset)


async def add_app(visitor: Visitor) -> tuple[App, list[str]]:
    """Adds an authenticator app, by the code of the period before; the recovery codes come with it."""
    page = (await visitor.get("/account/factors/app")).raw.decode()
    app = app_on(page)
    reply = await visitor.post(
        "/account/factors/app", {**Forms(page).forms["/account/factors/app"], "code": app.code(-1)}
    )
    return app, recovery_codes(reply)


def app_on(page: str) -> App:
    """An app into which the key on a page was typed."""
    found = _SECRET.search(page)
    assert found is not None, page
    return App(found[1].replace(" ", ""))


async def add_passkey(visitor: Visitor, authenticator: Authenticator, name: str = "Key") -> Reply:
    """Adds a passkey."""
    form, options = await asked(visitor, "/account/factors/passkey")
    fields = {**form, "credential": authenticator.create(options), "name": name}
    return await visitor.post("/account/factors/passkey", fields)


async def show_passkey(visitor: Visitor, authenticator: Authenticator, path: str, at: str | None = None) -> Reply:
    """Answers the challenge of a page with the passkey."""
    form, options = await asked(visitor, path, at)
    return await visitor.post(path, {**form, "credential": authenticator.get(options)})


async def asked(visitor: Visitor, path: str, at: str | None = None) -> tuple[dict[str, str], str]:
    """The fields of a page's form for passkeys, and what it asks the browser."""
    reply = await visitor.get(at or path)
    assert reply.status == 200, (reply.status, reply.headers)
    page = reply.raw.decode()
    found = _OPTIONS.search(page)
    assert found is not None, page
    return Forms(page).forms[path], unescape(found[1])


def recovery_codes(reply: Reply) -> list[str]:
    """The codes that a page shows."""
    return _CODE.findall(reply.raw.decode())


async def half_way(visitor: Visitor, email: str) -> Visitor:
    """Somebody at another browser who has shown the password."""
    other = visitor.another()
    assert location(await other.sign_in(email)) == "/sign-in/second-step"
    assert COOKIE not in other.cookies
    return other


def let_go_stale(sessions: sessionmaker[Session], settings: Settings, person: Known) -> None:
    """Lets it be a while that the person showed to be there."""
    with sessions.begin() as db:
        db.execute(
            update(PersonSession)
            .where(PersonSession.user_id == person.id)
            .values(reauthenticated_at=PersonSession.reauthenticated_at - timedelta(minutes=6))
        )
    forget_from_outside(settings.redis.url.get_secret_value(), [person.id])


def mails(sessions: sessionmaker[Session], settings: Settings, person: Known) -> list[Text]:
    """The mails that wait for the person, as they will be read."""
    with sessions.begin() as db:
        waiting = db.scalars(select(Mail).where(Mail.owner_id == person.id).order_by(Mail.id)).all()
        return [write(unseal(settings.secrets.ring(), one), settings.public_url) for one in waiting]
