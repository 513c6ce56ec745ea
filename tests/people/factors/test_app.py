"""Codes of authenticator apps."""

import asyncio

import pytest

from app.auth.people import COOKIE
from tests.people.factors.acts import add_app, half_way
from tests.people.visitor import Known, Visitor, location

STEP = "/sign-in/second-step"


@pytest.mark.acceptance("M01")
async def test_a_code_opens_a_session_once(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)
    code = app.code()

    first = await half_way(visitor, person.email)
    assert location(await first.submit(STEP, code=code)) == "/account"
    assert (await first.get("/account")).status == 200

    second = await half_way(visitor, person.email)
    reply = await second.submit(STEP, code=code)
    assert reply.status == 401
    assert COOKIE not in second.cookies


@pytest.mark.acceptance("M01")
async def test_a_code_in_two_requests_at_once_opens_one_session(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)
    both = [await half_way(visitor, person.email) for _ in range(2)]
    replies = await asyncio.gather(*(one.submit(STEP, code=app.code()) for one in both))
    assert sorted(one.status for one in replies) == [303, 401]


@pytest.mark.acceptance("M01")
@pytest.mark.parametrize(("offset", "status"), [(-3, 401), (-1, 401), (0, 303), (1, 303), (3, 401)])
async def test_a_code_is_good_in_the_periods_beside_its_own(
    visitor: Visitor, person: Known, offset: int, status: int
) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)  # which takes the period before this one
    other = await half_way(visitor, person.email)
    assert (await other.submit(STEP, code=app.code(offset))).status == status
