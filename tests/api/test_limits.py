"""Rate limits as callers meet them: whom they count, what they tell, and what is left of them without Redis."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import http_sf
import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker
from starlette.types import ASGIApp, Message

from app.domain.limits import RouteClass
from app.kit.circuit import REST_SECONDS
from app.main import create_app
from app.settings import RateLimits, Settings
from tests.api.client import Api, Reply, Tenant, new_tenant, served
from tests.kit.rate_limits.own_redis import own_redis
from tests.system import running_system

# No test takes that long; on a busy machine an answer of Redis may take longer than anybody would wait.
DAY, PATIENT = "day", 20.0
NOBODY = "192.0.2.1"
FORGED = {"x-forwarded-for": NOBODY, "x-real-ip": NOBODY, "forwarded": f"for={NOBODY}"}
UNKNOWN_KEY = "sk_unknown"


def limited(settings: Settings, classes: Mapping[str, object], redis_url: str | None = None) -> Settings:
    """The settings with these rates and no others."""
    none = {name: {"ip": ""} for name in RouteClass}
    limits = RateLimits.model_validate({"patience_seconds": PATIENT, **none, **classes})
    update: dict[str, object] = {"limits": limits}
    if redis_url is not None:
        update["redis"] = settings.redis.model_copy(update={"url": SecretStr(redis_url)})
    return settings.model_copy(update=update)


@asynccontextmanager
async def called(settings: Settings, http: aiohttp.ClientSession, key: str | None) -> AsyncIterator[Api]:
    """The API with these settings, as the holder of the key calls it."""
    async with served(create_app(settings)) as url:
        yield Api(http, url, key)


@asynccontextmanager
async def from_address(host: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections from another address of loopback."""
    connector = aiohttp.TCPConnector(local_addr=(host, 0))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield session


def new_address() -> str:
    """An address of loopback that no other test calls from."""
    return ".".join(["127", *(str(secrets.randbelow(250) + 2) for _ in range(3))])


def policies(reply: Reply) -> dict[str, Any]:
    """The policies that an answer tells, by their names."""
    return _parsed(reply, "ratelimit-policy")


def standings(reply: Reply) -> dict[str, Any]:
    """What remains, by the names of the policies."""
    return _parsed(reply, "ratelimit")


def _parsed(reply: Reply, field: str) -> dict[str, Any]:
    items: Any = http_sf.parse(reply.headers[field].encode(), tltype="list")
    return dict(items)


def is_limit(reply: Reply) -> bool:
    """Whether this is a refusal that says how long to wait."""
    assert reply.status == 429, reply.raw
    assert reply.body["code"] == "limit_reached"
    assert reply.body["type"] == "urn:postrider:error:limit_reached"
    assert int(reply.headers["retry-after"]) >= 1
    assert min(one["r"] for one in standings(reply).values()) == 0
    return True


def another_key(sessions: sessionmaker[Session], tenant: Tenant) -> str:
    return new_tenant(sessions, organisation_id=tenant.organisation_id).key


async def post_message(api: Api) -> Reply:
    return await api.post("/app/nothing/msg", {"eventType": "a.b", "payload": {}})


Call = Callable[[Api], Awaitable[Reply]]
CLASSES: Mapping[str, Call] = {
    "read": lambda api: api.get("/app"),
    "write": lambda api: api.delete("/app/nothing"),
    "ingest": post_message,
    "administration": lambda api: api.post("/auth/app-portal-access/nothing", {}),
}


