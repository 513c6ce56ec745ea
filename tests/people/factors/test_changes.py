"""Whoever changes factors has just shown to be there, and hears of it by mail."""

import asyncio

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.models import AuditEvent
from app.settings import Settings
from tests.api.client import Reply, Tenant
from tests.people.factors.acts import add_app, add_passkey, app_on, let_go_stale, mails, show_passkey
from tests.people.factors.authenticator import Authenticator
from tests.people.visitor import PASSWORD, Forms, Known, Visitor, location, new_person

FACTORS = "/account/factors"
CHANGES = ("app", "app/remove", "passkey", "passkey/remove", "recovery-codes")


async def remove_last(visitor: Visitor, factor: str, password: str = PASSWORD) -> Reply:
    """Removes the only factor."""
    return await visitor.submit(f"{FACTORS}/{factor}/remove", at=f"{FACTORS}/last", password=password)


@pytest.mark.acceptance("M05")
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_without_a_recent_proof_is_refused(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings, change: str
) -> None:
    await visitor.sign_in(person.email)
    await add_app(visitor)
    fields = Forms((await visitor.get(FACTORS)).raw.decode()).forms["/sign-in/out"]
    let_go_stale(sessions, settings, person)
    reply = await visitor.post(f"{FACTORS}/{change}", fields)
    assert reply.status == 403
    assert b'data-reason="reauth_required"' in reply.raw


@pytest.mark.parametrize("page", ["app", "passkey"])
async def test_a_page_that_changes_leads_to_the_proof_and_back(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings, page: str
) -> None:
    await visitor.sign_in(person.email)
    let_go_stale(sessions, settings, person)
    again = location(await visitor.get(f"{FACTORS}/{page}"))
    assert again == f"/sign-in/again?next={FACTORS}/{page}"
    assert (await visitor.submit("/sign-in/again", at=again, password="wrong")).status == 401
    assert (await visitor.get(f"{FACTORS}/{page}")).status == 303
    before = visitor.cookies[COOKIE]
    assert location(await visitor.submit("/sign-in/again", at=again, password=PASSWORD)) == f"{FACTORS}/{page}"
    assert visitor.cookies[COOKIE] != before
    assert (await visitor.get(f"{FACTORS}/{page}")).status == 200


