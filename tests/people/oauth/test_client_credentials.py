"""Programs that get tokens in their own name."""

import pytest

from app.main import create_app
from app.settings import AddressLimits, Settings
from tests.api.client import Api, served
from tests.people.oauth.world import CLIENTS, App, basic, new_app

OWN_NAME = {"grantTypes": ["client_credentials"], "scopes": ["openid", "message:read", "message:send"]}


@pytest.fixture
async def app(api: Api) -> App:
    return await new_app(api, **OWN_NAME, role="developer")


@pytest.mark.acceptance("O12")
async def test_a_client_gets_a_token_that_opens_the_api_and_nothing_else(app: App) -> None:
    reply = await app.token(grant_type="client_credentials", scope="message:read")
    assert reply.status == 200
    assert set(reply.body) == {"access_token", "token_type", "expires_in", "scope"}
    assert (reply.body["token_type"], reply.body["scope"]) == ("Bearer", "message:read")
    api = app.api(reply.body["access_token"])
    assert (await api.get("/app")).status == 403
    assert (await api.get("/app/none/msg")).status == 404


@pytest.mark.acceptance("O12")
async def test_without_a_scope_it_gets_all_that_its_role_and_its_scopes_allow(api: Api) -> None:
    app = await new_app(api, **OWN_NAME, role="viewer")
    reply = await app.token(grant_type="client_credentials")
    assert reply.body["scope"] == "message:read"
    for beyond in ("message:send", "openid", "application:list", "nonsense"):
        refused = await app.token(grant_type="client_credentials", scope=beyond)
        assert (refused.status, refused.body["error"]) == (400, "invalid_scope")


@pytest.mark.acceptance("O12")
@pytest.mark.acceptance("O13")
async def test_a_client_without_the_grant_is_refused(api: Api) -> None:
    for method in ("none", "client_secret_basic"):
        app = await new_app(api, authMethod=method)
        reply = await app.token(grant_type="client_credentials")
        assert (reply.status, reply.body["error"]) == (400, "unauthorized_client")


@pytest.mark.acceptance("O11")
async def test_whoever_cannot_show_who_it_is_hears_nothing_more(app: App) -> None:
    unknown = "client_01h455vb4pex5vsknk084sn02q"
    asked = {"grant_type": "client_credentials"}
    replies = [
        await app.plain("/oauth/token", asked, {"authorization": basic(app.id, "wrong")}),
        await app.plain("/oauth/token", asked, {"authorization": basic(unknown, app.secret or "")}),
        await app.plain("/oauth/token", asked, {"authorization": "Basic %%%"}),
        await app.plain("/oauth/token", asked, {"authorization": "Bearer abc"}),
        await app.plain("/oauth/token", asked, {}),
        await app.plain("/oauth/token", {**asked, "client_id": app.id}, {}),
        await app.plain("/oauth/token", {**asked, "client_id": app.id, "client_secret": app.secret or ""}, {}),
    ]
    assert {one.status for one in replies} == {401}
    assert {one.body["error"] for one in replies} == {"invalid_client"}
    assert {one.headers["www-authenticate"].split()[0] for one in replies} == {"Basic"}
    assert len({one.raw for one in replies}) == 1


@pytest.mark.acceptance("O11")
@pytest.mark.acceptance("T13")
async def test_two_ways_at_once_are_refused(app: App) -> None:
    secret = app.secret or ""
    for more in ({"client_secret": secret}, {"client_id": "client_01h455vb4pex5vsknk084sn02q"}):
        reply = await app.token(grant_type="client_credentials", **more)
        assert (reply.status, reply.body["error"]) == (400, "invalid_request")


@pytest.mark.acceptance("O11")
async def test_a_client_that_posts_its_secret_may_not_use_basic(api: Api) -> None:
    app = await new_app(api, **OWN_NAME, role="developer", authMethod="client_secret_post")
    asked = {"grant_type": "client_credentials"}
    posted = {**asked, "client_id": app.id, "client_secret": app.secret or ""}
    assert (await app.plain("/oauth/token", posted, {})).status == 200
    assert (await app.token(**asked)).status == 401