@pytest.mark.acceptance("L01")
@pytest.mark.parametrize("name", CLASSES)
class TestEachClass:
    """The same for reads, writes, messages and administration."""

    async def test_a_key_has_its_own_limit(
        self,
        settings: Settings,
        http: aiohttp.ClientSession,
        sessions: sessionmaker[Session],
        tenant: Tenant,
        name: str,
    ) -> None:
        call = CLASSES[name]
        async with called(limited(settings, {name: {"key": f"5/{DAY}"}}), http, tenant.key) as api:
            replies = [await call(api) for _ in range(7)]
            assert [reply.status == 429 for reply in replies] == [False] * 5 + [True] * 2
            assert is_limit(replies[-1])
            assert (await call(api.with_credential(another_key(sessions, tenant)))).status != 429

    async def test_an_organisation_has_one_limit_for_all_its_keys(
        self,
        settings: Settings,
        http: aiohttp.ClientSession,
        sessions: sessionmaker[Session],
        tenant: Tenant,
        name: str,
    ) -> None:
        call = CLASSES[name]
        async with called(limited(settings, {name: {"organisation": f"6/{DAY}"}}), http, tenant.key) as api:
            other = api.with_credential(another_key(sessions, tenant))
            replies = [await call(one) for _ in range(4) for one in (api, other)]
            assert [reply.status == 429 for reply in replies] == [False] * 6 + [True] * 2
            assert is_limit(replies[-1])
            assert (await call(api.with_credential(new_tenant(sessions).key))).status != 429

    async def test_an_address_has_one_limit_for_all_that_call_from_it_whatever_their_headers_say(
        self, settings: Settings, sessions: sessionmaker[Session], tenant: Tenant, name: str
    ) -> None:
        host, call = new_address(), CLASSES[name]
        async with (
            from_address(host) as http,
            from_address(host, FORGED) as forging,
            from_address(new_address()) as elsewhere,
            called(limited(settings, {name: {"ip": f"4/{DAY}"}}), http, tenant.key) as api,
        ):
            other = Api(forging, api.base, new_tenant(sessions).key)
            replies = [await call(one) for _ in range(3) for one in (api, other)]
            assert [reply.status == 429 for reply in replies] == [False] * 4 + [True] * 2
            assert is_limit(replies[-1])
            assert (await call(Api(elsewhere, api.base, tenant.key))).status != 429

    async def test_other_classes_are_not_spent(
        self, settings: Settings, http: aiohttp.ClientSession, tenant: Tenant, name: str
    ) -> None:
        async with called(limited(settings, {name: {"key": f"1/{DAY}"}}), http, tenant.key) as api:
            for call in CLASSES.values():
                assert (await call(api)).status != 429
            assert [(await call(api)).status == 429 for call in CLASSES.values()] == [one == name for one in CLASSES]

    async def test_each_answer_tells_its_policy_and_what_remains(
        self, settings: Settings, http: aiohttp.ClientSession, tenant: Tenant, name: str
    ) -> None:
        rates = {name: {"key": "50/hour", "organisation": "100/minute"}}
        async with called(limited(settings, rates), http, tenant.key) as api:
            first = await CLASSES[name](api)
            assert policies(first) == {f"{name}-key": {"q": 50, "w": 3600}, f"{name}-organisation": {"q": 100, "w": 60}}
            remains = standings(first)
            assert (remains[f"{name}-key"]["r"], remains[f"{name}-organisation"]["r"]) == (49, 99)
            assert 0 <= remains[f"{name}-key"]["t"] <= 3600

    async def test_without_a_limit_nothing_is_told(
        self, settings: Settings, http: aiohttp.ClientSession, tenant: Tenant, name: str
    ) -> None:
        async with called(limited(settings, {}), http, tenant.key) as api:
            reply = await CLASSES[name](api)
            assert not {"ratelimit", "ratelimit-policy"} & {one.lower() for one in reply.headers}


class TestExactness:
    @pytest.mark.acceptance("L01")
    async def test_of_many_at_once_over_processes_exactly_the_limit_is_allowed(
        self, environment: dict[str, str], http: aiohttp.ClientSession, tenant: Tenant
    ) -> None:
        rates = {
            "POSTRIDER_LIMITS__ADMINISTRATION__KEY": f"100/{DAY}",
            "POSTRIDER_LIMITS__SIGN_IN__IP": f"100/{DAY}",
            "POSTRIDER_LIMITS__PATIENCE_SECONDS": str(PATIENT),
        }
        with running_system(environment | rates, api=2, workers=1) as system:
            api = Api(http, system.url, tenant.key)
            assert await at_once(api, CLASSES["administration"]) == {404: 100, 429: 60}
            async with from_address(new_address()) as stranger:
                unknown = Api(stranger, system.url, UNKNOWN_KEY)
                assert await at_once(unknown, CLASSES["read"]) == {401: 100, 429: 60}


async def at_once(api: Api, call: Call) -> dict[int, int]:
    """How often each status was answered to 160 calls, 16 at a time."""
    left = iter(range(160))

    async def run() -> list[int]:
        return [(await call(api)).status for _ in left]

    return dict(Counter(status for found in await asyncio.gather(*(run() for _ in range(16))) for status in found))


