"""A browser that a person has signed in with is counted apart: whoever guesses elsewhere keeps nobody out."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.devices import COOKIE as DEVICE
from app.auth.people import COOKIE, TICKET
from app.domain.failures import STOP
from app.features.sign_in.queries import UNKNOWN_DEVICE
from app.features.sign_in.throttle import PASSWORD
from app.kit.clock import utc_now
from app.models import FailureCount
from tests.people.visitor import Known, Visitor, new_person

Stranger = Callable[[], Visitor]


async def at_its_own_browser(visitor: Visitor, person: Known) -> Visitor:
    """Somebody who was here, and is signed out."""
    await visitor.sign_in(person.email)
    await visitor.submit("/sign-in/out", at="/account")
    return visitor


def counts(sessions: sessionmaker[Session], person: Known) -> dict[UUID, int]:
    with sessions.begin() as db:
        rows = db.scalars(select(FailureCount).where(FailureCount.user_id == person.id))
        return {row.device_id: row.failures for row in rows}


@pytest.mark.acceptance("P10")
async def test_a_stranger_who_fails_keeps_the_person_out_nowhere_that_it_was_before(
    visitor: Visitor, stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    own = await at_its_own_browser(visitor, person)
    for _ in range(5):
        assert (await stranger().sign_in(person.email, "wrong")).status == 401
    assert (await stranger().sign_in(person.email, "wrong")).status == 429
    assert (await own.sign_in(person.email)).status == 303
    assert counts(sessions, person) == {UNKNOWN_DEVICE: 5}


@pytest.mark.acceptance("P10")
async def test_not_even_a_hundred_failures_of_strangers_do(
    visitor: Visitor, stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    own = await at_its_own_browser(visitor, person)
    with sessions.begin() as db:
        counted = {"device_id": UNKNOWN_DEVICE, "failures": STOP, "failed_at": utc_now()}
        db.add(FailureCount(user_id=person.id, kind=PASSWORD, **counted))
    assert (await stranger().sign_in(person.email)).status == 429
    assert (await own.sign_in(person.email)).status == 303


@pytest.mark.acceptance("P10")
async def test_a_known_device_has_no_more_tries_than_others(
    visitor: Visitor, stranger: Stranger, person: Known
) -> None:
    own = await at_its_own_browser(visitor, person)
    for _ in range(5):
        assert (await own.sign_in(person.email, "wrong")).status == 401
    assert (await own.sign_in(person.email)).status == 429
    assert (await stranger().sign_in(person.email, "wrong")).status == 401


@pytest.mark.acceptance("P10")
async def test_the_device_of_somebody_else_counts_for_nothing(
    visitor: Visitor, stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    own = await at_its_own_browser(visitor, new_person(sessions, person.organisation_id))
    for _ in range(5):
        thief = stranger()
        thief.cookies[DEVICE] = own.cookies[DEVICE]
        assert (await thief.sign_in(person.email, "wrong")).status == 401
    assert counts(sessions, person) == {UNKNOWN_DEVICE: 5}
    assert (await stranger().sign_in(person.email, "wrong")).status == 429


@pytest.mark.acceptance("P11")
async def test_the_own_browser_gets_in_where_others_at_its_address_have_spent_all_tries(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    own = await at_its_own_browser(visitor, person)
    neighbour = own.another()
    for number in range(31):
        await neighbour.sign_in(f"nobody{number}@example.test", "wrong")
    assert neighbour.page.status == 429
    assert (await own.another().sign_in(person.email)).status == 429
    await own.sign_in(person.email)
    # So many failures around it make the sign-in look risky: it may have to show more, and is not sent away.
    assert TICKET in own.cookies or COOKIE in own.cookies
