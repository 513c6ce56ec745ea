"""Where somebody is signed in: seen, and ended."""

import re

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth import devices
from app.auth.people import COOKIE
from app.domain.ids import encode
from tests.people.sessions.acts import PHONE, end_path, events, session_of
from tests.people.visitor import Known, Visitor, location

PAGE = "/account/sessions"


@pytest.fixture
async def phone(visitor: Visitor, person: Known) -> Visitor:
    """The same person at another device."""
    other = visitor.another()
    other.headers = {"user-agent": PHONE}
    await other.sign_in(person.email)
    return other


@pytest.fixture
async def signed_in(visitor: Visitor, person: Known) -> Visitor:
    await visitor.sign_in(person.email)
    return visitor


def table_rows(html: str) -> list[str]:
    return re.findall(r"<tr(?: aria-current=\"true\")?>\s*<th scope=\"row\">.*?</tr>", html, re.DOTALL)


@pytest.mark.acceptance("S01")
async def test_each_session_is_told_with_device_address_and_times(phone: Visitor, signed_in: Visitor) -> None:
    shown = (await signed_in.get(PAGE)).raw.decode()
    here, there = table_rows(shown)[:2]
    assert "this session" in here
    assert 'aria-current="true"' in here
    assert "an unknown browser on Linux" in here
    assert "Mobile Safari on iOS" in there
    assert "this session" not in there
    for row in (here, there):
        assert "127.0.0.1" in row
        assert "unknown" in row
        assert row.count("<time ") == 2


@pytest.mark.acceptance("S02")
async def test_one_is_ended_and_the_other_goes_on(phone: Visitor, signed_in: Visitor) -> None:
    assert location(await signed_in.submit(end_path(phone), at=PAGE)) == PAGE
    assert location(await phone.get("/account")) == "/sign-in?next=/account"
    assert (await phone.post("/sign-in/out", {"csrf": "any"})).status == 401
    assert (await signed_in.get("/account")).status == 200


@pytest.mark.acceptance("S02")
async def test_all_others_are_ended(phone: Visitor, signed_in: Visitor) -> None:
    await signed_in.submit(f"{PAGE}/others", at=PAGE)
    assert (await phone.get("/account")).status == 303
    assert (await signed_in.get("/account")).status == 200


@pytest.mark.acceptance("S02")
async def test_all_are_ended_this_one_too(phone: Visitor, signed_in: Visitor) -> None:
    stolen = signed_in.another()
    stolen.cookies[COOKIE] = signed_in.cookies[COOKIE]
    assert location(await signed_in.submit(f"{PAGE}/all", at=PAGE)) == "/sign-in"
    assert COOKIE not in signed_in.cookies
    for one in (phone, stolen):
        assert (await one.get("/account")).status == 303


async def test_this_one_is_ended_like_signing_out(signed_in: Visitor) -> None:
    assert location(await signed_in.submit(end_path(signed_in), at=PAGE)) == "/sign-in"
    assert COOKIE not in signed_in.cookies


@pytest.mark.acceptance("S01")
async def test_another_persons_session_does_not_exist(signed_in: Visitor, second: Known) -> None:
    other = signed_in.another()
    await other.sign_in(second.email)
    for path in (end_path(other), f"{PAGE}/{encode('session', second.id)}/end", f"{PAGE}/session_nothing/end"):
        assert (await signed_in.get(PAGE)).status == 200
        reply = await signed_in.post(path, {"csrf": csrf_of(signed_in)})
        assert (reply.status, b'data-reason="not_found"' in reply.raw) == (404, True)
    assert (await other.get("/account")).status == 200


async def test_another_persons_device_does_not_exist(signed_in: Visitor, second: Known) -> None:
    other = signed_in.another()
    other.headers = {"user-agent": PHONE}
    await other.sign_in(second.email)
    forget = re.findall(r'action="([^"]*/forget)"', (await other.get(PAGE)).raw.decode())[0]
    await signed_in.get(PAGE)
    assert (await signed_in.post(forget, {"csrf": csrf_of(signed_in)})).status == 404
    assert forget in (await other.get(PAGE)).raw.decode()


async def test_a_device_is_forgotten_and_new_the_next_time(
    signed_in: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    forget = re.findall(r'action="([^"]*/forget)"', (await signed_in.get(PAGE)).raw.decode())[0]
    assert location(await signed_in.submit(forget, at=PAGE)) == PAGE
    assert forget not in (await signed_in.get(PAGE)).raw.decode()
    assert devices.COOKIE in signed_in.cookies
    del signed_in.cookies[COOKIE]
    await signed_in.sign_in(person.email)
    assert len(events(sessions, person.organisation_id, "device.new")) == 2


async def test_what_is_ended_is_written_down(
    phone: Visitor, signed_in: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    ended = encode("session", session_of(phone))
    await signed_in.submit(end_path(phone), at=PAGE)
    await signed_in.submit(f"{PAGE}/all", at=PAGE)
    await signed_in.sign_in(person.email)
    await signed_in.submit("/sign-in/out", at="/account")
    told = events(sessions, person.organisation_id, "session.ended")
    assert [one.details["reason"] for one in told] == ["ended on the sessions page", "signed out"]
    assert told[0].details["session"] == ended
    assert events(sessions, person.organisation_id, "session.all_ended")[0].details == {"count": 1, "kept": None}


def csrf_of(visitor: Visitor) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', visitor.page.raw.decode())
    assert found is not None
    return found[1]
