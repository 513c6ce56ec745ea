"""Signing in by a password, and out again."""

from app.auth.people import COOKIE
from tests.people.visitor import Known, Visitor, location


async def test_a_password_opens_a_session_until_it_is_ended(visitor: Visitor, person: Known) -> None:
    assert location(await visitor.get("/account")) == "/sign-in?next=/account"
    reply = await visitor.sign_in(person.email)
    assert (reply.status, location(reply)) == (303, "/account")
    assert (await visitor.get("/account")).status == 200
    stolen = visitor.another()
    stolen.cookies[COOKIE] = visitor.cookies[COOKIE]
    assert (await visitor.submit("/sign-in/out", at="/account")).status == 303
    assert COOKIE not in visitor.cookies
    assert (await stolen.get("/account")).status == 303


async def test_a_wrong_password_and_an_unknown_address_are_told_alike(visitor: Visitor, person: Known) -> None:
    replies = [await visitor.sign_in(*tried) for tried in ((person.email, "wrong"), ("nobody@example.test", "wrong"))]
    assert [one.status for one in replies] == [401, 401]
    first, second = (one.raw.decode().replace(person.email, "").replace("nobody@example.test", "") for one in replies)
    assert first == second
