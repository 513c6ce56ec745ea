"""Codes: good once, for a minute, for their client, their address and their challenge."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.owned_tokens import Token
from app.kit.clock import utc_now
from app.models import AuditEvent, Mail, OAuthCode, OAuthFamily
from tests.api.client import Api
from tests.people.oauth.world import CALLBACK, VERIFIER, App, code_for, dead_within_a_second, new_app, redeem, refresh
from tests.people.visitor import Known, Visitor

OTHER_VERIFIER = VERIFIER[::-1]


async def test_a_code_becomes_tokens(signed_in: Visitor, app: App) -> None:
    reply = await redeem(app, await code_for(signed_in, app))
    assert reply.status == 200
    assert set(reply.body) == {"access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope"}
    assert (await app.api(reply.body["access_token"]).get("/app/none/msg")).status == 404
    assert (await app.api(reply.body["access_token"]).get("/app")).status == 403


async def test_without_openid_there_is_no_id_token(signed_in: Visitor, app: App) -> None:
    reply = await redeem(app, await code_for(signed_in, app, scope="message:read"))
    assert "id_token" not in reply.body


async def test_a_client_without_the_grant_gets_no_refresh_token(signed_in: Visitor, api: Api) -> None:
    app = await new_app(api, grantTypes=["authorization_code"])
    reply = await redeem(app, await code_for(signed_in, app))
    assert (reply.status, "refresh_token" in reply.body) == (200, False)


@pytest.mark.acceptance("O04")
@pytest.mark.parametrize(
    ("verifier", "error"),
    [
        ("", "invalid_request"),
        (OTHER_VERIFIER, "invalid_grant"),
        (VERIFIER[:42], "invalid_request"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "invalid_grant"),
        (VERIFIER + "\n", "invalid_grant"),
        ("é" * 43, "invalid_request"),
    ],
)
async def test_a_wrong_verifier_is_refused(signed_in: Visitor, app: App, verifier: str, error: str) -> None:
    reply = await redeem(app, await code_for(signed_in, app), code_verifier=verifier)
    assert (reply.status, reply.body["error"]) == (400, error)


@pytest.mark.acceptance("O05")
async def test_the_second_use_of_a_code_ends_what_came_of_the_first(
    signed_in: Visitor, person: Known, app: App, sessions: sessionmaker[Session]
) -> None:
    code = await code_for(signed_in, app)
    first = (await redeem(app, code)).body
    second = await redeem(app, code)
    assert (second.status, second.body["error"]) == (400, "invalid_grant")
    assert (await refresh(app, first["refresh_token"])).status == 400
    await dead_within_a_second(app, first["access_token"])
    with sessions() as db:
        events = db.scalars(select(AuditEvent).filter_by(action="oauth.family_revoked")).all()
        (event,) = [one for one in events if one.target_id == app.id]
        assert (event.outcome, event.details["reason"]) == ("refused", "code used twice")
        assert db.scalars(select(Mail.kind).filter_by(owner_id=person.id)).all() == ["token_reused"]


@pytest.mark.acceptance("O05")
async def test_a_code_is_over_after_a_minute(signed_in: Visitor, app: App, sessions: sessionmaker[Session]) -> None:
    code = await code_for(signed_in, app)
    token = Token.read(code)
    assert token is not None
    with sessions.begin() as db:
        row = db.scalars(select(OAuthCode).filter_by(id=token.id)).one()
        assert row.expires_at - row.created_at <= timedelta(seconds=61)
        db.execute(update(OAuthCode).filter_by(id=token.id).values(expires_at=utc_now()))
    reply = await redeem(app, code)
    assert (reply.status, reply.body["error"]) == (400, "invalid_grant")


@pytest.mark.acceptance("O05")
async def test_a_code_is_for_its_client_and_its_address(signed_in: Visitor, api: Api, app: App) -> None:
    code = await code_for(signed_in, app)
    other = await new_app(api)
    replies = [
        await redeem(other, code),
        await redeem(app, code, redirect_uri=f"{CALLBACK}/"),
        await redeem(app, code, redirect_uri=""),
        await redeem(app, code[:-2] + "AA"),
        await redeem(app, "nonsense"),
    ]
    assert {(one.status, one.body["error"]) for one in replies} == {(400, "invalid_grant")}
    assert (await redeem(app, code)).status == 200


@pytest.mark.acceptance("O06")
async def test_of_eight_redemptions_at_once_one_succeeds(signed_in: Visitor, app: App) -> None:
    for _ in range(3):
        code = await code_for(signed_in, app, prompt="consent")
        replies = await asyncio.gather(*(redeem(app, code) for _ in range(8)))
        assert sorted(one.status for one in replies) == [200] + [400] * 7


async def test_a_code_dies_with_the_session_in_which_it_was_given(
    signed_in: Visitor, app: App, sessions: sessionmaker[Session]
) -> None:
    code = await code_for(signed_in, app)
    await signed_in.submit("/sign-in/out", at="/account")
    reply = await redeem(app, code)
    assert (reply.status, reply.body["error"]) == (400, "invalid_grant")


async def test_neither_codes_nor_refresh_tokens_are_kept_as_they_are(
    signed_in: Visitor, app: App, sessions: sessionmaker[Session]
) -> None:
    code = await code_for(signed_in, app)
    token = Token.read(code)
    assert token is not None
    with sessions() as db:
        row = db.scalars(select(OAuthCode).filter_by(id=token.id)).one()
        assert row.digest == token.digest
        assert token.secret not in (row.digest, row.challenge.encode())
        assert db.scalars(select(OAuthFamily.scopes).filter_by(id=row.family_id)).one() == ["openid", "message:read"]
