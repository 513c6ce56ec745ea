"""Passwords cannot be guessed: neither for one person, nor one for many."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.failures import STOP
from app.features.sign_in.queries import UNKNOWN_DEVICE
from app.features.sign_in.throttle import PASSWORD
from app.kit.clock import utc_now
from app.models import AuditEvent, FailureCount
from tests.people.visitor import Known, Visitor, new_person

Stranger = Callable[[], Visitor]


def failures(sessions: sessionmaker[Session], user_id: UUID) -> int:
    with sessions.begin() as db:
        wanted = select(FailureCount.failures).where(FailureCount.user_id == user_id, FailureCount.kind == PASSWORD)
        return db.scalar(wanted) or 0


def pass_time(sessions: sessionmaker[Session], user_id: UUID, minutes: float) -> None:
    """Lets the last failure lie further back."""
    with sessions.begin() as db:
        moved = FailureCount.failed_at - timedelta(minutes=minutes)
        db.execute(update(FailureCount).where(FailureCount.user_id == user_id).values(failed_at=moved))


@pytest.mark.acceptance("P10")
async def test_ten_failures_are_possible_in_fifteen_minutes_and_no_eleventh(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    waited, tried = 0, 0
    while waited < 15 * 60:
        reply = await stranger().sign_in(person.email, "wrong")
        if reply.status == 401:
            tried += 1
            continue
        assert reply.status == 429
        assert 'data-reason="throttled"' in reply.raw.decode()
        wait = int(reply.headers["retry-after"])
        waited += wait
        pass_time(sessions, person.id, wait / 60)
    assert tried == 10
    assert failures(sessions, person.id) == 10


@pytest.mark.acceptance("P10")
async def test_very_many_tries_at_once_are_counted_one_by_one(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    strangers = [stranger() for _ in range(20)]
    statuses: Counter[int] = Counter()
    while strangers:
        await asyncio.gather(*(one.get("/sign-in") for one in strangers))
        replies = await asyncio.gather(*(one.sign_in(person.email, "wrong") for one in strangers))
        statuses.update(one.status for one in replies if one.status != 503)
        # One after the other goes in; who waited for its turn in vain has tried nothing, and comes again.
        strangers = [one for one, reply in zip(strangers, replies, strict=True) if reply.status == 503]
    assert statuses == {401: 5, 429: 15}


@pytest.mark.acceptance("P10")
async def test_while_one_waits_the_right_password_is_refused_as_well(stranger: Stranger, person: Known) -> None:
    for _ in range(5):
        await stranger().sign_in(person.email, "wrong")
    assert (await stranger().sign_in(person.email)).status == 429


@pytest.mark.acceptance("P10")
async def test_a_hundred_failures_in_a_row_are_a_stop(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        db.add(
            FailureCount(
                user_id=person.id,
                kind=PASSWORD,
                device_id=UNKNOWN_DEVICE,
                failures=STOP - 1,
                failed_at=utc_now() - timedelta(hours=1),
            )
        )
    assert (await stranger().sign_in(person.email, "wrong")).status == 401
    pass_time(sessions, person.id, 7 * 24 * 60)
    reply = await stranger().sign_in(person.email)
    assert (reply.status, "retry-after" in reply.headers) == (429, True)
    assert 'data-reason="stopped"' in reply.raw.decode()


@pytest.mark.acceptance("P10")
async def test_a_success_begins_the_count_anew(
    stranger: Stranger, person: Known, sessions: sessionmaker[Session]
) -> None:
    for _ in range(4):
        assert (await stranger().sign_in(person.email, "wrong")).status == 401
    assert (await stranger().sign_in(person.email)).status == 303
    assert failures(sessions, person.id) == 0


@pytest.mark.acceptance("P06")
async def test_an_address_that_nobody_has_is_throttled_as_one_that_somebody_has(
    stranger: Stranger, person: Known
) -> None:
    asked = {}
    for address in (person.email, "nobody@example.test"):
        replies = [await stranger().sign_in(address, "wrong") for _ in range(7)]
        asked[address] = [(one.status, one.headers.get("retry-after")) for one in replies]
    known, unknown = asked.values()
    assert known == unknown
    assert [status for status, _ in known] == 5 * [401] + 2 * [429]


@pytest.mark.acceptance("P11")
async def test_one_password_for_fifty_people_from_one_address_is_stopped_and_written_down(
    visitor: Visitor, sessions: sessionmaker[Session], person: Known
) -> None:
    people = [new_person(sessions, person.organisation_id, password=None) for _ in range(50)]
    replies = [await visitor.sign_in(one.email, "Winter2026!") for one in people]
    assert [one.status for one in replies] == 30 * [401] + 20 * [429]
    assert all(int(one.headers["retry-after"]) > 600 for one in replies[30:])
    assert (await visitor.sign_in(person.email)).status == 429
    address = visitor.headers["x-forwarded-for"]
    await written(sessions, "sign_in.sprayed", address, 21)
    await written(sessions, "session.refused", address, 30)


async def written(sessions: sessionmaker[Session], action: str, address: str, count: int) -> None:
    """Returns when the audit log holds so many such events of an address; they are written down a few at a time."""
    events = select(AuditEvent.count).where(AuditEvent.action == action, AuditEvent.ip == address)
    found = 0
    async with asyncio.timeout(20):
        while found < count:
            await asyncio.sleep(0.2)
            with sessions.begin() as db:
                found = sum(db.scalars(events))
    assert found == count
