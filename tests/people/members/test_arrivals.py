"""People arrive: invited by mail, or by the one-time link of a first owner."""

import asyncio
import re
import secrets
from collections.abc import Mapping

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.cli.main import main
from app.domain.ids import encode
from app.kit.encryption import KeyRing
from app.models import AuditEvent, Invitation, Membership, OneTimeToken, Organisation, User
from tests.api.client import Api, Tenant, new_tenant
from tests.people.letters import letters
from tests.people.visitor import Known, Visitor, location, new_person

SECRET = "seven green lamps above the harbour"
INVITATIONS = "/organisation/invitation"


def address() -> str:
    return f"n{secrets.token_hex(5)}@example.test"


@pytest.fixture
def ask(api: Api, tenant: Tenant, sessions: sessionmaker[Session], ring: KeyRing) -> "Ask":
    return Ask(api, tenant, sessions, ring)


class Ask:
    """Invites, and reads the mail."""

    def __init__(self, api: Api, tenant: Tenant, sessions: sessionmaker[Session], ring: KeyRing) -> None:
        self.api, self.tenant, self.sessions, self.ring = api, tenant, sessions, ring

    async def link(self, to: str, role: str = "developer") -> str:
        made = await self.api.post(INVITATIONS, {"email": to, "role": role})
        assert made.status == 201, made.raw
        token = letters(self.sessions, self.ring, self.tenant.organisation_id, "invitation")[-1].values["token"]
        return f"/invitation?token={token}"


def token_of(link: str) -> str:
    return link.partition("token=")[2]


def reasons(visitor: Visitor) -> list[str]:
    return re.findall(r'data-reason="(\w+)"', visitor.page.raw.decode())


async def join(visitor: Visitor, link: str, name: str = "Nadia New", password: str = SECRET) -> int:
    return (await visitor.submit("/invitation/join", at=link, name=name, password=password)).status


