"""Passkeys: as a second factor, and alone; what is not true in any way is refused."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.models import AuditEvent, Passkey, PersonSession
from app.settings import Settings
from tests.people.factors.acts import add_passkey, asked, half_way, recovery_codes, show_passkey
from tests.people.factors.authenticator import PRESENT, VERIFIED, Authenticator
from tests.people.visitor import Known, Visitor, location

ENROL, ALONE = "/account/factors/passkey", "/sign-in/passkey"
STEP = "/sign-in/second-step"


async def test_a_passkey_is_a_second_factor_and_signs_in_alone(
    visitor: Visitor, person: Known, authenticator: Authenticator, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    assert len(recovery_codes(await add_passkey(visitor, authenticator))) == 10

    other = await half_way(visitor, person.email)
    assert location(await show_passkey(other, authenticator, f"{STEP}/passkey", STEP)) == "/account"

    alone = visitor.another()
    assert location(await show_passkey(alone, authenticator, ALONE)) == "/account"
    assert person.email in (await alone.get("/account")).raw.decode()
    with sessions.begin() as db:
        begun = select(PersonSession.methods).where(PersonSession.user_id == person.id).order_by(PersonSession.id)
        assert db.scalars(begun).all() == [["pwd", "hwk", "mfa"], ["pwd", "hwk", "mfa"], ["hwk", "mfa"]]


Lie = Callable[[Authenticator], None]


def from_elsewhere(one: Authenticator) -> None:
    one.origin = "https://evil.example"


def from_another_port(one: Authenticator) -> None:
    one.origin = "http://localhost:1"


def for_another_party(one: Authenticator) -> None:
    one.rp_id = "evil.example"


def without_verifying(one: Authenticator) -> None:
    one.flags = PRESENT


def without_presence(one: Authenticator) -> None:
    one.flags = VERIFIED


LIES = [from_elsewhere, from_another_port, for_another_party, without_verifying, without_presence]


@pytest.mark.acceptance("M06")
@pytest.mark.parametrize("lie", LIES)
async def test_a_passkey_is_not_made_by_a_lie(
    visitor: Visitor, person: Known, authenticator: Authenticator, lie: Lie
) -> None:
    await visitor.sign_in(person.email)
    lie(authenticator)
    reply = await add_passkey(visitor, authenticator)
    assert reply.status == 400
    assert b'data-reason="invalid_passkey"' in reply.raw


@pytest.mark.acceptance("M06")
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("step", [ALONE, f"{STEP}/passkey"])
async def test_a_passkey_does_not_sign_in_by_a_lie(
    visitor: Visitor, person: Known, authenticator: Authenticator, lie: Lie, step: str
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    other = await half_way(visitor, person.email)
    at = STEP if step != ALONE else ALONE
    truth = (authenticator.origin, authenticator.rp_id, authenticator.flags)
    lie(authenticator)
    reply = await show_passkey(other, authenticator, step, at)
    assert reply.status == 401
    assert COOKIE not in other.cookies
    authenticator.origin, authenticator.rp_id, authenticator.flags = truth
    assert location(await show_passkey(other, authenticator, step, at)) == "/account"


@pytest.mark.acceptance("M06")
async def test_a_challenge_is_answered_once_and_by_nobody_else(
    visitor: Visitor, person: Known, authenticator: Authenticator
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    alone, other = visitor.another(), visitor.another()
    form, options = await asked(alone, ALONE)
    answer = authenticator.get(options)
    foreign, _ = await asked(other, ALONE)
    # A challenge of another page, one of another browser, and none that was made here.
    for offer in (foreign["offer"], "x" * 80):
        assert (await alone.post(ALONE, {**form, "offer": offer, "credential": answer})).status == 401
    assert (await other.post(ALONE, {**foreign, "offer": form["offer"], "credential": answer})).status == 401
    assert location(await alone.post(ALONE, {**form, "credential": answer})) == "/account"
    replayed = visitor.another()
    replayed.cookies = {name: value for name, value in alone.cookies.items() if name != COOKIE}
    assert (await replayed.post(ALONE, {**form, "credential": answer})).status == 401


@pytest.mark.acceptance("M06")
async def test_a_challenge_is_used_up_even_where_the_device_does_not_count(
    visitor: Visitor, person: Known, authenticator: Authenticator
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    alone = visitor.another()
    form, options = await asked(alone, ALONE)
    before = dict(alone.cookies)
    authenticator.count = -1  # as it counts before it answers
    answer = authenticator.get(options)
    assert location(await alone.post(ALONE, {**form, "credential": answer})) == "/account"
    alone.cookies = before
    assert (await alone.post(ALONE, {**form, "credential": answer})).status == 401


@pytest.mark.acceptance("M06")
@pytest.mark.parametrize("back", [1, 2, 5])
async def test_a_counter_that_does_not_rise_is_refused_and_written_down(
    visitor: Visitor, person: Known, authenticator: Authenticator, sessions: sessionmaker[Session], back: int
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    authenticator.count = 10
    assert location(await show_passkey(visitor.another(), authenticator, ALONE)) == "/account"
    authenticator.count -= back
    assert (await show_passkey(visitor.another(), authenticator, ALONE)).status == 401
    with sessions.begin() as db:
        refused = select(AuditEvent).where(
            AuditEvent.organisation_id == person.organisation_id, AuditEvent.action == "session.refused"
        )
        (event,) = db.scalars(refused).all()
        assert json.dumps(event.details, sort_keys=True) == '{"method": "hwk", "passkey": "Key"}'


async def test_a_counter_may_be_as_high_as_thirty_two_bits_are(
    visitor: Visitor, person: Known, authenticator: Authenticator
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    authenticator.count = 2**32 - 2
    assert location(await show_passkey(visitor.another(), authenticator, ALONE)) == "/account"


@pytest.mark.acceptance("M07")
async def test_a_passkey_signs_in_nobody_but_its_owner(
    visitor: Visitor, person: Known, another: Known, authenticator: Authenticator, settings: Settings
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    others = Authenticator(settings.public_url)
    other = visitor.another()
    await other.sign_in(another.email)
    await add_passkey(other, others)

    authenticator.user_handle = another.id.bytes
    assert (await show_passkey(visitor.another(), authenticator, ALONE)).status == 401
    half = await half_way(visitor, another.email)
    assert (await show_passkey(half, authenticator, f"{STEP}/passkey", STEP)).status == 401
    authenticator.user_handle = person.id.bytes
    assert (await show_passkey(half, authenticator, f"{STEP}/passkey", STEP)).status == 401
    assert COOKIE not in half.cookies
    # Even by the other one's id: its key is another.
    authenticator.credential_id, authenticator.user_handle = others.credential_id, another.id.bytes
    assert (await show_passkey(half, authenticator, f"{STEP}/passkey", STEP)).status == 401


@pytest.mark.acceptance("M07")
async def test_a_credential_id_belongs_to_one_person_in_all_organisations(
    visitor: Visitor,
    person: Known,
    another: Known,
    authenticator: Authenticator,
    settings: Settings,
    sessions: sessionmaker[Session],
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    other = visitor.another()
    await other.sign_in(another.email)
    twin = Authenticator(settings.public_url, credential_id=authenticator.credential_id)
    assert (await add_passkey(other, twin)).status == 409
    with sessions.begin() as db:
        owners = select(Passkey.user_id).where(Passkey.credential_id == authenticator.credential_id)
        assert db.scalars(owners).all() == [person.id]


@pytest.mark.parametrize("answer", ["", "null", "[]", "{}", '{"rawId": 1, "response": {}}', "[" * 5000, "é"])
async def test_what_is_no_answer_is_refused(visitor: Visitor, answer: str) -> None:
    form, _ = await asked(visitor, ALONE)
    assert (await visitor.post(ALONE, {**form, "credential": answer})).status == 401
