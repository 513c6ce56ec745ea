"""An organisation that has set up a provider, and somebody at a browser who signs in there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.models import AuditEvent, PersonSession, ProviderDomain, User
from tests.api.client import Api, Reply, Tenant
from tests.people.relying.idp import Provider
from tests.people.visitor import Visitor


@dataclass
class Relying:
    """The parts of a sign-in."""

    api: Api
    sessions: sessionmaker[Session]
    tenant: Tenant
    provider: Provider
    visitor: Visitor
    public_url: str
    id: str = field(default="")

    @property
    def path(self) -> str:
        """The provider in the API."""
        return f"/organisation/identity-provider/{self.id}"

    async def set_up(self, **more: object) -> None:
        """Adds the provider, and the domain of its person as if it was proved."""
        body = {
            "name": "Acme",
            "issuer": self.provider.issuer,
            "clientId": self.provider.client_id,
            "clientSecret": self.provider.secret,
            **more,
        }
        made = await self.api.post("/organisation/identity-provider", body)
        assert made.status == 201, made.raw
        self.id = made.body["id"]
        domain = self.provider.person.email.partition("@")[2]
        added = await self.api.post(f"{self.path}/domain", {"domain": domain})
        assert added.status == 201, added.raw
        self.prove(domain)

    def prove(self, domain: str) -> None:
        """As if the record had been found."""
        with self.sessions.begin() as db:
            proved = update(ProviderDomain).where(ProviderDomain.domain == domain)
            db.execute(proved.values(verified_at=datetime.now(UTC)))

    async def leave(self, next_: str = "/account", visitor: Visitor | None = None) -> str:
        """Begins at our side; the URL at the provider that the browser is sent to."""
        reply = await (visitor or self.visitor).get(f"/sign-in/provider/start?provider={self.id}&next={next_}")
        assert reply.status == 303, (reply.status, reply.raw)
        return reply.headers["location"]

    async def sign_in(self, visitor: Visitor | None = None, **changes: str | None) -> Reply:
        """Goes there, signs in, and comes back; `changes` are made to the provider's answer."""
        url = await self.leave(visitor=visitor)
        return await self.come_back(self.provider.authorize(url, **changes), visitor)

    async def come_back(self, url: str, visitor: Visitor | None = None) -> Reply:
        """The browser follows the provider's redirect."""
        assert url.startswith(self.public_url)
        return await (visitor or self.visitor).get(url.removeprefix(self.public_url))

    def is_signed_in(self, visitor: Visitor | None = None) -> bool:
        """Whether the browser got a session."""
        return COOKIE in (visitor or self.visitor).cookies

    def events(self, action: str) -> Sequence[AuditEvent]:
        """The organisation's events of this kind, the newest last."""
        statement = select(AuditEvent).where(
            AuditEvent.organisation_id == self.tenant.organisation_id, AuditEvent.action == action
        )
        with self.sessions() as db:
            return db.scalars(statement.order_by(AuditEvent.id)).all()

    def reasons(self) -> list[object]:
        """Why sign-ins were refused."""
        return [one.details["reason"] for one in self.events("provider.refused")]

    def person(self, email: str | None = None) -> User | None:
        """The person of an address, by default the provider's."""
        with self.sessions() as db:
            return db.scalars(select(User).where(User.email_key == (email or self.provider.person.email))).one_or_none()

    def live(self) -> Sequence[PersonSession]:
        """The sessions that the provider began, and nobody ended."""
        found = self.person()
        if found is None:
            return []
        statement = select(PersonSession).where(PersonSession.user_id == found.id, PersonSession.ended_at.is_(None))
        with self.sessions() as db:
            return db.scalars(statement).all()

    def assert_refused(self, reply: Reply, reason: str, status: int = 401) -> None:
        """The answer is a refusal, there is no session, and the audit log says why."""
        assert (reply.status, reason_of(reply)) == (status, reason)
        assert not self.is_signed_in()
        assert self.live() == []
        assert self.reasons()[-1:] == [reason]


def reason_of(reply: Reply) -> str:
    """The word on a page that refuses."""
    text = reply.raw.decode()
    return text.partition('data-reason="')[2].partition('"')[0]


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
