"""Between the two steps there is next to nothing: a ticket for minutes, a few tries, and no way around."""

import json
import re
from base64 import urlsafe_b64decode
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE, TICKET
from app.domain.failures import STOP
from app.features.sign_in.throttle import SECOND_STEP
from app.features.sign_in.tickets import Tickets, new_ticket
from app.kit.clock import utc_now
from app.models import FailureCount, User
from app.settings import Settings
from tests.api.client import Api
from tests.api.operations import OPERATIONS
from tests.people.factors.acts import add_app, half_way, mails
from tests.people.visitor import PASSWORD, Known, Visitor, location

STEP = "/sign-in/second-step"
CALLED_WITHOUT_CREDENTIAL = frozenset({"/health", "/health/ping", "/audit/download.csv"})
"""The last one by a signature in its URL."""
_CODE = re.compile(r"Your code is ([0-9]{8})\.")


@pytest.mark.acceptance("M02")
async def test_after_five_wrong_codes_one_waits_and_the_right_one_does_not_help(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    app, codes = await add_app(visitor)
    half = await half_way(visitor, person.email)
    assert [(await half.submit(STEP, code="000000")).status for _ in range(5)] == [401] * 5
    reply = await half.submit(STEP, code=app.code())
    assert reply.status == 429
    assert int(reply.headers["retry-after"]) >= 1
    other = await half_way(visitor, person.email)
    assert (await other.submit(f"{STEP}/recovery-code", at=STEP, recovery_code=codes[0])).status == 429
    with sessions.begin() as db:
        moved = FailureCount.failed_at - timedelta(minutes=1)
        db.execute(update(FailureCount).where(FailureCount.user_id == person.id).values(failed_at=moved))
    assert location(await half.submit(STEP, code=app.code())) == "/account"


@pytest.mark.acceptance("M02")
async def test_after_a_hundred_wrong_codes_no_code_is_taken(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)
    half = await half_way(visitor, person.email)
    assert (await half.submit(STEP, code="000000")).status == 401
    with sessions.begin() as db:
        long_ago = utc_now() - timedelta(days=1)
        counted = update(FailureCount).where(FailureCount.user_id == person.id, FailureCount.kind == SECOND_STEP)
        db.execute(counted.values(failures=STOP, failed_at=long_ago))
    reply = await half.submit(STEP, code=app.code())
    assert reply.status == 429
    assert b'data-reason="stopped"' in reply.raw


@pytest.mark.acceptance("M02")
async def test_a_ticket_is_over_after_ten_minutes_at_most(visitor: Visitor, person: Known, settings: Settings) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)
    half = await half_way(visitor, person.email)
    claims = half.cookies[TICKET].split(".")[1]
    until = json.loads(urlsafe_b64decode(claims + "=="))["exp"]
    assert 0 < until - utc_now().timestamp() <= 600

    fields = {"csrf": (await half.get(STEP)).raw.decode().partition('name="csrf" value="')[2][:64]}
    ticket = new_ticket(person.id, 1, ("pwd",), "mfa", "/account")
    for seconds, status in ((-1, 401), (60, 303)):
        old = replace(ticket, expires_at=utc_now() + timedelta(seconds=seconds))
        half.cookies[TICKET] = Tickets(settings.secrets.ring()).mint(old)
        assert (await half.post(STEP, {**fields, "code": app.code()})).status == status


async def test_a_ticket_is_good_for_one_sign_in(visitor: Visitor, person: Known) -> None:
    await visitor.sign_in(person.email)
    app, codes = await add_app(visitor)
    half = await half_way(visitor, person.email)
    again = half.another()
    again.cookies = dict(half.cookies)
    assert location(await half.submit(STEP, code=app.code())) == "/account"
    reply = await again.submit(f"{STEP}/recovery-code", at=STEP, recovery_code=codes[0])
    assert reply.status == 401
    assert COOKIE not in again.cookies


async def test_a_ticket_is_over_when_all_sessions_are_ended(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)
    half = await half_way(visitor, person.email)
    with sessions.begin() as db:
        db.scalars(select(User).where(User.id == person.id)).one().session_version += 1
    assert (await half.submit(STEP, code=app.code())).status == 401


@pytest.mark.acceptance("M04")
async def test_half_a_sign_in_opens_no_route_of_the_api(half_signed_in: Visitor) -> None:
    ticket = half_signed_in.cookies[TICKET]
    api = Api(half_signed_in.http, half_signed_in.base, ticket)
    for operation in OPERATIONS:
        path = re.sub(r"\{[^}]+\}", "something", operation.path)
        reply = await api.call(operation.method, path, headers={"cookie": f"{COOKIE}={ticket}; {TICKET}={ticket}"})
        if operation.path not in CALLED_WITHOUT_CREDENTIAL:
            assert reply.status == 401, operation
            assert reply.body["type"].endswith(":mfa_required"), operation


@pytest.mark.acceptance("M04")
@pytest.mark.parametrize("path", ["/account", "/account/factors", "/account/factors/app", "/sign-in/again"])
async def test_half_a_sign_in_opens_no_page(half_signed_in: Visitor, path: str) -> None:
    assert location(await half_signed_in.get(path)) == STEP
    reply = await half_signed_in.post(path, {"csrf": "0"})
    assert reply.status in {401, 403, 405}
    assert COOKIE not in half_signed_in.cookies


async def test_a_mailed_code_answers_a_risk_where_there_is_no_factor(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    half = at_risk(visitor, person, settings)
    assert (await half.submit(f"{STEP}/mail", at=STEP)).status == 200
    (letter,) = mails(sessions, settings, person)
    found = _CODE.search(letter.body)
    assert found is not None
    assert (await half.submit(f"{STEP}/mailed-code", at=STEP, mailed_code="12345678")).status == 401
    other = at_risk(visitor, person, settings)
    assert (await other.submit(f"{STEP}/mailed-code", at=STEP, mailed_code=found[1])).status == 401
    assert location(await half.submit(f"{STEP}/mailed-code", at=STEP, mailed_code=found[1])) == "/account"


async def test_no_code_is_mailed_to_who_has_a_factor_nor_very_many(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session], settings: Settings
) -> None:
    half = at_risk(visitor, person, settings)
    asked = [(await half.submit(f"{STEP}/mail", at=STEP)).status for _ in range(6)]
    assert asked == [200] * 5 + [429]
    await visitor.sign_in(person.email)
    await add_app(visitor)
    before = len(mails(sessions, settings, person))
    form = {"csrf": (await half.get(STEP)).raw.decode().partition('name="csrf" value="')[2][:64]}
    assert (await half.post(f"{STEP}/mail", form)).status == 401
    assert len(mails(sessions, settings, person)) == before


def at_risk(visitor: Visitor, person: Known, settings: Settings) -> Visitor:
    """Somebody whose password was right, and whose sign-in was unlike the others."""
    half = visitor.another()
    half.cookies[TICKET] = Tickets(settings.secrets.ring()).mint(new_ticket(person.id, 1, ("pwd",), "risk", "/account"))
    return half


@pytest.mark.acceptance("S06")
async def test_however_long_the_way_on_is_the_ticket_is_a_cookie_that_browsers_keep(
    visitor: Visitor, person: Known
) -> None:
    await visitor.sign_in(person.email)
    app, _ = await add_app(visitor)
    other = visitor.another()
    await other.submit("/sign-in", email=person.email, password=PASSWORD, next="/oauth/authorize?state=" + "x" * 4000)
    assert len(TICKET) + 1 + len(other.cookies[TICKET]) <= 4096
    assert location(await other.submit(STEP, code=app.code())) == "/account"
