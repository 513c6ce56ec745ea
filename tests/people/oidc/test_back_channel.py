"""Clients hear that a session is over, by the modules of OpenID's conformance suite for back-channel logout."""

import asyncio
import time
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

import aiohttp
import jwt
import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.oauth import notice_queries
from app.features.oauth.tokens import Grant
from app.features.sessions import operations
from app.models import LogoutNotice, OAuthClient, PersonSession
from app.settings import Settings
from tests.api.client import Tenant
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known, Visitor
from tests.receiver import Answer, Receiver
from worker.logouts import Announcer, announce
from worker.process import _way_out

EVENT = "http://schemas.openid.net/event/backchannel-logout"
pytestmark = pytest.mark.acceptance("I05")


@dataclass(frozen=True)
class Listening:
    """A client that hears of logouts at a path of the receiver, and somebody's session there."""

    sessions: sessionmaker[Session]
    announcer: Announcer
    client: OAuthClient
    grant: Grant
    path: str

    def end(self) -> None:
        assert self.grant.user_id is not None
        assert self.grant.session_id is not None
        with self.sessions.begin() as db:
            operations.end(db, self.grant.user_id, self.grant.session_id, "test")

    async def announce(self) -> int:
        return await asyncio.to_thread(announce, self.sessions, self.announcer)

    def notice(self) -> LogoutNotice:
        with self.sessions.begin() as db:
            return db.scalars(select(LogoutNotice).where(LogoutNotice.client_id == self.client.id)).one()

    def wait_no_longer(self) -> None:
        with self.sessions.begin() as db:
            db.execute(update(LogoutNotice).values(due_at=LogoutNotice.created_at))


@pytest.fixture
async def listening(
    visitor: Visitor,
    granter: Granter,
    tenant: Tenant,
    person: Known,
    sessions: sessionmaker[Session],
    settings: Settings,
    receiver: Receiver,
) -> Listening:
    await visitor.sign_in(person.email)
    path = receiver.path()
    client = granter.client(tenant, backchannel_logout_uri=receiver.base + path)
    with sessions.begin() as db:
        session = db.scalars(select(PersonSession.id).where(PersonSession.user_id == person.id)).one()
    grant = granter.grant(client, person, "openid", session=session)
    announcer = Announcer(settings.issuer, settings.secrets.ring(), *_way_out(settings))
    return Listening(sessions, announcer, client, grant, path)


async def test_oidcc_backchannel_rp_initiated_logout(
    listening: Listening, receiver: Receiver, granter: Granter, visitor: Visitor, base_url: str
) -> None:
    hint = granter.minter().id_token(listening.grant)
    assert (await visitor.get(f"/oauth/logout?id_token_hint={hint}")).status == 200
    assert await listening.announce() == 1
    (told,) = receiver.at(listening.path)
    assert told.headers["content-type"] == "application/x-www-form-urlencoded"
    fields = parse_qs(told.body.decode(), strict_parsing=True)
    assert list(fields) == ["logout_token"]
    (token,) = fields["logout_token"]
    key = await asyncio.to_thread(jwt.PyJWKClient(f"{base_url}/oauth/jwks").get_signing_key_from_jwt, token)
    claims = jwt.decode(token, key, ["RS256"], audience=encode("client", listening.client.id))
    named = jwt.decode(hint, options={"verify_signature": False})
    assert jwt.get_unverified_header(token)["typ"] == "logout+jwt"
    assert {"iss", "aud", "iat", "exp", "jti", "events", "sub", "sid"} == set(claims)
    assert (claims["iss"], claims["sub"], claims["sid"]) == (named["iss"], named["sub"], named["sid"])
    assert claims["events"] == {EVENT: {}}
    assert 0 < claims["exp"] - claims["iat"] <= 120
    assert abs(claims["iat"] - time.time()) < 10
    assert listening.notice().sent_at is not None
    assert await listening.announce() == 0


async def test_oidcc_backchannel_logout_discovery_endpoint_verification(
    http: aiohttp.ClientSession, base_url: str
) -> None:
    async with http.get(f"{base_url}/.well-known/openid-configuration") as response:
        published = await response.json()
    assert published["backchannel_logout_supported"] is True
    assert published["backchannel_logout_session_supported"] is True
    assert published["end_session_endpoint"].startswith(published["issuer"])


async def test_whoever_ends_a_session_the_client_hears_of_it_once(listening: Listening, receiver: Receiver) -> None:
    listening.end()
    listening.end()
    assert await listening.announce() == 1
    assert len(receiver.at(listening.path)) == 1


async def test_a_client_that_does_not_listen_is_told_again_by_a_new_token(
    listening: Listening, receiver: Receiver
) -> None:
    receiver.tell(listening.path, Answer(503), Answer(200))
    listening.end()
    await listening.announce()
    failed = listening.notice()
    assert (failed.sent_at, failed.attempts, failed.last_failure) == (None, 1, "it answered 503")
    listening.wait_no_longer()
    await listening.announce()
    assert listening.notice().sent_at is not None
    first, second = (parse_qs(one.body.decode())["logout_token"][0] for one in receiver.at(listening.path))
    assert first != second


async def test_after_a_day_it_is_left_at_that(listening: Listening, receiver: Receiver) -> None:
    receiver.tell(listening.path, Answer(503))
    listening.end()
    with listening.sessions.begin() as db:
        db.execute(update(LogoutNotice).values(created_at=LogoutNotice.created_at - notice_queries.GIVEN_UP_AFTER))
    await listening.announce()
    assert (listening.notice().due_at, listening.notice().sent_at) == (None, None)


async def test_the_way_out_is_guarded(listening: Listening, receiver: Receiver) -> None:
    closed = replace(listening.announcer, policy=replace(listening.announcer.policy, allow=()))
    listening.end()
    await asyncio.to_thread(announce, listening.sessions, closed)
    assert receiver.at(listening.path) == []
    assert listening.notice().sent_at is None


async def test_a_client_that_is_gone_is_told_nothing(listening: Listening, receiver: Receiver) -> None:
    listening.end()
    with listening.sessions.begin() as db:
        db.execute(update(OAuthClient).where(OAuthClient.id == listening.client.id).values(backchannel_logout_uri=None))
    await listening.announce()
    assert receiver.at(listening.path) == []
    assert (listening.notice().due_at, listening.notice().last_failure) == (None, notice_queries.GONE)
