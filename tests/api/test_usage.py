"""A monthly quota of events: what the operator sets, what is refused, and how far processes may be off."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime

import aiohttp
import psycopg
import pytest
import pytest_asyncio
import redis
from click.testing import CliRunner
from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls, plain_url
from app.cli.main import main
from app.domain import ids
from app.features.organisations.usage import LONGEST_RETRY, _exceeded
from app.main import create_app
from app.settings import Settings
from tests.api.client import Api, Reply, Tenant, new_tenant, served
from tests.servers import Servers

Run = Callable[..., str]
SOON = 10.0


@pytest.fixture
def run(environment: Mapping[str, str], tenant: Tenant) -> Run:
    """`postrider orgs quota` for the fresh organisation."""

    def quota(*words: str) -> str:
        done = CliRunner(env=environment).invoke(
            main, ["orgs", "quota", ids.encode("org", tenant.organisation_id), *words]
        )
        assert done.exit_code == 0, done.output
        return done.output

    return quota


@pytest_asyncio.fixture
async def neighbour(settings: Settings, http: aiohttp.ClientSession, tenant: Tenant) -> AsyncIterator[Api]:
    """The same organisation at another process of the API, as far as usage goes."""
    async with served(create_app(settings)) as url:
        yield Api(http, url, tenant.key)


@pytest_asyncio.fixture
async def post(api: Api) -> Callable[[Api], Awaitable[Reply]]:
    """Posts a message to the organisation's one application."""
    assert (await api.post("/app", {"name": "one", "uid": "one"})).status == 201
    return lambda at: at.post("/app/one/msg", {"eventType": "a.b", "payload": {}})


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await is_so():  # noqa: ASYNC110 the processes that it is about tell nobody
            await asyncio.sleep(0.05)


Post = Callable[[Api], Awaitable[Reply]]


async def test_what_is_beyond_the_quota_is_refused_until_the_month_is_over(api: Api, post: Post, run: Run) -> None:
    run("5")
    replies = [await post(api) for _ in range(7)]
    assert [reply.status for reply in replies] == [202] * 5 + [429] * 2
    refused = replies[-1]
    assert refused.code == "limit_reached"
    assert refused.body["type"] == "urn:postrider:error:quota_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= LONGEST_RETRY.total_seconds()


async def test_the_route_behind_the_fast_way_holds_to_it_too(api: Api, post: Post, run: Run) -> None:
    run("1")
    body = {"eventType": "a.b", "payload": {}}
    replies = [await api.call("POST", "/app/one/msg", body, query={"with_content": "false"}) for _ in range(2)]
    assert [reply.status for reply in replies] == [202, 429]
    assert replies[-1].body["type"] == "urn:postrider:error:quota_exceeded"


async def test_what_is_refused_or_repeated_is_not_counted(api: Api, post: Post, run: Run) -> None:
    run("2")
    assert (await api.post("/app/one/msg", {"eventType": "a.b"})).status == 422
    assert (await api.post("/app/none/msg", {"eventType": "a.b", "payload": {}})).status == 404
    for _ in range(3):
        assert (await api.post("/app/one/msg", {"eventType": "a.b", "payload": {}}, key="k")).status == 202
    assert [(await post(api)).status for _ in range(2)] == [202, 429]


async def test_many_at_once_exceed_it_by_no_more_than_are_being_stored(api: Api, post: Post, run: Run) -> None:
    run("20")
    rounds = [await asyncio.gather(*(post(api) for _ in range(16))) for _ in range(5)]
    statuses = Counter(reply.status for replies in rounds for reply in replies)
    assert 20 <= statuses[202] <= 20 + 15
    assert statuses[202] + statuses[429] == 80


async def test_another_process_holds_to_it_as_soon_as_it_has_read_the_total(
    api: Api, neighbour: Api, post: Post, run: Run
) -> None:
    run("10")
    assert (await post(neighbour)).status == 202
    accepted = Counter([(await post(api)).status for _ in range(12)])
    assert accepted[202] in {9, 10}

    async def is_refused() -> bool:
        # What is refused by its body is not counted, and the quota is looked at before that.
        return (await neighbour.post("/app/one/msg", {"eventType": "a.b"})).status == 429

    await eventually(is_refused)


