"""The authorization endpoint: whom it sends where, and what it asks people."""

from datetime import timedelta
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.features.sessions.operations import NewSession, begin
from app.kit.clock import utc_now
from app.main import create_app
from app.models import Organisation, PersonSession, User
from app.settings import Http, Settings
from tests.api.client import Api, new_tenant, served
from tests.people.oauth.world import (
    CALLBACK,
    CHALLENGE,
    STATE,
    App,
    allow,
    answered_to,
    as_first_party,
    new_app,
    path_of,
    redeem,
    request_of,
    told,
)
from tests.people.visitor import PASSWORD, Known, Visitor, location, new_person

ELSEWHERE = (
    "https://app.example.test/Callback",
    "https://app.example.test/callback?more=1",
    "https://app.example.test/callback/",
    "https://app.example.test/callback/below",
    "https://app.example.test/x/../callback",
    "https://app.example.test/callback#part",
    "https://user@app.example.test/callback",
    "https://app.example.test.evil.test/callback",
    "http://app.example.test/callback",
    "//app.example.test/callback",
    'https://app.example.test/callback"',
    "",
)


@pytest.mark.acceptance("O01")
@pytest.mark.parametrize("uri", ELSEWHERE)
async def test_nobody_is_sent_to_an_address_that_was_not_registered(signed_in: Visitor, app: App, uri: str) -> None:
    reply = await signed_in.get(path_of(app, redirect_uri=uri))
    assert (reply.status, "location" in reply.headers) == (400, False)
    assert reply.headers["content-type"].startswith("text/html")
    assert b'data-reason="invalid_request"' in reply.raw


@pytest.mark.acceptance("O01")
async def test_nobody_is_sent_on_for_an_unknown_client(signed_in: Visitor, app: App) -> None:
    for unknown in ("client_01h455vb4pex5vsknk084sn02q", "somebody", "", None):
        reply = await signed_in.get(path_of(app, client_id=unknown))
        assert (reply.status, "location" in reply.headers) == (400, False)
    for twice in (f"&client_id={app.id}", f"&redirect_uri={quote(CALLBACK)}"):
        assert (await signed_in.get(path_of(app) + twice)).status == 400


@pytest.mark.acceptance("O02")
async def test_an_app_on_this_machine_may_listen_at_any_port(signed_in: Visitor, api: Api) -> None:
    app = await new_app(api, redirectUris=["http://127.0.0.1:1/cb", "http://[::1]/cb"], authMethod="none")
    for uri, status in {
        "http://127.0.0.1:50123/cb": 200,
        "http://[::1]:50123/cb": 200,
        "http://127.0.0.1:50123/other": 400,
        "http://127.0.0.2:50123/cb": 400,
        "https://127.0.0.1:50123/cb": 400,
    }.items():
        assert (await signed_in.get(path_of(app, redirect_uri=uri))).status == status, uri


@pytest.mark.acceptance("O03")
@pytest.mark.acceptance("O18")
@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": CHALLENGE[:-1]},
        {"code_challenge": CHALLENGE + "A"},
        {"code_challenge": CHALLENGE[:-1] + "!"},
        {"response_type": None},
        {"prompt": "none login"},
        {"prompt": "select_account"},
        {"max_age": "-1"},
        {"response_mode": "fragment"},
        {"nonce": "n" * 513},
        {"claims": "[1]"},
    ],
)
async def test_a_bad_request_is_told_to_the_client_with_its_state_and_who_says_it(
    visitor: Visitor, app: App, changes: dict[str, str | None]
) -> None:
    reply = await visitor.get(path_of(app, **changes))
    assert answered_to(reply) == CALLBACK
    answer = told(reply)
    assert (answer["error"], answer["state"], answer["iss"]) == ("invalid_request", STATE, "http://localhost:8000")


@pytest.mark.acceptance("O03")
@pytest.mark.parametrize("name", ["scope", "state", "response_type", "code_challenge", "nonce", "unknown"])
async def test_a_parameter_that_comes_twice_is_refused(visitor: Visitor, app: App, name: str) -> None:
    query = urlencode([*request_of(app).items(), (name, "x"), (name, "x")])
    assert told(await visitor.get(f"/oauth/authorize?{query}"))["error"] == "invalid_request"


@pytest.mark.acceptance("O13")
async def test_what_was_not_registered_is_not_given(visitor: Visitor, api: Api, app: App) -> None:
    for response_type in ("token", "id_token token", "code id_token", "none", '"'):
        answer = told(await visitor.get(path_of(app, response_type=response_type)))
        assert (answer["error"], answer["state"]) == ("unsupported_response_type", STATE)
    for scope in ("openid message:send", "openid offline_access", "message:read everything"):
        assert told(await visitor.get(path_of(app, scope=scope)))["error"] == "invalid_scope"
    programs = await new_app(api, grantTypes=["client_credentials"])
    assert told(await visitor.get(path_of(programs)))["error"] == "unauthorized_client"


