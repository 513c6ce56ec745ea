"""The password grant: off unless the operator gave it to a client, and never for people with a second factor."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.kit.clock import new_id, utc_now
from app.models import AuditEvent, Totp
from tests.api.client import Api, Reply, new_tenant
from tests.people.oauth.world import CLIENTS, App, as_first_party, basic, client_fields, new_app, refresh
from tests.people.visitor import PASSWORD, Known, new_person


@pytest.fixture
async def trusted(api: Api, sessions: sessionmaker[Session]) -> App:
    """A client of the first party that was given the grant."""
    return as_first_party(sessions, await new_app(api), "password")


async def by_password(app: App, name: str, password: str = PASSWORD, **more: str) -> Reply:
    """Tokens for a password."""
    return await app.token(grant_type="password", username=name, password=password, **more)


@pytest.mark.acceptance("O14")
async def test_it_is_off_and_only_the_operator_turns_it_on(api: Api, app: App, person: Known) -> None:
    reply = await by_password(app, person.email)
    assert (reply.status, reply.body["error"]) == (400, "unsupported_grant_type")
    made = await api.post(CLIENTS, client_fields(grantTypes=["password"]))
    assert (made.status, made.fields) == (422, ["body.grantTypes"])


@pytest.mark.acceptance("O14")
async def test_a_public_client_never_has_it(api: Api, person: Known, sessions: sessionmaker[Session]) -> None:
    public = await new_app(api, authMethod="none")
    reply = await by_password(public, person.email)
    assert (reply.status, reply.body["error"]) == (400, "unsupported_grant_type")


@pytest.mark.acceptance("O14")
async def test_a_right_password_brings_tokens_for_no_more_than_the_client_may(
    trusted: App, person: Known, sessions: sessionmaker[Session]
) -> None:
    reply = await by_password(trusted, person.email, scope="message:read")
    assert (reply.status, reply.body["scope"]) == (200, "message:read")
    assert (await trusted.api(reply.body["access_token"]).get("/app/none/msg")).status == 404
    assert (await refresh(trusted, reply.body["refresh_token"])).status == 200
    beyond = await by_password(trusted, person.email, scope="message:send")
    assert (beyond.status, beyond.body["error"]) == (400, "invalid_scope")
    with sessions() as db:
        events = db.scalars(select(AuditEvent).filter_by(action="oauth.password_granted", target_id=trusted.id)).all()
    assert [one.actor_label for one in events] == [person.email]


@pytest.mark.acceptance("O14")
async def test_a_wrong_password_an_unknown_and_a_foreign_person_are_told_alike(
    trusted: App, person: Known, sessions: sessionmaker[Session]
) -> None:
    foreign = new_person(sessions, new_tenant(sessions).organisation_id)
    replies = [
        await by_password(trusted, person.email, "wrong"),
        await by_password(trusted, "nobody@example.test"),
        await by_password(trusted, "no address\x00"),
        await by_password(trusted, foreign.email),
    ]
    assert {(one.status, one.body["error"]) for one in replies} == {(400, "invalid_grant")}
    assert len({one.raw for one in replies}) == 1
    missing = await trusted.token(grant_type="password", username=person.email)
    assert (missing.status, missing.body["error"]) == (400, "invalid_request")


@pytest.mark.acceptance("O14")
@pytest.mark.acceptance("P10")
async def test_guessing_is_slowed_as_at_sign_in(trusted: App, person: Known) -> None:
    replies = [await by_password(trusted, person.email, f"guess {number}") for number in range(12)]
    assert {one.status for one in replies} == {400, 429}
    last = await by_password(trusted, person.email)
    assert (last.status, int(last.headers["retry-after"]) > 0) == (429, True)


@pytest.mark.acceptance("M09")
async def test_people_with_a_second_factor_are_refused(
    trusted: App, person: Known, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        db.add(Totp(user_id=person.id, id=new_id(), sealed=b"", last_timecode=None, confirmed_at=utc_now()))
    reply = await by_password(trusted, person.email)
    assert (reply.status, reply.body["error"]) == (400, "invalid_grant")


@pytest.mark.acceptance("M09")
async def test_a_person_is_no_caller_by_basic(trusted: App, person: Known) -> None:
    for path in ("/api/v1/organisation", "/oauth/userinfo"):
        headers = {"authorization": basic(person.email, PASSWORD)}
        async with trusted.http.get(trusted.base + path, headers=headers) as reply:
            assert reply.status == 401