async def test_who_is_not_known_yet_chooses_name_and_password_and_is_in(
    ask: Ask, visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    to = address()
    link = await ask.link(to)
    shown = (await visitor.get(link)).raw.decode()
    assert to in shown
    assert "as developer" in shown
    assert await join(visitor, link) == 303
    assert location(visitor.page) == "/account"
    assert "Nadia New" in (await visitor.get("/account")).raw.decode()
    with sessions() as db:
        user = db.scalars(select(User).where(User.email == to)).one()
        assert user.email_verified_at is not None
        assert db.get_one(Membership, (tenant.organisation_id, user.id)).role == "developer"
        mine = select(AuditEvent).where(AuditEvent.organisation_id == tenant.organisation_id)
        joined = db.scalars(mine.where(AuditEvent.action == "member.joined")).one()
    assert joined.actor_id == encode("user", user.id)
    assert (await visitor.another().sign_in(to, SECRET)).status == 303


@pytest.mark.acceptance("P01")
@pytest.mark.acceptance("P04")
async def test_a_newcomers_password_is_held_to_the_rules_and_the_link_stays_good(
    ask: Ask, visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        db.get_one(Organisation, tenant.organisation_id).name = "Bernoulli Bakeries"
    link = await ask.link(address())
    for password, reason in (("tiny0ne", "too_short"), ("bernoullibakeries", "blocklisted")):
        assert await join(visitor, link, password=password) == 422
        assert reason in reasons(visitor)
        assert password not in visitor.page.raw.decode()
    assert await join(visitor, link, name=" ") == 422
    assert await join(visitor, link) == 303


async def test_a_link_works_once_even_for_many_at_once(
    ask: Ask, visitor: Visitor, sessions: sessionmaker[Session]
) -> None:
    to = address()
    link = await ask.link(to)
    browsers = [visitor.another() for _ in range(4)]
    for one in browsers:
        await one.get(link)
    statuses = await asyncio.gather(*(join(one, link) for one in browsers))
    assert sorted(statuses) == [303, 400, 400, 400]
    late = visitor.another()
    assert (await late.get(link)).status == 400
    assert reasons(late) == ["invalid_token"]
    with sessions() as db:
        assert db.scalar(select(func.count()).select_from(User).where(User.email == to)) == 1


async def test_links_that_are_old_revoked_changed_or_another_s_open_nothing(
    ask: Ask, visitor: Visitor, api: Api, sessions: sessionmaker[Session]
) -> None:
    old, taken_back = await ask.link(address()), await ask.link(address())
    for one in (await api.get(INVITATIONS)).body["data"][:1]:
        await api.delete(f"{INVITATIONS}/{one['id']}")
    with sessions.begin() as db:
        db.execute(update(Invitation).where(Invitation.revoked_at.is_(None)).values(expires_at=func.now()))
    changed = taken_back[:-4] + ("AAAA" if not taken_back.endswith("AAAA") else "BBBA")
    for link in (old, taken_back, changed, "/invitation?token=", "/invitation"):
        assert (await visitor.get(link)).status == 400, link
        assert reasons(visitor) == ["invalid_token"]


async def test_nobody_joins_a_suspended_organisation(
    ask: Ask, visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    link = await ask.link(address())
    with sessions.begin() as db:
        db.get_one(Organisation, tenant.organisation_id).suspended_at = func.now()
    assert (await visitor.get(link)).status == 400


async def test_who_is_known_signs_in_and_accepts_under_another_session_secret(
    ask: Ask, visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    known = new_person(sessions, new_tenant(sessions).organisation_id)
    link = await ask.link(known.email, "support")
    shown = (await visitor.get(link)).raw.decode()
    way = re.search(r'href="(/sign-in\?next=[^"]+)"', shown)
    assert way is not None
    assert 'name="password"' not in shown
    signed_in = await visitor.submit("/sign-in", at=way[1], email=known.email, password="correct horse battery staple")
    assert location(signed_in) == link
    before = visitor.cookies[COOKIE]
    assert location(await visitor.submit("/invitation", at=link)) == "/organisation/members"
    assert visitor.cookies[COOKIE] != before
    assert "You are here as support" in (await visitor.get("/organisation/members")).raw.decode()
    with sessions() as db:
        assert db.get_one(Membership, (tenant.organisation_id, known.id)).role == "support"
        assert db.get_one(Membership, (known.organisation_id, known.id)).role == "owner"


async def test_an_invitation_is_for_nobody_else(
    ask: Ask, visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    known = new_person(sessions, new_tenant(sessions).organisation_id)
    link = await ask.link(known.email)
    await visitor.sign_in(person.email)
    shown = (await visitor.get(link)).raw.decode()
    assert reasons(visitor) == ["other_person"]
    csrf = shown.split('name="csrf" value="')[1].split('"')[0]
    assert (await visitor.post("/invitation", {"csrf": csrf, "token": token_of(link)})).status == 403
    with sessions() as db:
        assert db.get(Membership, (ask.tenant.organisation_id, known.id)) is None
    # Nor does the link give the address to somebody who makes up a password for it.
    assert (await visitor.post("/invitation/join", {"csrf": csrf, "token": token_of(link), "name": "x"})).status == 422
    fields = {"csrf": csrf, "token": token_of(link), "name": "x", "password": SECRET}
    assert (await visitor.post("/invitation/join", fields)).status == 400
    assert (await visitor.another().sign_in(known.email, SECRET)).status == 401


async def test_an_operator_who_acts_for_somebody_does_not_accept_for_them(
    ask: Ask, visitor: Visitor, environment: Mapping[str, str], sessions: sessionmaker[Session]
) -> None:
    known = new_person(sessions, new_tenant(sessions).organisation_id)
    link = await ask.link(known.email)
    operator = visitor.another()
    acting = path(environment, "users", "impersonate", known.email, "--reason", "ticket 4711")
    assert location(await operator.submit("/sign-in/impersonation", at=acting)) == "/account"
    assert (await operator.submit("/invitation", at=link)).status == 403
    assert reasons(operator) == ["impersonated"]
    with sessions() as db:
        assert db.get(Membership, (ask.tenant.organisation_id, known.id)) is None
    # The invitation is still there for whom it is meant.
    await visitor.sign_in(known.email)
    assert location(await visitor.submit("/invitation", at=link)) == "/organisation/members"


def path(environment: Mapping[str, str], *command: str) -> str:
    """The path of a link that one of the operator's commands prints."""
    made = CliRunner(env=environment).invoke(main, command)
    assert made.exit_code == 0, made.output
    return made.output.strip().removeprefix("http://localhost:8000")


@pytest.fixture
def first_link(environment: Mapping[str, str], tenant: Tenant) -> tuple[str, str]:
    """The address of a first owner and the path of its link, as the operator's command prints it."""
    to = address()
    return to, path(environment, "users", "owner", encode("org", tenant.organisation_id), to)


@pytest.mark.acceptance("P13")
async def test_the_first_owner_signs_in_by_a_link_that_works_once(
    visitor: Visitor, first_link: tuple[str, str], tenant: Tenant
) -> None:
    to, link = first_link
    other = visitor.another()
    await other.get(link)
    first = await visitor.submit("/sign-in/link", at=link, name="Ada", password=SECRET)
    assert (first.status, location(first)) == (303, "/account")
    assert "You are here as owner" in (await visitor.get("/organisation/members")).raw.decode()
    for reply in (await other.get(link), await visitor.another().get(link)):
        assert reply.status == 401
        assert 'data-reason="invalid_token"' in reply.raw.decode()
    assert (await visitor.another().sign_in(to, SECRET)).status == 303


@pytest.mark.acceptance("P13")
async def test_of_many_who_use_the_first_link_at_once_one_gets_in(
    visitor: Visitor, first_link: tuple[str, str]
) -> None:
    browsers = [visitor.another() for _ in range(4)]
    for one in browsers:
        await one.get(first_link[1])
    replies = await asyncio.gather(
        *(one.submit("/sign-in/link", at=first_link[1], name="Ada", password=SECRET) for one in browsers)
    )
    assert sorted(one.status for one in replies) == [303, 401, 401, 401]


@pytest.mark.acceptance("P13")
async def test_nobody_signs_in_before_the_link_was_used_whatever_the_password(
    visitor: Visitor, first_link: tuple[str, str], tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    to, link = first_link
    for password in ("", "admin", "postrider"):
        assert (await visitor.post("/sign-in", await fields(visitor, to, password))).status == 401
    for name in ("admin@localhost", "owner@localhost"):
        assert (await visitor.post("/sign-in", await fields(visitor, name, "admin"))).status == 401
    with sessions.begin() as db:
        db.execute(update(OneTimeToken).values(expires_at=func.now()))
    assert (await visitor.get(link)).status == 401


async def fields(visitor: Visitor, to: str, password: str) -> dict[str, str]:
    shown = (await visitor.get("/sign-in")).raw.decode()
    csrf = shown.split('name="csrf" value="')[1].split('"')[0]
    return {"csrf": csrf, "email": to, "password": password, "next": ""}
