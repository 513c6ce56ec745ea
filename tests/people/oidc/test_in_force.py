"""What ends an access token before its time, and how soon; what a person may with it is asked anew each time."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import aiohttp
import pytest
import redis
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.domain.ids import encode
from app.domain.permissions import Role
from app.features.oauth.tokens import Access, Grant
from app.features.sessions import operations as sessions_
from app.features.sign_in.tickets import Tickets, new_ticket
from app.kit import changes
from app.kit.cache import forget_from_outside
from app.kit.clock import new_id, utc_now
from app.main import create_app
from app.models import (
    AuditEvent,
    Membership,
    OAuthClient,
    OAuthFamily,
    Organisation,
    Passkey,
    PersonSession,
    RevokedToken,
    User,
)
from app.settings import Settings, read_settings
from tests.api.client import Api, Tenant, new_tenant, served
from tests.people.oauth.world import code_for, new_app, redeem, refresh
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known, Visitor, new_person

VISIBLE_SECONDS = 1.0


@dataclass(frozen=True)
class Held:
    """A person's token for the API, and what it hangs on."""

    api: Api
    grant: Grant
    access: Access
    person: Known

    async def status(self) -> int:
        return (await self.api.get("/organisation")).status

    async def becomes(self, status: int, seconds: float = VISIBLE_SECONDS) -> bool:
        end = time.monotonic() + seconds
        while await self.status() != status:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.05)
        return True


