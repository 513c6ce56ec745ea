"""Sign-ins are counted by how they were tried and how they ended."""

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from app.models import User
from app.settings import Settings
from tests.metrics import counting
from tests.people.factors.acts import add_passkey, half_way, show_passkey
from tests.people.factors.authenticator import Authenticator
from tests.people.visitor import Known, Visitor

SIGN_INS = "postrider_sign_ins_total"


@pytest.fixture
def authenticator(settings: Settings) -> Authenticator:
    return Authenticator(settings.public_url)


async def test_a_password_that_is_right_or_wrong(visitor: Visitor, person: Known) -> None:
    every = counting(SIGN_INS)
    good, bad = (counting(SIGN_INS, method="password", outcome=one) for one in ("signed_in", "failed"))
    await visitor.sign_in(person.email, "wrong")
    await visitor.sign_in(person.email)
    assert (good.more, bad.more, every.more) == (1, 1, 2)


async def test_a_passkey_that_proves_nothing_fails_as_a_way_in_and_as_a_second_step(
    visitor: Visitor, person: Known, authenticator: Authenticator
) -> None:
    await visitor.sign_in(person.email)
    await add_passkey(visitor, authenticator)
    half = await half_way(visitor, person.email)
    authenticator.origin = "https://evil.example"
    alone = counting(SIGN_INS, method="passkey", outcome="failed")
    second = counting(SIGN_INS, method="second_step", outcome="failed")
    assert (await show_passkey(visitor.another(), authenticator, "/sign-in/passkey")).status == 401
    assert (alone.more, second.more) == (1, 0)
    assert (
        await show_passkey(half, authenticator, "/sign-in/second-step/passkey", "/sign-in/second-step")
    ).status == 401
    assert (alone.more, second.more) == (1, 1)


async def test_a_person_who_is_disabled(visitor: Visitor, person: Known, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        db.execute(update(User).where(User.id == person.id).values(disabled_at=func.now()))
    disabled = counting(SIGN_INS, method="password", outcome="disabled")
    assert (await visitor.sign_in(person.email)).status == 401
    assert disabled.more == 1
