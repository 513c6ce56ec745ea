"""An organisation may demand a second factor of its people; sessions that have begun are no exception."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.domain.permissions import Role
from tests.api.client import Api, new_tenant
from tests.people.factors.acts import add_app
from tests.people.visitor import PASSWORD, Known, Visitor, location, new_person

FACTORS = "/account/factors"


async def demand(api: Api) -> None:
    """Lets the organisation ask its people for a second factor."""
    reply = await api.call("PATCH", "/organisation", {"mfaRequired": True}, headers={"if-match": "*"})
    assert reply.status == 200, reply.raw


@pytest.mark.acceptance("M08")
async def test_the_demand_bites_on_the_next_request_of_a_session(visitor: Visitor, person: Known, api: Api) -> None:
    await visitor.sign_in(person.email)
    assert (await visitor.get("/account")).status == 200
    await demand(api)
    for reply in (await visitor.get("/account"), await visitor.get("/account/sessions")):
        assert reply.status == 403
        assert b'data-reason="mfa_enrolment_required"' in reply.raw
        assert f'href="{FACTORS}"'.encode() in reply.raw


@pytest.mark.acceptance("M08")
async def test_enrolment_stays_open_and_ends_the_demand(visitor: Visitor, person: Known, api: Api) -> None:
    await demand(api)
    await visitor.sign_in(person.email)
    assert (await visitor.get("/account")).status == 403
    assert (await visitor.get(FACTORS)).status == 200
    await add_app(visitor)
    assert (await visitor.get("/account")).status == 200


async def test_who_has_a_factor_is_not_stopped(visitor: Visitor, person: Known, api: Api) -> None:
    await visitor.sign_in(person.email)
    await add_app(visitor)
    await demand(api)
    assert (await visitor.get("/account")).status == 200


@pytest.mark.acceptance("M08")
async def test_a_session_that_began_before_there_was_a_factor_shows_it_first(
    visitor: Visitor, person: Known, api: Api
) -> None:
    await visitor.sign_in(person.email)
    other = visitor.another()
    await other.sign_in(person.email)
    app, _ = await add_app(visitor)
    assert (await other.get("/account")).status == 200
    await demand(api)
    assert (await visitor.get("/account")).status == 200
    again = location(await other.get("/account"))
    assert again == "/sign-in/again?next=/account"
    assert location(await other.submit("/sign-in/again", at=again, password=PASSWORD, code=app.code())) == "/account"
    assert (await other.get("/account")).status == 200


async def test_the_last_factor_stays_while_it_is_demanded(visitor: Visitor, person: Known, api: Api) -> None:
    await visitor.sign_in(person.email)
    await add_app(visitor)
    await demand(api)
    reply = await visitor.submit(f"{FACTORS}/app/remove", at=f"{FACTORS}/last", password=PASSWORD)
    assert reply.status == 409
    assert (await visitor.get("/account")).status == 200


async def test_people_of_other_organisations_are_not_asked(
    visitor: Visitor, api: Api, sessions: sessionmaker[Session]
) -> None:
    stranger = new_person(sessions, new_tenant(sessions).organisation_id, Role.viewer)
    await demand(api)
    await visitor.sign_in(stranger.email)
    assert (await visitor.get("/account")).status == 200


async def test_whoever_signs_out_needs_no_factor(visitor: Visitor, person: Known, api: Api) -> None:
    await visitor.sign_in(person.email)
    await demand(api)
    assert location(await visitor.submit("/sign-in/out", at=FACTORS)) == "/sign-in"
