"""Limits for a person and for a browser, on the pages and by access tokens."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.auth import devices
from app.auth.people import COOKIE
from app.main import create_app
from app.settings import Settings
from tests.api.client import Api, Reply, Tenant, served
from tests.api.test_limits import DAY, is_limit, limited, policies, standings
from tests.people.oidc.granting import Granter
from tests.people.sessions.acts import PHONE
from tests.people.visitor import Known, Visitor, new_person

ROUTE = "/account"


@asynccontextmanager
async def visited(settings: Settings, http: aiohttp.ClientSession, rates: Mapping[str, str]) -> AsyncIterator[Visitor]:
    """Somebody at a browser, where pages have these limits and no others."""
    async with served(create_app(limited(settings, {"page": {"user": "", "device": "", **rates}}))) as url:
        yield Visitor(http, url)


def is_limited(reply: Reply) -> bool:
    """Whether this is a page that refuses, and says for how long."""
    if reply.status != 429:
        return False
    assert b'data-reason="limit_reached"' in reply.raw
    assert int(reply.headers["retry-after"]) >= 1
    assert min(one["r"] for one in standings(reply).values()) == 0
    return True


async def after(visitor: Visitor, requests: int) -> list[bool]:
    return [is_limited(await visitor.get(ROUTE)) for _ in range(requests)]


@pytest.mark.acceptance("L01")
class TestPages:
    async def test_a_person_has_a_limit_over_all_browsers(
        self, settings: Settings, http: aiohttp.ClientSession, person: Known, second: Known
    ) -> None:
        async with visited(settings, http, {"user": f"6/{DAY}"}) as one:
            other, stranger = one.another(), one.another()
            other.headers = {"user-agent": PHONE}
            for visitor, who in ((one, person), (other, person), (stranger, second)):
                assert (await visitor.sign_in(who.email)).status == 303
            assert await after(one, 4) == [False] * 4
            assert await after(other, 4) == [False, False, True, True]
            assert await after(stranger, 2) == [False] * 2

    async def test_a_browser_has_a_limit_over_all_people(
        self, settings: Settings, http: aiohttp.ClientSession, person: Known, second: Known
    ) -> None:
        async with visited(settings, http, {"device": f"9/{DAY}"}) as one:
            await one.sign_in(person.email)
            assert devices.COOKIE in one.cookies
            assert await after(one, 5) == [False] * 5
            del one.cookies[COOKIE]
            assert (await one.sign_in(second.email)).status == 303  # two more: the form is shown, then sent
            assert await after(one, 4) == [False, False, True, True]
            other = one.another()
            await other.sign_in(person.email)
            assert await after(other, 2) == [False] * 2

    async def test_a_forged_device_is_nobodys(
        self, settings: Settings, http: aiohttp.ClientSession, person: Known
    ) -> None:
        async with visited(settings, http, {"device": f"2/{DAY}"}) as one:
            await one.sign_in(person.email)
            one.cookies[devices.COOKIE] = "forged"
            assert await after(one, 5) == [False] * 5

    async def test_answers_tell_where_both_stand(
        self, settings: Settings, http: aiohttp.ClientSession, person: Known
    ) -> None:
        async with visited(settings, http, {"user": f"50/{DAY}", "device": f"40/{DAY}"}) as one:
            await one.sign_in(person.email)
            reply = await one.get(ROUTE)
            quotas = {name: told["q"] for name, told in policies(reply).items()}
            assert quotas == {"page-user": 50, "page-device": 40}
            assert {name: one["r"] for name, one in standings(reply).items()} == {"page-user": 49, "page-device": 39}

    async def test_it_is_exact_when_all_come_at_once(
        self, settings: Settings, http: aiohttp.ClientSession, person: Known
    ) -> None:
        async with visited(settings, http, {"user": f"100/{DAY}"}) as one:
            await one.sign_in(person.email)
            await one.get("/sign-in")
            asked = [one.another() for _ in range(120)]
            for each in asked:
                each.cookies = dict(one.cookies)
            replies = await asyncio.gather(*(each.get("/sign-in") for each in asked))
            assert Counter(reply.status for reply in replies) == {303: 99, 429: 21}


async def test_whoever_is_not_known_is_not_counted_by_either(
    settings: Settings, http: aiohttp.ClientSession, sessions: sessionmaker[Session]
) -> None:
    async with visited(settings, http, {"user": f"1/{DAY}", "device": f"1/{DAY}"}) as one:
        replies = [await one.get("/sign-in") for _ in range(5)]
        assert [reply.status for reply in replies] == [200] * 5
        assert "ratelimit" not in replies[-1].headers


@pytest.mark.acceptance("L01")
@pytest.mark.parametrize(("name", "path"), [("read", "/app"), ("administration", "/organisation")])
async def test_a_person_has_a_limit_over_all_clients_of_the_api(
    settings: Settings,
    http: aiohttp.ClientSession,
    sessions: sessionmaker[Session],
    tenant: Tenant,
    name: str,
    path: str,
) -> None:
    granter = Granter(sessions, settings)
    person = new_person(sessions, tenant.organisation_id)
    of_person = [granter.access(granter.grant(granter.client(tenant), person)).text for _ in range(2)]
    of_program = granter.access(granter.grant(granter.client(tenant))).text
    async with served(create_app(limited(settings, {name: {"user": f"4/{DAY}"}}))) as url:
        one, other, program = (Api(http, url, token) for token in (*of_person, of_program))
        assert [(await one.get(path)).status for _ in range(3)] == [200] * 3
        replies = [await other.get(path) for _ in range(2)]
        assert [reply.status for reply in replies] == [200, 429]
        assert list(policies(replies[0])) == [f"{name}-user"]
        assert is_limit(replies[1])
        assert [(await program.get(path)).status for _ in range(6)] == [200] * 6
