"""While Redis is out, signing in stays limited: by each process alone."""

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from tests.api.test_limits import called, limited
from tests.kit.rate_limits.own_redis import own_redis
from tests.people.accounts.conftest import ADDRESSES
from tests.people.visitor import Known, Visitor, new_person


@pytest.mark.acceptance("L03")
@pytest.mark.acceptance("P11")
async def test_spraying_is_stopped_without_redis_and_people_get_in(
    settings: Settings, http: aiohttp.ClientSession, person: Known, sessions: sessionmaker[Session]
) -> None:
    with own_redis() as redis:
        async with called(limited(settings, {}, redis.url), http, None) as api:
            people = [new_person(sessions, person.organisation_id, password=None) for _ in range(32)]
            sprayer, somebody = (
                Visitor(http, api.base, {"user-agent": "Tester/1", "x-forwarded-for": next(ADDRESSES)})
                for _ in range(2)
            )
            assert (await sprayer.sign_in(people[0].email, "Winter2026!")).status == 401
            redis.stop()
            replies = [await sprayer.sign_in(one.email, "Winter2026!") for one in people[1:]]
            assert [one.status for one in replies] == 29 * [401] + 2 * [429]
            assert (await somebody.sign_in(person.email)).status == 303