async def test_who_has_an_app_shows_again_both_password_and_code(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    await visitor.sign_in(person.email)
    app, codes = await add_app(visitor)
    let_go_stale(sessions, settings, person)
    for given in ({"password": PASSWORD, "code": ""}, {"password": "wrong", "code": app.code()}):
        assert (await visitor.submit("/sign-in/again", **given)).status == 401
    assert location(await visitor.submit("/sign-in/again", password=PASSWORD, code=app.code())) == "/account"
    assert (await visitor.get(f"{FACTORS}/app")).status == 200
    assert (await visitor.submit("/sign-in/again", password=PASSWORD, code=app.code())).status == 401
    assert location(await visitor.submit("/sign-in/again", password=PASSWORD, code=codes[0])) == "/account"


async def test_a_passkey_alone_shows_it_again(
    visitor: Visitor,
    person: Known,
    authenticator: Authenticator,
    sessions: sessionmaker[Session],
    settings: Settings,
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    let_go_stale(sessions, settings, person)
    assert (await visitor.submit("/sign-in/again", password=PASSWORD, code="")).status == 401
    path = "/sign-in/again/passkey"
    assert location(await show_passkey(visitor, authenticator, path, "/sign-in/again")) == "/account"
    assert (await visitor.get(f"{FACTORS}/app")).status == 200


@pytest.mark.acceptance("M05")
async def test_each_change_is_mailed_and_written_down(
    visitor: Visitor,
    person: Known,
    authenticator: Authenticator,
    sessions: sessionmaker[Session],
    settings: Settings,
) -> None:
    await visitor.sign_in(person.email)
    await add_app(visitor)
    await add_passkey(visitor, authenticator, "Laptop")
    for path in ("recovery-codes", "app/remove"):
        assert (await visitor.submit(f"{FACTORS}/{path}", at=FACTORS)).status in {200, 303}
    assert (await remove_last(visitor, "passkey")).status == 303
    assert [one.subject for one in mails(sessions, settings, person)][-5:] == [
        "An authenticator app was added",
        "The passkey “Laptop” was added",
        "New recovery codes were made",
        "The authenticator app was removed",
        "The passkey “Laptop” was removed",
    ]
    with sessions.begin() as db:
        found = select(AuditEvent.action).where(AuditEvent.organisation_id == person.organisation_id)
        actions = [one for one in db.scalars(found.order_by(AuditEvent.id)) if one.startswith("user.")]
    assert actions == [
        "user.factor_added",
        "user.factor_added",
        "user.recovery_codes_renewed",
        "user.factor_removed",
        "user.factor_removed",
    ]


async def test_the_session_gets_another_secret_with_its_first_factor(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    fixed = visitor.another()
    fixed.cookies = dict(visitor.cookies)
    await add_app(visitor)
    assert (await fixed.get("/account")).status == 303
    assert (await visitor.get("/account")).status == 200


async def test_without_the_last_factor_the_recovery_codes_are_void(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    await add_app(visitor)
    await remove_last(visitor, "app")
    assert location(await visitor.another().sign_in(person.email)) == "/account"
    _, codes = await add_app(visitor)
    assert len(codes) == 10


async def test_a_page_with_a_secret_enrols_once(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    page = (await visitor.get(f"{FACTORS}/app")).raw.decode()
    form = Forms(page).forms[f"{FACTORS}/app"]
    wrong = await visitor.post(f"{FACTORS}/app", {**form, "code": "000000"})
    assert wrong.status == 422
    assert b'data-reason="wrong_code"' in wrong.raw
    assert (await visitor.post(f"{FACTORS}/app", {**form, "code": app_on(page).code()})).status == 200
    again = await visitor.post(f"{FACTORS}/app", {**form, "code": app_on(page).code()})
    assert again.status == 400
    assert b'data-reason="used_offer"' in again.raw


@pytest.mark.acceptance("P01")
async def test_a_password_that_was_long_enough_beside_a_factor_only_keeps_the_last_one(
    visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    short = "8 chars!"
    person = new_person(sessions, tenant.organisation_id, password=short)
    await visitor.sign_in(person.email, short)
    await add_app(visitor)
    assert (await remove_last(visitor, "app", "wrong")).status == 401
    reply = await remove_last(visitor, "app", short)
    assert reply.status == 409
    assert b'data-reason="password_too_short"' in reply.raw
    assert location(await visitor.another().sign_in(person.email, short)) == "/sign-in/second-step"


@pytest.mark.acceptance("P01")
async def test_of_the_last_two_factors_one_stays_though_both_are_removed_at_once(
    visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session], authenticator: Authenticator
) -> None:
    short = "8 chars!"
    person = new_person(sessions, tenant.organisation_id, password=short)
    await visitor.sign_in(person.email, short)
    await add_app(visitor)
    await add_passkey(visitor, authenticator)
    forms = Forms((await visitor.get(FACTORS)).raw.decode()).forms
    paths = [f"{FACTORS}/app/remove", f"{FACTORS}/passkey/remove"]
    with sessions.begin() as db:
        # Nobody gets beyond the letter, which comes after the removal, until both have come so far.
        db.execute(text("LOCK TABLE mails IN SHARE MODE"))
        under_way = [asyncio.create_task(visitor.post(path, forms[path])) for path in paths]
        done, _ = await asyncio.wait(under_way, timeout=1)
        assert not done
    replies = await asyncio.gather(*under_way)
    assert sorted(one.status for one in replies) == [303, 409]
    assert location(await visitor.another().sign_in(person.email, short)) == "/sign-in/second-step"


async def test_of_two_apps_that_are_added_at_once_one_counts(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    path = f"{FACTORS}/app"
    pages = [(await visitor.get(path)).raw.decode() for _ in range(2)]
    sent = [{**Forms(page).forms[path], "code": app_on(page).code()} for page in pages]
    replies = await asyncio.gather(*(visitor.post(path, fields) for fields in sent))
    assert sorted(one.status for one in replies) == [200, 303]
    assert (await visitor.another().get("/sign-in")).status == 200
    assert location(await visitor.another().sign_in(person.email)) == "/sign-in/second-step"


async def test_a_name_that_holds_nul_is_refused(visitor: Visitor, person: Known, authenticator: Authenticator) -> None:
    await visitor.sign_in(person.email)
    assert (await add_passkey(visitor, authenticator, "a\0b")).status == 422