async def test_a_quota_that_is_raised_lets_more_in(api: Api, post: Post, run: Run) -> None:
    run("0")
    assert (await post(api)).status == 429
    for words in (("3",), ("unlimited",)):
        run(*words)

        async def is_accepted() -> bool:
            return (await post(api)).status == 202

        await eventually(is_accepted)


async def test_what_was_used_is_shown_and_outlives_redis_and_the_process(
    settings: Settings, http: aiohttp.ClientSession, servers: Servers, tenant: Tenant, run: Run
) -> None:
    assert run() == "unlimited a month, 0 used in this one\n"
    assert run("3") == "3 a month, 0 used in this one\n"
    body = {"eventType": "a.b", "payload": {}}
    async with served(create_app(settings)) as url:
        api = Api(http, url, tenant.key)
        assert (await api.post("/app", {"name": "one", "uid": "one"})).status == 201
        assert [(await api.post("/app/one/msg", body)).status for _ in range(4)] == [202] * 3 + [429]
    assert run() == "3 a month, 3 used in this one\n"
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    async with served(create_app(settings)) as url:
        assert (await Api(http, url, tenant.key).post("/app/one/msg", body)).status == 429
    assert run("unlimited") == "unlimited a month, 3 used in this one\n"


async def test_the_events_of_an_organisation_are_its_own(
    api: Api, post: Post, run: Run, sessions: sessionmaker[Session]
) -> None:
    run("0")
    other = api.with_credential(new_tenant(sessions).key)
    assert (await other.post("/app", {"name": "one", "uid": "one"})).status == 201
    assert ((await post(api)).status, (await post(other)).status) == (429, 202)


async def test_it_is_counted_by_month(api: Api, post: Post, run: Run, tenant: Tenant, database: DatabaseUrls) -> None:
    with psycopg.connect(plain_url(database.worker), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO organisation_usage"
            " VALUES (%s, date_trunc('month', now() AT TIME ZONE 'utc') - interval '1 month', 9)",
            [tenant.organisation_id],
        )
    run("1")
    assert [(await post(api)).status for _ in range(2)] == [202, 429]


async def test_what_could_not_be_added_is_added_later(api: Api, post: Post, run: Run) -> None:
    failures = iter([True, True])

    async def is_added() -> bool:
        return "3 used" in run()

    def fail(db: Session) -> None:
        if db.get_bind().dialect.driver == "asyncpg" and next(failures, False):
            msg = "the connection is gone"
            raise ConnectionResetError(msg)

    for _ in range(3):
        assert (await post(api)).status == 202
    event.listen(Session, "before_commit", fail)
    try:
        await eventually(is_added)
    finally:
        event.remove(Session, "before_commit", fail)
    assert next(failures, None) is None


@pytest.mark.parametrize("word", ["-1", "many", "1.5", "1" * 19, "٣"])
def test_what_is_no_quota_is_a_usage_error(environment: Mapping[str, str], tenant: Tenant, word: str) -> None:
    arguments = ["orgs", "quota", ids.encode("org", tenant.organisation_id), "--", word]
    refused = CliRunner(env=environment).invoke(main, arguments)
    assert refused.exit_code == 2
    assert re.search("neither a number of at most 18 digits nor unlimited", refused.output)


def test_no_quota_without_an_organisation(environment: Mapping[str, str]) -> None:
    for words in ([], ["5"]):
        refused = CliRunner(env=environment).invoke(main, ["orgs", "quota", "org_01jd0000000000000000000000", *words])
        assert (refused.exit_code, refused.output) == (1, "Error: there is no such organisation\n")


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 12, 31, 23, 59, 30, tzinfo=UTC), 30),
        (datetime(2028, 2, 29, 23, 30, tzinfo=UTC), 1800),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), 3600),
        (datetime(2026, 3, 1, tzinfo=UTC), 3600),
    ],
)
def test_a_client_waits_until_the_month_is_over_or_an_hour(now: datetime, seconds: float) -> None:
    assert _exceeded(5, now).retry_after == seconds
