"""HTTP Basic is for keys and clients, never for people: their passwords open nothing that way."""

import base64

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from tests.api.client import Api, Reply, Tenant
from tests.api.surface.door import BEHIND, HOST, PLAIN, Door, is_refusal, production
from tests.api.test_limits import called, limited
from tests.people.accounts.test_passwords import give_passkey
from tests.people.visitor import PASSWORD, Known

ROUTES = [("GET", "/organisation"), ("GET", "/app"), ("POST", "/app/x/msg"), ("GET", "/organisation/member")]


def basic(name: str, password: str = "") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


async def ask(api: Api, method: str, path: str, headers: dict[str, str]) -> Reply:
    return await api.with_credential(None).call(method, path, {} if method == "POST" else None, headers=headers)


@pytest.fixture
def api(http: aiohttp.ClientSession, base_url: str, tenant: Tenant) -> Api:
    return Api(http, base_url, tenant.key)


@pytest.mark.acceptance("P14")
@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("has_mfa", [False, True])
async def test_a_persons_password_opens_no_route(
    api: Api, person: Known, sessions: sessionmaker[Session], method: str, path: str, *, has_mfa: bool
) -> None:
    if has_mfa:
        give_passkey(sessions, person)
    for name in (person.email, str(person.id)):
        reply = await ask(api, method, path, basic(name, PASSWORD))
        assert reply.status == 401
        assert "www-authenticate" in reply.headers


@pytest.mark.acceptance("P14")
async def test_a_key_is_taken_on_routes_that_list_it_and_on_no_other(api: Api) -> None:
    assert api.credential is not None
    assert (await ask(api, "GET", "/organisation", basic(api.credential))).status == 200
    for path in ("/app", "/organisation/member", "/event-type"):
        reply = await ask(api, "GET", path, basic(api.credential))
        assert (reply.status, "www-authenticate" in reply.headers) == (401, True)


@pytest.mark.acceptance("P14")
async def test_failures_count_as_those_of_any_credential(
    settings: Settings, http: aiohttp.ClientSession, person: Known
) -> None:
    own = limited(settings, {"sign_in": {"ip": "5/day"}})
    async with called(own, http, None) as api:
        sent = {**basic(person.email, PASSWORD), "x-forwarded-for": "10.255.1.1"}
        replies = [await ask(api, "GET", "/organisation", sent) for _ in range(7)]
    assert [one.status for one in replies] == 5 * [401] + 2 * [429]
    assert int(replies[-1].headers["retry-after"]) > 0


@pytest.mark.acceptance("P14")
async def test_over_plain_http_nothing_is_taken(
    settings: Settings, http: aiohttp.ClientSession, tenant: Tenant
) -> None:
    async with called(production(settings), http, None) as api:
        door = Door(api.base, {"host": HOST})
        for path in ("/api/v1/organisation", "/oauth/token"):
            reply = await door.call("POST", path, headers={**PLAIN, **basic(tenant.key)})
            assert is_refusal(reply, 403, "https_required")
        assert (await door.call("GET", "/api/v1/organisation", headers={**BEHIND, **basic(tenant.key)})).status == 200