@pytest.mark.acceptance("O21")
async def test_requests_by_reference_are_not_fetched_and_unknown_parameters_are_passed_over(
    signed_in: Visitor, app: App
) -> None:
    for name in ("request", "request_uri", "registration"):
        answer = told(await signed_in.get(path_of(app, **{name: "https://canary.example.test/request"})))
        assert (answer["error"], answer["state"]) == (f"{name}_not_supported", STATE)
    assert (await signed_in.get(path_of(app, extra="foo", login_hint="a@b.example", ui_locales="xx"))).status == 200


@pytest.mark.acceptance("O18")
async def test_state_comes_back_byte_for_byte(signed_in: Visitor, app: App) -> None:
    raw = "a%FF%00+b%2Bc%20%C3%A9"
    reply = await signed_in.submit("/oauth/consent", at=f"{path_of(app, state=None)}&state={raw}")
    query = urlsplit(reply.headers["location"]).query
    (state,) = [value for name, value in parse_qsl(query, encoding="latin-1") if name == "state"]
    assert state.encode("latin-1") == b"a\xff\x00 b+c \xc3\xa9"


@pytest.mark.acceptance("O18")
async def test_the_answer_says_who_gives_it_and_keeps_what_was_registered(signed_in: Visitor, api: Api) -> None:
    uri = "https://app.example.test/callback?tenant=a%2fb&x"
    app = await new_app(api, redirectUris=[uri])
    for answer in ("allow", "deny"):
        reply = await allow(signed_in, app, answer, redirect_uri=uri, prompt="consent")
        assert reply.headers["location"].startswith(uri + "&")
        assert reply.headers["location"].endswith(urlencode({"iss": "http://localhost:8000"}))


@pytest.mark.acceptance("O19")
@pytest.mark.acceptance("O20")
async def test_people_sign_in_are_asked_and_are_sent_back_with_a_code(
    visitor: Visitor, person: Known, app: App
) -> None:
    first = await visitor.get(path_of(app))
    assert (first.status, location(first).partition("?")[0]) == (303, "/sign-in")
    signed = await visitor.submit("/sign-in", at=location(first), email=person.email, password=PASSWORD)
    assert signed.status == 303
    page = await visitor.get(location(signed))
    assert page.status == 200
    for words in ("Some app", "See who you are", "Read messages", "message:read", "app.example.test", "sign out"):
        assert words in page.raw.decode()
    policy = page.headers["content-security-policy"]
    assert "form-action 'self' https://app.example.test;" in policy
    assert "frame-ancestors 'none'" in policy
    reply = await visitor.submit("/oauth/consent", at=location(signed))
    answer = told(reply)
    assert (answered_to(reply), answer["state"]) == (CALLBACK, STATE)
    assert (await redeem(app, answer["code"])).status == 200


@pytest.mark.acceptance("O19")
async def test_a_browser_that_comes_from_our_own_form_goes_on_by_a_page(signed_in: Visitor, app: App) -> None:
    await allow(signed_in, app)
    reply = await signed_in.get(path_of(app), **{"sec-fetch-site": "same-origin"})
    assert reply.status == 200
    assert f'content="0; url={CALLBACK}?code=' in reply.raw.decode()


async def test_what_was_allowed_once_is_not_asked_again_but_more_is(signed_in: Visitor, app: App) -> None:
    await allow(signed_in, app)
    assert "code" in told(await signed_in.get(path_of(app)))
    assert (await signed_in.get(path_of(app, prompt="consent"))).status == 200
    assert (await signed_in.get(path_of(app, scope="openid email"))).status == 200


async def test_whoever_says_no_gives_nothing(signed_in: Visitor, app: App) -> None:
    answer = told(await allow(signed_in, app, "deny"))
    assert (answer["error"], "code" in answer) == ("access_denied", False)
    assert (await signed_in.get(path_of(app))).status == 200


async def test_a_person_of_another_organisation_can_allow_nothing(visitor: Visitor, app: App, sessions: object) -> None:

    other = new_person(sessions, new_tenant(sessions).organisation_id)  # type: ignore[arg-type] # the fixture's
    await visitor.sign_in(other.email)
    assert told(await visitor.get(path_of(app)))["error"] == "access_denied"


async def test_silence_is_kept_where_nobody_is_to_be_asked(visitor: Visitor, person: Known, app: App) -> None:
    assert told(await visitor.get(path_of(app, prompt="none")))["error"] == "login_required"
    await visitor.sign_in(person.email)
    assert told(await visitor.get(path_of(app, prompt="none")))["error"] == "consent_required"
    await allow(visitor, app)
    assert "code" in told(await visitor.get(path_of(app, prompt="none")))
    assert told(await visitor.get(path_of(app, prompt="none", id_token_hint="nonsense")))["error"] == "login_required"


async def test_a_client_can_ask_that_people_show_themselves_anew(signed_in: Visitor, app: App) -> None:
    await allow(signed_in, app)
    for changes in ({"prompt": "login"}, {"max_age": "0"}):
        reply = await signed_in.get(path_of(app, **changes))
        assert (reply.status, location(reply).partition("?")[0]) == (303, "/sign-in/again")
        again = await signed_in.submit("/sign-in/again", at=location(reply), password=PASSWORD)
        assert again.status == 303
        assert "code" in told(await signed_in.get(location(again)))


