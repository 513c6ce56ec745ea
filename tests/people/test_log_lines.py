"""What is logged while people sign in, at the most talkative level: nothing that they would not have others read."""

import logging
from collections.abc import Iterable

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from app.kit.telemetry.lines import Json
from tests.canaries import plant
from tests.people.visitor import PASSWORD, Known, Visitor, new_person

WRONG = plant("a wrong password", "a horse of another colour")


def written(records: Iterable[logging.LogRecord]) -> str:
    lines = Json("api")
    return "\n".join(lines.format(one) for one in records)


async def test_who_signs_in_and_how_is_not_logged(
    visitor: Visitor, person: Known, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert (await visitor.sign_in(person.email, WRONG)).status == 401
    assert (await visitor.sign_in(person.email)).status == 303
    await visitor.get(f"/account?next={person.email}")
    text = written(caplog.records)
    assert text.count("request_served") >= 3
    secrets = (PASSWORD, WRONG, person.email, *visitor.cookies.values())
    assert [one for one in secrets if one in text] == []


def test_what_the_database_says_of_a_person_is_not_logged(
    person: Known, sessions: sessionmaker[Session], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(IntegrityError, match="email") as raised:
        new_person(sessions, person.organisation_id, email=person.email)
    logging.getLogger("app.some").error("request_failed", exc_info=raised.value)
    text = written(caplog.records)
    assert "parameters hidden" in text
    assert person.email not in text