async def test_both_secrets_are_good_while_they_overlap(api: Api, app: App) -> None:
    turned = await api.post(f"{CLIENTS}/{app.id}/rotate", {})
    newer = App(app.http, app.base, app.id, turned.body["secret"])
    asked = {"grant_type": "client_credentials"}
    assert [(await one.token(**asked)).status for one in (app, newer)] == [200, 200]
    assert (await api.delete(f"{CLIENTS}/{app.id}/secret/{turned.body['secrets'][1]['id']}")).status == 204
    assert [(await one.token(**asked)).status for one in (app, newer)] == [401, 200]


async def test_a_deleted_client_is_unknown_and_its_tokens_are_dead(api: Api, app: App) -> None:
    token = (await app.token(grant_type="client_credentials")).body["access_token"]
    await api.delete(f"{CLIENTS}/{app.id}")
    assert (await app.token(grant_type="client_credentials")).status == 401
    assert (await app.api(token).get("/app")).status == 401


@pytest.mark.acceptance("O17")
async def test_only_a_form_that_is_posted_is_answered_and_nobody_keeps_the_answer(app: App) -> None:
    good = await app.token(grant_type="client_credentials")
    bad = await app.token(grant_type="client_credentials", scope="nonsense")
    assert {one.headers["cache-control"] for one in (good, bad)} == {"no-store"}
    json = {"content-type": "application/json", "authorization": basic(app.id, app.secret or "")}
    assert (await app.plain("/oauth/token", {"grant_type": "client_credentials"}, json)).status == 415
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
        async with app.http.get(f"{app.base}{path}?grant_type=client_credentials") as reply:
            assert (reply.status, reply.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.mark.acceptance("O03")
async def test_a_repeated_parameter_is_refused(app: App) -> None:
    twice = [("grant_type", "client_credentials"), ("grant_type", "client_credentials")]
    reply = await app.post("/oauth/token", twice)
    assert (reply.status, reply.body["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("grant_type", "error"),
    [("", "invalid_request"), ("implicit", "unsupported_grant_type"), ('"\\\n', "unsupported_grant_type")],
)
async def test_an_unknown_grant_is_refused(app: App, grant_type: str, error: str) -> None:
    reply = await app.token(grant_type=grant_type)
    assert (reply.status, reply.body["error"]) == (400, error)


@pytest.mark.acceptance("O11")
async def test_whoever_guesses_secrets_is_told_to_wait(settings: Settings, app: App) -> None:
    limits = settings.limits.model_copy(update={"sign_in": AddressLimits(ip="5/minute")})
    async with served(create_app(settings.model_copy(update={"limits": limits}))) as url:
        guesser = App(app.http, url, app.id, "whcs_wrong")
        replies = [await guesser.token(grant_type="client_credentials") for _ in range(7)]
        assert [one.status for one in replies] == [401] * 5 + [429] * 2
        assert int(replies[-1].headers["retry-after"]) > 0
        good = App(app.http, url, app.id, app.secret)
        assert (await good.token(grant_type="client_credentials")).status == 200


@pytest.mark.parametrize("raw", ["%FF", "%00", "%ED%A0%80", "%22%5C", "+", "%F0%9F%92%A9" * 200])
async def test_nothing_that_can_be_sent_breaks_it(app: App, raw: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    auth = {"authorization": basic(app.id, app.secret or "")}
    names = ("grant_type", "scope", "client_id", "code", "refresh_token", "username", "token", "client_assertion")
    for path in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
        for name in names:
            for grant in ("client_credentials", "authorization_code", "refresh_token", "password"):
                body = f"{name}={raw}" + ("" if name == "grant_type" else f"&grant_type={grant}")
                async with app.http.post(app.base + path, data=body, headers=form | auth) as reply:
                    assert reply.status in {200, 400, 401, 429}, (path, name, grant)
