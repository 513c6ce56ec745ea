"""What people, clients and mail leave behind goes in time, in small steps that read what they delete."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from app.domain.failures import STOP
from app.features.retention import people_queries
from app.features.retention.operations import KEPT, retain
from app.kit.clock import new_id
from app.kit.db import Base, table_of
from app.models import (
    FailureCount,
    Invitation,
    LogoutNotice,
    Mail,
    OAuthCode,
    OAuthFamily,
    OAuthRefreshToken,
    OneTimeToken,
    PersonSession,
    RevokedToken,
    UsedTicket,
    User,
)
from tests.worker.house import House

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
# Of each table: the column by which it is over, and for how long after that a row stays.
STAYS: dict[type[Base], tuple[str, timedelta]] = {
    OneTimeToken: ("expires_at", timedelta()),
    UsedTicket: ("expires_at", timedelta()),
    RevokedToken: ("expires_at", timedelta()),
    OAuthCode: ("expires_at", DAY),
    OAuthFamily: ("expires_at", timedelta()),
    FailureCount: ("failed_at", 30 * DAY),
    PersonSession: ("expires_at", KEPT),
    Invitation: ("expires_at", KEPT),
    Mail: ("created_at", 30 * DAY),
    LogoutNotice: ("created_at", 30 * DAY),
}


@pytest.fixture
def somebody(house: House, sessions: sessionmaker[Session]) -> Iterator[tuple[Any, Any]]:
    """An organisation and a person; nothing of other tests is left."""
    with sessions.begin() as db:
        for model in STAYS:
            db.execute(delete(model))
    user_id = new_id()
    organisation_id = new_id()
    with sessions.begin() as db:
        db.execute(text("INSERT INTO organisations (id, name) VALUES (:id, 'o')"), {"id": organisation_id})
        db.add(User(id=user_id, email="a@b.test", email_key=f"{user_id.hex}@b.test", name=""))
    yield organisation_id, user_id
    with sessions.begin() as db:
        for model in STAYS:
            db.execute(delete(model))


def rows(organisation_id: Any, user_id: Any, over_for: timedelta) -> list[Base]:  # noqa: ANN401 ids
    """A row of each table that is over for so long beyond its time."""

    def at(model: type[Base]) -> dict[str, datetime]:
        column, stays = STAYS[model]
        return {column: datetime.now(UTC) - stays - over_for}

    org, user, family = {"organisation_id": organisation_id}, {"user_id": user_id}, new_id()
    session = {"session_version": 1, "methods": ["pwd"], "user_agent": ""}
    return [
        OneTimeToken(**user, id=new_id(), purpose="sign_in", digest=b"", data={}, **at(OneTimeToken)),
        UsedTicket(owner_id=user_id, ticket_id=new_id(), **at(UsedTicket)),
        RevokedToken(**org, token_id=new_id().hex, **at(RevokedToken)),
        OAuthFamily(**org, id=family, client_id=uuid4(), scopes=[], methods=[], **at(OAuthFamily)),
        OAuthCode(
            **org,
            **user,
            id=new_id(),
            family_id=family,
            client_id=uuid4(),
            digest=b"",
            redirect_uri="",
            challenge="",
            scopes=[],
            **at(OAuthCode),
        ),
        OAuthRefreshToken(**org, family_id=family, id=new_id(), digest=b"", scopes=[]),
        FailureCount(user_id=new_id(), kind="password", device_id=new_id(), failures=3, **at(FailureCount)),
        PersonSession(**user, id=new_id(), digest=b"", **session, **at(PersonSession)),
        Invitation(
            **org,
            id=new_id(),
            email="a",
            email_key=new_id().hex,
            role="viewer",
            digest=b"",
            invited_by="",
            **at(Invitation),
        ),
        Mail(owner_id=user_id, id=new_id(), kind="invitation", **at(Mail)),
        LogoutNotice(**org, **user, id=new_id(), client_id=uuid4(), session_id=uuid4(), **at(LogoutNotice)),
    ]


def counted(sessions: sessionmaker[Session]) -> dict[str, int]:
    models: list[type[Base]] = [*STAYS, OAuthRefreshToken]
    with sessions() as db:
        return {table_of(one).name: db.scalar(select(func.count()).select_from(table_of(one))) or 0 for one in models}


def test_what_is_over_goes_and_what_is_not_stays(sessions: sessionmaker[Session], somebody: tuple[Any, Any]) -> None:
    with sessions.begin() as db:
        for over_for in (MINUTE, DAY, -MINUTE):
            for row in rows(*somebody, over_for):
                db.add(row)
                db.flush()
    assert set(counted(sessions).values()) == {3}
    report = retain(sessions)
    assert set(counted(sessions).values()) == {1}
    assert {name: report.deleted[name] for name in people_queries.purges(KEPT, 1)} == dict.fromkeys(
        people_queries.purges(KEPT, 1), 2
    )
    assert retain(sessions).deleted["sessions"] == 0


def test_a_stop_stays_until_a_mail_ends_it(sessions: sessionmaker[Session], somebody: tuple[Any, Any]) -> None:
    long_ago = datetime.now(UTC) - 400 * DAY
    with sessions.begin() as db:
        for failures in (STOP - 1, STOP):
            key = {"user_id": new_id(), "kind": "password", "device_id": new_id()}
            db.add(FailureCount(**key, failures=failures, failed_at=long_ago))
    retain(sessions)
    with sessions() as db:
        assert db.scalars(select(FailureCount.failures)).all() == [STOP]


def test_each_step_finds_what_is_over_by_an_index(sessions: sessionmaker[Session], somebody: tuple[Any, Any]) -> None:
    with sessions.begin() as db:
        for _ in range(300):
            db.add_all(rows(*somebody, -DAY))
            db.flush()
    with sessions.begin() as db:
        db.execute(text("SET LOCAL enable_seqscan = off"))
        for name, statement in people_queries.purges(KEPT, 10).items():
            sql = str(statement.compile(db.connection(), compile_kwargs={"literal_binds": True}))
            plan = "\n".join(str(row[0]) for row in db.connection().exec_driver_sql(f"EXPLAIN {sql}"))
            assert "Seq Scan" not in plan, plan
            assert f"Index Scan using ix_{name}" in plan or f"Bitmap Index Scan on ix_{name}" in plan, plan
