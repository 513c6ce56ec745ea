"""Recovery codes stand in, once each, for a second factor that was lost."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.models import RecoveryCode
from app.settings import Settings
from tests.people.factors.acts import add_app, half_way, mails, recovery_codes
from tests.people.visitor import Forms, Known, Visitor, location

STEP = "/sign-in/second-step"
CODE = f"{STEP}/recovery-code"
RENEW = "/account/factors/recovery-codes"


@pytest.mark.acceptance("M03")
async def test_ten_codes_of_eighty_bits_come_with_the_first_factor(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    _, codes = await add_app(visitor)
    assert len(set(codes)) == 10
    # Sixteen characters out of thirty-two: five bits each.
    assert all(len(one.replace("-", "")) == 16 for one in codes)
    again = (await visitor.get("/account/factors")).raw.decode()
    assert not any(one in again for one in codes)


@pytest.mark.acceptance("M03")
async def test_codes_are_kept_as_digests_alone(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    _, codes = await add_app(visitor)
    with sessions.begin() as db:
        kept = db.scalars(select(RecoveryCode.digest).where(RecoveryCode.user_id == person.id)).all()
    assert len(kept) == 10
    assert {len(one) for one in kept} == {32}
    assert not any(code.replace("-", "").encode() in digest for code in codes for digest in kept)


@pytest.mark.acceptance("M03")
async def test_a_code_is_good_once_however_it_is_typed(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    await visitor.sign_in(person.email)
    _, codes = await add_app(visitor)
    first = await half_way(visitor, person.email)
    typed = codes[0].upper().replace("-", " ")
    assert location(await first.submit(CODE, at=STEP, recovery_code=typed)) == "/account"
    told = [one.subject for one in mails(sessions, settings, person)]
    assert "A recovery code was used to sign in, 9 are left" in told
    second = await half_way(visitor, person.email)
    assert (await second.submit(CODE, at=STEP, recovery_code=codes[0])).status == 401
    assert location(await second.submit(CODE, at=STEP, recovery_code=codes[1])) == "/account"


@pytest.mark.acceptance("M03")
async def test_new_codes_void_the_old_ones(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    await visitor.sign_in(person.email)
    _, old = await add_app(visitor)
    new = recovery_codes(await visitor.submit(RENEW, at="/account/factors"))
    assert len(set(new) | set(old)) == 20
    other = await half_way(visitor, person.email)
    assert (await other.submit(CODE, at=STEP, recovery_code=old[0])).status == 401
    assert location(await other.submit(CODE, at=STEP, recovery_code=new[0])) == "/account"
    assert "New recovery codes were made" in [one.subject for one in mails(sessions, settings, person)]


async def test_codes_of_somebody_else_are_nothing(visitor: Visitor, person: Known, another: Known) -> None:
    await visitor.sign_in(person.email)
    _, codes = await add_app(visitor)
    other = visitor.another()
    await other.sign_in(another.email)
    await add_app(other)
    half = await half_way(other, another.email)
    assert (await half.submit(CODE, at=STEP, recovery_code=codes[0])).status == 401


async def test_who_has_no_factor_needs_no_codes(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    page = (await visitor.get("/account/factors")).raw.decode()
    assert RENEW not in Forms(page).forms
    assert (await visitor.post(RENEW, Forms(page).forms["/sign-in/out"])).status == 409
