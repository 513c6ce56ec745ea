"""How long sessions last, how many there are at once, and what their cookie is like."""

from datetime import timedelta

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.main import create_app
from app.settings import Settings
from tests.api.client import served
from tests.people.sessions.acts import events, make_older, rows, session_of
from tests.people.visitor import Known, Visitor

NONE = timedelta()


@pytest.mark.acceptance("S04")
class TestTime:
    """Enforced by the server, whatever the browser keeps."""

    async def test_a_session_that_rested_for_an_hour_is_over(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session]
    ) -> None:
        await visitor.sign_in(person.email)
        make_older(sessions, session_of(visitor), timedelta(minutes=59), NONE)
        assert (await visitor.get("/account")).status == 200
        other = visitor.another()
        await other.sign_in(person.email)
        make_older(sessions, session_of(other), timedelta(minutes=61), NONE)
        assert (await other.get("/account")).status == 303

    async def test_a_session_in_use_is_over_after_a_day(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session]
    ) -> None:
        await visitor.sign_in(person.email)
        make_older(sessions, session_of(visitor), NONE, timedelta(hours=23, minutes=59))
        assert (await visitor.get("/account")).status == 200
        other = visitor.another()
        await other.sign_in(person.email)
        make_older(sessions, session_of(other), NONE, timedelta(hours=24, minutes=1))
        assert (await other.get("/account")).status == 303

    async def test_use_keeps_it_alive_and_is_noted_once_a_minute_at_most(
        self, visitor: Visitor, person: Known, sessions: sessionmaker[Session]
    ) -> None:
        await visitor.sign_in(person.email)
        make_older(sessions, session_of(visitor), timedelta(seconds=50), NONE)
        before = rows(sessions, person)[0].last_seen_at
        await visitor.get("/account")
        assert rows(sessions, person)[0].last_seen_at == before
        other = visitor.another()
        await other.sign_in(person.email)
        make_older(sessions, session_of(other), timedelta(minutes=40), NONE)
        await other.get("/account")
        session = rows(sessions, person)[1]
        assert session.last_seen_at > session.created_at
        assert str(session.last_seen_from) == "127.0.0.1"


@pytest.mark.acceptance("S07")
async def test_one_session_too_many_ends_the_oldest(
    settings: Settings, http: aiohttp.ClientSession, person: Known, sessions: sessionmaker[Session]
) -> None:
    few = settings.model_copy(update={"people": settings.people.model_copy(update={"sessions": 2})})
    async with served(create_app(few)) as url:
        browsers = [Visitor(http, url) for _ in range(3)]
        for one in browsers:
            await one.sign_in(person.email)
        assert [(await one.get("/account")).status for one in browsers] == [303, 200, 200]
    told = events(sessions, person.organisation_id, "session.ended")
    assert [one.details["reason"] for one in told] == ["too many sessions"]


async def test_twenty_are_possible(settings: Settings) -> None:
    assert settings.people.sessions == 20


@pytest.mark.acceptance("S06")
async def test_the_cookie_is_bound_to_the_host_and_its_value_is_in_no_body(visitor: Visitor, person: Known) -> None:
    reply = await visitor.sign_in(person.email)
    headers = [one for one in reply.headers.getall("set-cookie") if one.startswith(COOKIE)]  # type: ignore[attr-defined] # a multidict
    assert len(headers) == 1
    assert len(headers[0]) < 4096
    name_and_value, *attributes = headers[0].split("; ")
    assert name_and_value.startswith("__Host-")
    assert {one.lower() for one in attributes} == {"path=/", "secure", "httponly", "samesite=lax"}
    value = visitor.cookies[COOKIE].encode()
    for path in ("/account", "/account/sessions", "/sign-in"):
        assert value not in (await visitor.get(path)).raw
    assert value not in reply.raw


@pytest.mark.acceptance("S03")
async def test_a_session_that_an_attacker_fixed_is_not_taken_over(visitor: Visitor, person: Known) -> None:
    other = visitor.another()
    await other.sign_in(person.email)
    fixed = other.cookies[COOKIE]
    visitor.cookies[COOKIE] = fixed
    await other.submit("/sign-in/out", at="/account")
    assert (await visitor.get("/account")).status == 303
    await visitor.sign_in(person.email)
    assert visitor.cookies[COOKIE] != fixed
    other.cookies[COOKIE] = fixed
    assert (await other.get("/account")).status == 303
