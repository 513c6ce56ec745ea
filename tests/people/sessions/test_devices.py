"""A new device is noticed and told of; knowing one opens nothing."""

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.auth import devices
from app.auth.people import COOKIE
from app.models import Device, Mail
from tests.people.sessions.acts import PHONE, events
from tests.people.visitor import Known, Visitor


def mails(sessions: sessionmaker[Session], person: Known) -> int:
    with sessions.begin() as db:
        wanted = select(func.count()).where(Mail.owner_id == person.id, Mail.kind == "new_device")
        return db.scalar(wanted) or 0


def known_devices(sessions: sessionmaker[Session], person: Known) -> list[Device]:
    with sessions.begin() as db:
        return list(db.scalars(select(Device).where(Device.user_id == person.id).order_by(Device.created_at)))


@pytest.mark.acceptance("S08")
async def test_the_second_device_is_mailed_and_audited_and_neither_again(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    assert (len(events(sessions, person.organisation_id, "device.new")), mails(sessions, person)) == (1, 0)
    other = visitor.another()
    other.headers = {"user-agent": PHONE}
    await other.sign_in(person.email)
    names = [one.name for one in known_devices(sessions, person)]
    assert names == ["an unknown browser on Linux", "Mobile Safari on iOS"]
    noticed = events(sessions, person.organisation_id, "device.new")[-1]
    assert noticed.details["name"] == "Mobile Safari on iOS"
    assert (noticed.ip, mails(sessions, person)) == ("127.0.0.1", 1)
    del other.cookies[COOKIE]
    assert (await other.sign_in(person.email)).status == 303
    assert (len(events(sessions, person.organisation_id, "device.new")), mails(sessions, person)) == (2, 1)


@pytest.mark.acceptance("S08")
async def test_a_known_device_opens_nothing(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    del visitor.cookies[COOKIE]
    assert devices.COOKIE in visitor.cookies
    assert (await visitor.get("/account")).status == 303
    assert (await visitor.sign_in(person.email, "wrong wrong wrong wrong")).status == 401


@pytest.mark.acceptance("S08")
async def test_an_unknown_device_blocks_nothing(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    assert (await visitor.another().sign_in(person.email)).status == 303


async def test_a_copied_cookie_in_another_browser_is_another_device(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    thief = visitor.another()
    thief.headers = {"user-agent": PHONE}
    thief.cookies[devices.COOKIE] = visitor.cookies[devices.COOKIE]
    await thief.sign_in(person.email)
    assert len(known_devices(sessions, person)) == 2
    assert mails(sessions, person) == 1


async def test_a_forged_device_cookie_is_none(visitor: Visitor, person: Known, sessions: sessionmaker[Session]) -> None:
    await visitor.sign_in(person.email)
    other = visitor.another()
    sealed = visitor.cookies[devices.COOKIE]
    other.cookies[devices.COOKIE] = sealed[:-8] + "AAAAAAAA"
    await other.sign_in(person.email)
    assert len(known_devices(sessions, person)) == 2


async def test_two_people_at_one_browser_know_it_both(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], second: Known
) -> None:
    for one in (person, second, person, second):
        await visitor.sign_in(one.email)
        visitor.cookies.pop(COOKIE)
    assert [len(known_devices(sessions, one)) for one in (person, second)] == [1, 1]
    assert known_devices(sessions, person)[0].id == known_devices(sessions, second)[0].id
