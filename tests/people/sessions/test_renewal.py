"""A session gets another secret whenever what it may changes."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.features.sessions import operations
from app.models import PersonSession
from tests.people.sessions.acts import session_of
from tests.people.visitor import Known, Visitor


@pytest.mark.acceptance("S03")
async def test_a_renewed_session_is_the_same_one_with_another_secret(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    fixed, session_id = visitor.another(), session_of(visitor)
    fixed.cookies[COOKIE] = visitor.cookies[COOKIE]
    with sessions.begin() as db:
        before = db.scalars(select(PersonSession).where(PersonSession.id == session_id)).one().reauthenticated_at
        renewed = operations.renew(db, person.id, session_id, methods=["pwd", "otp"], reauthenticated=True)
    assert renewed is not None
    visitor.cookies[COOKIE] = renewed
    assert session_of(visitor) == session_id
    assert (await visitor.get("/account")).status == 200
    assert (await fixed.get("/account")).status == 303
    with sessions.begin() as db:
        row = db.scalars(select(PersonSession).where(PersonSession.id == session_id)).one()
        assert row.methods == ["pwd", "otp"]
        assert row.reauthenticated_at > before


async def test_a_session_that_is_over_is_not_renewed(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    await visitor.sign_in(person.email)
    with sessions.begin() as db:
        assert operations.end(db, person.id, session_of(visitor), "test")
        assert operations.renew(db, person.id, session_of(visitor)) is None