class TestFailedAuthentication:
    @pytest.mark.acceptance("L01")
    @pytest.mark.parametrize("name", CLASSES)
    async def test_an_address_may_fail_so_often_and_is_refused_then(self, settings: Settings, name: str) -> None:
        async with (
            from_address(new_address(), FORGED) as http,
            called(limited(settings, {"sign_in": {"ip": f"3/{DAY}"}}), http, UNKNOWN_KEY) as api,
        ):
            replies = [await CLASSES[name](api) for _ in range(5)]
            assert [reply.status for reply in replies] == [401, 401, 401, 429, 429]
            assert is_limit(replies[-1])
            assert policies(replies[-1]) == {"sign_in-ip": {"q": 3, "w": 86400}}
            assert "www-authenticate" not in replies[-1].headers

    async def test_a_good_key_is_not_locked_out_by_a_stranger_at_its_address(
        self, settings: Settings, tenant: Tenant
    ) -> None:
        async with (
            from_address(new_address()) as http,
            called(limited(settings, {"sign_in": {"ip": f"1/{DAY}"}}), http, UNKNOWN_KEY) as stranger,
        ):
            for call in CLASSES.values():
                await call(stranger)
            for call in CLASSES.values():
                assert (await call(stranger)).status == 429
                assert (await call(stranger.with_credential(tenant.key))).status not in {401, 429}


class TestAddresses:
    @pytest.mark.acceptance("L02")
    @pytest.mark.parametrize("name", ["read", "ingest"])
    async def test_a_64_is_one_and_a_mapped_address_is_its_own(
        self, settings: Settings, tenant: Tenant, name: str
    ) -> None:
        network, number = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}", secrets.randbelow(250)
        app = create_app(limited(settings, {name: {"ip": f"2/{DAY}"}}))
        calls = [
            (f"{network}::1", False),
            (f"{network}:ffff::2", False),
            (f"{network}:1:2:3:4", True),
            (f"2001:db8:1{network[9:]}::1", False),
            (f"203.0.113.{number}", False),
            (f"::ffff:203.0.113.{number}", False),
            (f"203.0.113.{number}", True),
        ]
        async with served(app):
            for host, is_refused in calls:
                assert (await _status(app, host, tenant.key, name) == 429) == is_refused, host

    @pytest.mark.acceptance("L02")
    async def test_failures_of_a_64_are_counted_as_one(self, settings: Settings) -> None:
        network = f"2001:db8:{secrets.token_hex(2)}:{secrets.token_hex(2)}"
        app = create_app(limited(settings, {"sign_in": {"ip": f"2/{DAY}"}}))
        async with served(app):
            found = [await _status(app, f"{network}::{number}", UNKNOWN_KEY, "read") for number in range(4)]
        assert found == [401, 401, 429, 429]


async def _status(app: ASGIApp, host: str, key: str, name: str) -> int:
    """The status of a call from an address that this machine does not have."""
    method, path, body = {"read": ("GET", "/app", b""), "ingest": ("POST", "/app/nothing/msg", b"{}")}[name]
    headers = {"host": "localhost", "authorization": f"Bearer {key}", "content-type": "application/json"}
    headers["content-length"] = str(len(body))
    scope = {
        "type": "http",
        "method": method,
        "path": f"/api/v1{path}",
        "raw_path": f"/api/v1{path}".encode(),
        "query_string": b"",
        "headers": [(one.encode(), value.encode()) for one, value in headers.items()],
        "client": (host, 1),
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "root_path": "",
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


@pytest.mark.acceptance("L03")
class TestWithoutRedis:
    """Redis stops while the API runs, and comes back."""

    async def test_sign_in_and_administration_stay_limited_and_the_rest_works(
        self, settings: Settings, tenant: Tenant, caplog: pytest.LogCaptureFixture
    ) -> None:
        rates = {
            **{name: {"key": f"5/{DAY}"} for name in CLASSES},
            "sign_in": {"ip": f"5/{DAY}"},
        }
        with own_redis() as redis:
            own = limited(settings, rates, redis.url)
            async with from_address(new_address()) as http, called(own, http, tenant.key) as api:
                unknown = api.with_credential(UNKNOWN_KEY)
                assert (await CLASSES["administration"](api)).status == 404
                assert (await CLASSES["read"](unknown)).status == 401
                redis.stop()
                for name in ("read", "write", "ingest"):
                    assert 429 not in {(await CLASSES[name](api)).status for _ in range(20)}
                told = [(await CLASSES["administration"](api)).status for _ in range(6)]
                assert told == [404] * 4 + [429] * 2
                assert [(await CLASSES["read"](unknown)).status for _ in range(6)] == [401] * 4 + [429] * 2
                assert caplog.messages.count("redis_unavailable") == 1
                redis.start()
                await asyncio.sleep(2 * REST_SECONDS)
                for name in ("read", "write", "ingest"):
                    await CLASSES[name](api)
                assert caplog.messages.count("redis_available") == 1
                await asyncio.sleep(REST_SECONDS)
                for name in ("read", "write", "ingest"):
                    assert 429 in {(await CLASSES[name](api)).status for _ in range(10)}