async def hold(
    visitor: Visitor, granter: Granter, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> Held:
    """A token of the person, who signs in for it."""
    await visitor.sign_in(person.email)
    with sessions.begin() as db:
        session = db.scalars(select(PersonSession.id).where(PersonSession.user_id == person.id)).one()
    grant = granter.grant(granter.client(tenant), person, session=session)
    access = granter.access(grant)
    found = Held(Api(visitor.http, visitor.base, access.text), grant, access, person)
    assert await found.status() == 200
    return found


@pytest.fixture
async def held(
    visitor: Visitor, granter: Granter, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> Held:
    return await hold(visitor, granter, tenant, person, sessions)


def _revoke_token(db: Session, held: Held) -> None:
    row = {"organisation_id": held.grant.organisation_id, "token_id": held.access.id}
    db.execute(insert(RevokedToken).values(**row, expires_at=held.access.expires_at))


def _revoke_family(db: Session, held: Held) -> None:
    db.execute(update(OAuthFamily).where(OAuthFamily.id == held.grant.family_id).values(revoked_at=utc_now()))


def _end_session(db: Session, held: Held) -> None:
    assert held.grant.session_id is not None
    assert sessions_.end(db, held.person.id, held.grant.session_id, "test")


def _begin_another_version(db: Session, held: Held) -> None:
    changed = update(User).where(User.id == held.person.id)
    db.execute(changed.values(session_version=User.session_version + 1))


def _disable(db: Session, held: Held) -> None:
    db.execute(update(User).where(User.id == held.person.id).values(disabled_at=utc_now()))


def _delete_client(db: Session, held: Held) -> None:
    db.execute(update(OAuthClient).where(OAuthClient.id == held.grant.client_id).values(deleted_at=utc_now()))


def _leave(db: Session, held: Held) -> None:
    db.execute(delete(Membership).where(Membership.user_id == held.person.id))


def _suspend(db: Session, held: Held) -> None:
    db.execute(update(Organisation).where(Organisation.id == held.grant.organisation_id).values(suspended_at=utc_now()))


ENDS = [
    _revoke_token,
    _revoke_family,
    _end_session,
    _begin_another_version,
    _disable,
    _delete_client,
    _leave,
    _suspend,
]


@pytest.mark.acceptance("T11")
@pytest.mark.parametrize("end", ENDS)
async def test_it_is_over_within_a_second_and_stays_so_when_redis_forgets_and_processes_start_anew(
    held: Held, end: Callable[[Session, Held], None], sessions: sessionmaker[Session], settings: Settings
) -> None:
    with sessions.begin() as db:
        end(db, held)
        # As every part of the API, and the operator's commands, do in the transactions that end something.
        changes.note(db, held.grant.organisation_id, held.person.id)
        noted = changes.noted(db)
    await asyncio.to_thread(forget_from_outside, settings.redis.url.get_secret_value(), noted)
    assert await held.becomes(401)
    with redis.Redis.from_url(settings.redis.url.get_secret_value()) as client:
        client.flushall()
    assert await held.status() == 401
    async with served(create_app(settings)) as url:
        assert (await Api(held.api.http, url, held.access.text).get("/organisation")).status == 401


async def test_without_redis_it_is_over_within_five_seconds(
    held: Held, environment: dict[str, str], sessions: sessionmaker[Session]
) -> None:
    with mock.patch.dict(os.environ, {**environment, "POSTRIDER_REDIS__URL": "redis://127.0.0.1:1/0"}, clear=True):
        lonely = read_settings()
    async with served(create_app(lonely)) as url:
        there = Held(Api(held.api.http, url, held.access.text), held.grant, held.access, held.person)
        assert await there.status() == 200
        with sessions.begin() as db:
            _revoke_token(db, held)
        assert await there.becomes(401, 5.0)


@pytest.mark.acceptance("T11")
async def test_what_ends_behind_the_back_of_the_api_is_over_within_five_seconds(
    visitor: Visitor, granter: Granter, sessions: sessionmaker[Session]
) -> None:
    them = []
    for _ in ENDS:
        tenant = new_tenant(sessions)
        person = new_person(sessions, tenant.organisation_id)
        them.append(await hold(visitor.another(), granter, tenant, person, sessions))
    assert [await one.status() for one in them] == [200] * len(ENDS)
    with sessions.begin() as db:
        for end, one in zip(ENDS, them, strict=True):
            end(db, one)
    are_over = await asyncio.gather(*(one.becomes(401, 5.0 + VISIBLE_SECONDS) for one in them))
    assert [end.__name__ for end, is_over in zip(ENDS, are_over, strict=True) if not is_over] == []


@pytest.mark.acceptance("T11")
async def test_what_the_api_ends_is_over_within_a_second(
    held: Held, http: aiohttp.ClientSession, base_url: str, tenant: Tenant, visitor: Visitor
) -> None:
    owner = Api(http, base_url, tenant.key)
    app = await new_app(owner, scopes=["openid", "organisation:read"])
    code = await code_for(visitor, app, scope="openid organisation:read")
    tokens = (await redeem(app, code)).body
    given = [replace(held, api=app.api(tokens["access_token"]))]
    assert [await one.status() for one in (held, *given)] == [200, 200]
    assert (await app.post("/oauth/revoke", {"token": tokens["access_token"]})).status == 200
    assert await given[0].becomes(401)
    renewed = replace(held, api=app.api((await refresh(app, tokens["refresh_token"])).body["access_token"]))
    assert await renewed.status() == 200
    assert (await owner.delete(f"/organisation/oauth-client/{app.id}")).status == 204
    assert await renewed.becomes(401)
    assert await held.status() == 200
    await visitor.submit("/sign-in/out", at="/account")
    assert await held.becomes(401)


@pytest.mark.acceptance("T15")
async def test_a_role_counts_from_the_next_look_not_from_the_next_token(
    held: Held, sessions: sessionmaker[Session]
) -> None:
    assert (await held.api.post("/app", {"name": "before"})).status == 201
    with sessions.begin() as db:
        db.execute(update(Membership).where(Membership.user_id == held.person.id).values(role=Role.viewer))
    await asyncio.sleep(5.0 + VISIBLE_SECONDS)
    reply = await held.api.post("/app", {"name": "after"})
    assert (reply.status, reply.body["type"]) == (403, "urn:postrider:error:insufficient_scope")
    assert await held.status() == 200


@pytest.mark.acceptance("T15")
async def test_a_member_that_the_api_gives_another_role_has_it_at_once(
    held: Held, http: aiohttp.ClientSession, base_url: str, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    new_person(sessions, tenant.organisation_id)  # an organisation keeps an owner
    owner = Api(http, base_url, tenant.key)
    path = f"/organisation/member/{encode('user', held.person.id)}"
    changed = await owner.call("PATCH", path, {"role": "viewer"}, headers={"if-match": "*"})
    assert changed.status == 200, changed.raw
    await asyncio.sleep(VISIBLE_SECONDS)
    assert (await held.api.post("/app", {"name": "after"})).status == 403


async def test_an_organisation_says_from_where_its_people_may_call(held: Held, sessions: sessionmaker[Session]) -> None:
    mine = Organisation.id == held.grant.organisation_id
    with sessions.begin() as db:
        db.execute(update(Organisation).where(mine).values(denied_networks=["127.0.0.0/8"]))
    assert await held.becomes(403, 5.0 + VISIBLE_SECONDS)
    assert (await held.api.get("/organisation")).body["type"] == "urn:postrider:error:ip_denied"


def _demand(sessions: sessionmaker[Session], held: Held) -> None:
    mine = Organisation.id == held.grant.organisation_id
    with sessions.begin() as db:
        db.execute(update(Organisation).where(mine).values(mfa_required=True))


async def test_who_lacks_a_second_factor_that_the_organisation_asks_for_has_to_add_one(
    held: Held, sessions: sessionmaker[Session]
) -> None:
    _demand(sessions, held)
    assert await held.becomes(403, 5.0 + VISIBLE_SECONDS)
    assert (await held.api.get("/organisation")).body["type"] == "urn:postrider:error:mfa_enrolment_required"


@pytest.mark.acceptance("M10")
async def test_a_token_that_was_got_by_one_factor_is_not_enough_where_two_are_asked_for(
    held: Held, granter: Granter, sessions: sessionmaker[Session], tenant: Tenant
) -> None:
    key: dict[str, Any] = {"public_key": b"k", "sign_count": 0, "transports": [], "is_backed_up": False, "name": "k"}
    with sessions.begin() as db:
        db.add(Passkey(user_id=held.person.id, id=new_id(), credential_id=new_id().bytes, **key))
    _demand(sessions, held)
    assert await held.becomes(401, 5.0 + VISIBLE_SECONDS)
    refused = await held.api.get("/organisation")
    assert refused.body["type"] == "urn:postrider:error:insufficient_user_authentication"
    challenge = 'Bearer error="insufficient_user_authentication", acr_values="aal2"'
    assert refused.headers["www-authenticate"] == challenge
    stronger = granter.access(granter.grant(granter.client(tenant), held.person, methods=["pwd", "otp"])).text
    assert (await held.api.with_credential(stronger).get("/organisation")).status == 200


@pytest.mark.acceptance("T13")
async def test_the_token_of_one_person_beside_the_session_of_another_is_refused(
    held: Held, visitor: Visitor, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    other = visitor.another()
    await other.sign_in(new_person(sessions, tenant.organisation_id).email)

    async def call(cookie: str, method: str, path: str, body: object = None) -> tuple[int, str]:
        reply = await held.api.call(method, path, body, headers={"cookie": f"{COOKIE}={cookie}"})
        return reply.status, reply.body.get("type", "").rpartition(":")[2]

    assert await call(other.cookies[COOKIE], "GET", "/organisation") == (400, "invalid_request")
    assert await call(other.cookies[COOKIE], "POST", "/app/none/msg", {}) == (400, "invalid_request")
    assert (await call(visitor.cookies[COOKIE], "GET", "/organisation"))[0] == 200
    assert (await call("nonsense", "GET", "/organisation"))[0] == 200


@pytest.mark.acceptance("T13")
async def test_two_tokens_at_once_are_refused(http: aiohttp.ClientSession, held: Held, base_url: str) -> None:
    twice = [("authorization", f"Bearer {held.access.text}")] * 2
    async with http.get(f"{base_url}/api/v1/organisation", headers=twice) as response:
        assert response.status == 400
    data, headers = {"access_token": held.access.text}, dict(twice[:1])
    async with http.post(f"{base_url}/oauth/userinfo", headers=headers, data=data) as response:
        assert (response.status, (await response.json())["code"]) == (400, "invalid_request")


@pytest.mark.acceptance("M04")
@pytest.mark.parametrize("path", ["/organisation", "/app", "/app/none", "/event-type"])
async def test_half_a_sign_in_opens_nothing(held: Held, settings: Settings, path: str) -> None:
    ticket = Tickets(settings.secrets.ring()).mint(new_ticket(held.person.id, 1, ("pwd",), "mfa", "/account"))
    reply = await held.api.with_credential(ticket).get(path)
    assert (reply.status, reply.body["type"]) == (401, "urn:postrider:error:mfa_required")


async def test_messages_are_sent_by_a_token_as_by_a_key(held: Held) -> None:
    made = await held.api.post("/app", {"name": "shop"})
    assert made.status == 201
    message = {"eventType": "invoice.paid", "payload": {"invoice": 17}}
    assert (await held.api.post(f"/app/{made.body['id']}/msg", message)).status == 202


async def test_the_audit_log_names_the_person_and_the_client(
    held: Held, granter: Granter, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    client = granter.client(tenant, scopes=["organisation:write"])
    api = held.api.with_credential(granter.access(granter.grant(client, held.person)).text)
    changed = await api.call("PATCH", "/organisation", {"name": "renamed"}, headers={"if-match": "*"})
    assert changed.status == 200, changed.raw
    with sessions.begin() as db:
        event = db.scalars(
            select(AuditEvent).where(
                AuditEvent.organisation_id == tenant.organisation_id, AuditEvent.action.like("organisation.%")
            )
        ).one()
    who = (event.actor_kind, event.actor_id, event.actor_label)
    assert who == ("user", encode("user", held.person.id), encode("client", client.id))
