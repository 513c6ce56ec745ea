"""A mail address is changed by whoever was here just now and reads the mail of the new one."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.features.people import lifecycle
from app.kit.encryption import KeyRing
from app.models import AuditEvent, PersonSession, User
from app.settings import Settings
from tests.people.accounts.test_passwords import change, csrf_of, let_time_pass, reasons
from tests.people.letters import letters
from tests.people.visitor import Known, Visitor, location, new_person

Stranger = Callable[[], Visitor]


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return settings.secrets.ring()


def fresh(person: Known) -> str:
    return person.email.replace("@", ".new@")


async def ask(visitor: Visitor, address: str) -> int:
    return (await visitor.submit("/account/email", email=address)).status


async def confirm(visitor: Visitor, token: str) -> int:
    page = "/account/email/confirm?" + urlencode({"token": token})
    return (await visitor.submit("/account/email/confirm", at=page)).status


async def assert_over(visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing) -> None:
    """The link to the new address opens nothing."""
    (letter,) = letters(sessions, ring, person.id, "email_change")
    reply = await visitor.get("/account/email/confirm?" + urlencode({"token": letter.values["token"]}))
    assert (reply.status, reasons(visitor)) == (400, ["invalid_token"])


@pytest.mark.acceptance("P12")
async def test_the_new_address_counts_once_its_reader_says_so(
    visitor: Visitor, stranger: Stranger, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    await visitor.sign_in(person.email)
    assert await ask(visitor, fresh(person)) == 202
    (letter,) = letters(sessions, ring, person.id, "email_change")
    assert letter.address == fresh(person)
    assert (await stranger().sign_in(fresh(person))).status == 401
    assert await confirm(stranger(), letter.values["token"]) == 200
    assert (await stranger().sign_in(person.email)).status == 401
    assert (await stranger().sign_in(fresh(person))).status != 429
    assert fresh(person) in (await visitor.get("/account")).raw.decode()


@pytest.mark.acceptance("P12")
async def test_the_old_address_hears_of_it_both_times(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    await visitor.sign_in(person.email)
    await ask(visitor, fresh(person))
    await confirm(visitor, letters(sessions, ring, person.id, "email_change")[0].values["token"])
    for kind in ("email_change_asked", "email_changed"):
        (notice,) = letters(sessions, ring, person.id, kind)
        assert (notice.address, notice.values["address"]) == (person.email, fresh(person))
    with sessions.begin() as db:
        mine = select(AuditEvent.action).where(AuditEvent.organisation_id == person.organisation_id)
        assert {"user.email_change_asked", "user.email_changed"} <= set(db.scalars(mine))


@pytest.mark.acceptance("P12")
async def test_it_needs_somebody_who_was_here_just_now(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    form = {"csrf": csrf_of(await visitor.get("/account")), "email": fresh(person)}
    let_time_pass(sessions, person, 6)
    await asyncio.sleep(5.1)  # what is remembered of the session was true until now
    reply = await visitor.post("/account/email", form)
    assert (reply.status, reasons(visitor)) == (403, ["reauth_required"])
    assert location(await visitor.get("/account/email")) == "/sign-in/again?next=/account/email"


@pytest.mark.acceptance("P12")
async def test_who_acts_for_somebody_else_cannot_change_the_address(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    with sessions.begin() as db:
        mine = update(PersonSession).where(PersonSession.user_id == person.id)
        db.execute(mine.values(impersonator="Support", impersonation_reason="a question"))
    await asyncio.sleep(5.1)
    reply = await visitor.get("/account/email")
    assert (reply.status, reasons(visitor)) == (403, ["impersonated"])


async def test_a_link_is_good_once_and_the_last_one_alone(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    await visitor.sign_in(person.email)
    await ask(visitor, fresh(person))
    await ask(visitor, fresh(person))
    first, second = (one.values["token"] for one in letters(sessions, ring, person.id, "email_change"))
    reply = await visitor.get("/account/email/confirm?" + urlencode({"token": first}))
    assert (reply.status, reasons(visitor)) == (400, ["invalid_token"])
    assert await confirm(visitor, second) == 200
    reply = await visitor.get("/account/email/confirm?" + urlencode({"token": second}))
    assert (reply.status, reasons(visitor)) == (400, ["invalid_token"])


async def test_a_change_of_the_password_ends_what_a_thief_may_have_asked_for(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    await visitor.sign_in(person.email)
    await ask(visitor, fresh(person))
    assert await change(visitor, "seven drums under the old pier") == 303
    await assert_over(visitor, person, sessions, ring)


async def test_who_was_locked_out_comes_back_without_the_links_of_before(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    await visitor.sign_in(person.email)
    await ask(visitor, fresh(person))
    with sessions.begin() as db:
        user = db.get_one(User, person.id)
        lifecycle.disable(db, user)
        lifecycle.enable(db, user)
    await assert_over(visitor, person, sessions, ring)


async def test_an_address_that_somebody_has_is_neither_told_nor_given(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    other = new_person(sessions, person.organisation_id)
    await visitor.sign_in(person.email)
    assert await ask(visitor, other.email) == 202
    assert letters(sessions, ring, person.id, "email_change") == []


async def test_an_address_that_was_taken_meanwhile_stays_with_who_has_it(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    other = new_person(sessions, person.organisation_id)
    await visitor.sign_in(person.email)
    await ask(visitor, fresh(person))
    rival = visitor.another()
    await rival.sign_in(other.email)
    await ask(rival, fresh(person))
    tokens = [letters(sessions, ring, one.id, "email_change")[0].values["token"] for one in (other, person)]
    assert [await confirm(visitor, one) for one in tokens] == [200, 409]


async def test_what_is_no_address_is_refused(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    assert await ask(visitor, "no address") == 422
    assert reasons(visitor) == ["no_address"]


async def test_few_letters_an_hour_go_to_addresses_that_may_be_anybodys(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    asked = [await ask(visitor, f"{number}.{fresh(person)}") for number in range(6)]
    assert asked == [202] * 5 + [429]