async def test_the_proof_that_somebody_showed_themselves_is_good_for_that_request_alone(
    signed_in: Visitor, app: App
) -> None:
    reply = await signed_in.get(path_of(app, prompt="login"))
    again = await signed_in.submit("/sign-in/again", at=location(reply), password=PASSWORD)
    mark = dict(parse_qsl(urlsplit(again.headers["location"]).query))["asked"]
    other = await signed_in.get(path_of(app, prompt="login", state="other", asked=mark))
    assert location(other).startswith("/sign-in/again?")


async def test_nor_is_one_that_somebody_got_who_was_not_signed_in(
    signed_in: Visitor, app: App, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        db.execute(update(PersonSession).values(reauthenticated_at=utc_now() - timedelta(minutes=1)))
    elsewhere = await signed_in.another().get(path_of(app, prompt="login"))
    back = dict(parse_qsl(urlsplit(location(elsewhere)).query))["next"]
    assert location(await signed_in.get(back)).startswith("/sign-in/again?")


async def test_a_request_may_come_as_a_form_of_another_site(signed_in: Visitor, app: App) -> None:
    reply = await signed_in.post("/oauth/authorize", request_of(app), origin="https://app.example.test")
    assert reply.status == 303
    assert location(reply) == path_of(app)


@pytest.mark.acceptance("H01")
async def test_another_site_cannot_say_yes(signed_in: Visitor, app: App) -> None:
    query = urlencode(request_of(app))
    fields = {"request": query, "answer": "allow", "csrf": "x"}
    assert (await signed_in.post("/oauth/consent", fields)).status == 403
    assert (await signed_in.post("/oauth/consent", fields, origin="https://evil.test")).status == 403


async def test_a_client_of_the_first_party_asks_nobody_unless_it_wants_to(
    signed_in: Visitor, app: App, sessions: sessionmaker[Session]
) -> None:
    as_first_party(sessions, app)
    assert "code" in told(await signed_in.get(path_of(app)))
    assert (await signed_in.get(path_of(app, prompt="consent"))).status == 200


@pytest.mark.acceptance("O19")
async def test_no_other_page_reads_what_the_endpoint_answers(settings: Settings, app: App) -> None:
    origin = "https://app.example.test"
    listed = settings.model_copy(update={"http": Http(cors_origins=(origin,))})
    async with served(create_app(listed)) as url:
        for path, allowed in ((path_of(app), None), ("/oauth/authorize/", None), ("/oauth/jwks", origin)):
            async with app.http.get(url + path, headers={"origin": origin}, allow_redirects=False) as reply:
                assert reply.headers.get("access-control-allow-origin") == allowed


async def test_another_person_than_the_client_means_is_not_given_out_for_them(
    signed_in: Visitor, app: App, person: Known, sessions: sessionmaker[Session]
) -> None:
    tokens = (await redeem(app, told(await allow(signed_in, app))["code"])).body
    assert "code" in told(await signed_in.get(path_of(app, id_token_hint=tokens["id_token"], prompt="none")))
    other = signed_in.another()
    await other.sign_in(new_person(sessions, person.organisation_id).email)
    for changes in ({}, {"prompt": "none"}):
        answer = told(await other.get(path_of(app, id_token_hint=tokens["id_token"], **changes)))
        assert (answer["error"], answer["state"]) == ("login_required", STATE)


@pytest.mark.acceptance("M08")
async def test_whoever_lacks_a_factor_that_the_organisation_demands_adds_one_first(
    signed_in: Visitor, app: App, person: Known, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        db.get_one(Organisation, person.organisation_id).mfa_required = True
    reply = await signed_in.get(path_of(app))
    assert (reply.status, b'data-reason="mfa_enrolment_required"' in reply.raw) == (403, True)
    assert told(await signed_in.get(path_of(app, prompt="none")))["error"] == "interaction_required"


@pytest.mark.acceptance("Z11")
async def test_whoever_acts_for_somebody_else_allows_nothing(
    visitor: Visitor, app: App, person: Known, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        new = NewSession(["pwd"], utc_now() + timedelta(minutes=5), impersonator="op", impersonation_reason="help")
        _, cookie = begin(db, db.get_one(User, person.id), new)
    visitor.cookies[COOKIE] = cookie
    assert told(await visitor.get(path_of(app)))["error"] == "access_denied"


@pytest.mark.parametrize("raw", ["%FF", "%00", "%ED%A0%80", "%22%5C", "+", "%F0%9F%92%A9" * 200])
async def test_nothing_that_can_be_sent_breaks_it(signed_in: Visitor, app: App, raw: str) -> None:
    names = [*request_of(app), "nonce", "prompt", "max_age", "claims", "id_token_hint", "acr_values", "asked", "x"]
    for name in names:
        query = urlencode({key: value for key, value in request_of(app).items() if key != name})
        reply = await signed_in.get(f"/oauth/authorize?{query}&{name}={raw}")
        assert reply.status in {200, 303, 400}, name
    assert (await signed_in.get(f"/oauth/authorize?{'&'.join(['a=b'] * 60)}")).status == 400
