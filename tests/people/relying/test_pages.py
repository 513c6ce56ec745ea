"""The pages by which an organisation sets up its identity providers."""

import html
import re

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.domain.permissions import Role
from tests.api.client import Tenant
from tests.egress.peers import NXDOMAIN, NameServer
from tests.people.relying.idp import Provider
from tests.people.relying.world import reason_of
from tests.people.visitor import Known, Visitor, location, new_person

PAGE = "/organisation/identity-providers"


async def added(visitor: Visitor, person: Known, provider: Provider) -> str:
    """An owner has added the provider; its id."""
    await visitor.sign_in(person.email)
    reply = await visitor.submit(
        f"{PAGE}/add",
        at=PAGE,
        name="Acme",
        issuer=provider.issuer,
        clientId=provider.client_id,
        clientSecret=provider.secret,
    )
    assert (reply.status, location(reply)) == (303, f"{PAGE}?done=added"), reply.raw
    found = re.search(r"idp_[0-9a-z]{26}", (await visitor.get(PAGE)).raw.decode())
    assert found is not None
    return found[0]


async def test_an_owner_adds_a_provider_proves_a_domain_and_people_sign_in(
    visitor: Visitor, person: Known, provider: Provider, names: NameServer
) -> None:
    await added(visitor, person, provider)
    assert provider.secret not in visitor.page.raw.decode()
    domain = provider.person.email.partition("@")[2]
    assert (await visitor.submit(f"{PAGE}/domain", at=PAGE, domain=domain)).status == 303
    names.answers = lambda _: NXDOMAIN
    early = await visitor.submit(f"{PAGE}/domain/verify", at=PAGE)
    assert (early.status, reason_of(early)) == (409, "domain_not_verified")
    record, text = map(html.unescape, re.findall(r"<code>(.+?)</code>", early.raw.decode()))
    names.texts[record] = [text]
    assert location(await visitor.submit(f"{PAGE}/domain/verify", at=PAGE)) == f"{PAGE}?done=proved"
    reply = await visitor.another().submit("/sign-in", email=provider.person.email, password="")
    assert location(reply).startswith("/sign-in/provider?")


async def test_a_provider_is_changed_disabled_enabled_and_removed(
    visitor: Visitor, person: Known, provider: Provider
) -> None:
    await added(visitor, person, provider)
    changed = await visitor.submit(f"{PAGE}/change", at=PAGE, name="Renamed")
    assert location(changed) == f"{PAGE}?done=changed"
    assert b"Renamed" in (await visitor.get(PAGE)).raw
    assert location(await visitor.submit(f"{PAGE}/disable", at=PAGE)) == f"{PAGE}?done=disabled"
    assert location(await visitor.submit(f"{PAGE}/enable", at=PAGE)) == f"{PAGE}?done=enabled"
    assert location(await visitor.submit(f"{PAGE}/remove", at=PAGE)) == f"{PAGE}?done=removed"
    assert b"There is none yet" in (await visitor.get(PAGE)).raw


async def test_a_change_of_what_somebody_else_changed_meanwhile_is_refused(
    visitor: Visitor, person: Known, provider: Provider
) -> None:
    await added(visitor, person, provider)
    reply = await visitor.submit(f"{PAGE}/change", at=PAGE, name="Late", version="0")
    assert (reply.status, reason_of(reply)) == (412, "precondition_failed")


@pytest.mark.acceptance("I11")
async def test_an_issuer_that_may_not_be_called_is_refused_on_the_page(
    visitor: Visitor, person: Known, provider: Provider
) -> None:
    await visitor.sign_in(person.email)
    fields = {"name": "Bad", "issuer": "http://169.254.169.254", "clientId": "c", "clientSecret": "typed-secret"}
    reply = await visitor.submit(f"{PAGE}/add", at=PAGE, **fields)
    assert (reply.status, reason_of(reply)) == (422, "invalid")
    assert b'value="http://169.254.169.254"' in reply.raw
    assert b"typed-secret" not in reply.raw


@pytest.mark.parametrize(("role", "status"), [(Role.admin, 200), (Role.developer, 403), (Role.viewer, 403)])
async def test_only_who_may_sees_the_page(
    visitor: Visitor, sessions: sessionmaker[Session], tenant: Tenant, role: Role, status: int
) -> None:
    await visitor.sign_in(new_person(sessions, tenant.organisation_id, role).email)
    assert (await visitor.get(PAGE)).status == status


async def test_the_pages_of_others_reach_nothing(
    visitor: Visitor, person: Known, provider: Provider, sessions: sessionmaker[Session], stranger_person: Known
) -> None:
    theirs = await added(visitor, person, provider)
    somebody = visitor.another()
    await added(somebody, stranger_person, provider)
    for action in ("change", "disable", "remove", "domain"):
        reply = await somebody.submit(f"{PAGE}/{action}", at=PAGE, provider=theirs, domain="a.test", version="1")
        assert reply.status == 404
    assert b"Acme" in (await visitor.get(PAGE)).raw
