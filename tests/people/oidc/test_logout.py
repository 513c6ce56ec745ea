"""Logout that an application asks for, by the modules of OpenID's conformance suite for its RP-initiated logout."""

from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

import pytest
from joserfc import jws
from joserfc.jwk import RSAKey
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.features.oauth.tokens import Grant
from app.models import AuditEvent, LogoutNotice, OAuthClient, PersonSession
from tests.api.client import Reply, Tenant
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known, Visitor, location, new_person

BACK = "https://client.example.test/signed-out"
STATE = "s" * 128
pytestmark = pytest.mark.acceptance("I04")


@dataclass(frozen=True)
class SignedIn:
    """Somebody who signed in at a client by its own browser's session."""

    visitor: Visitor
    client: OAuthClient
    grant: Grant
    hint: str
    sessions: sessionmaker[Session]

    async def ask(self, **parameters: str) -> Reply:
        return await self.visitor.get(f"/oauth/logout?{urlencode(parameters)}")

    async def is_signed_in(self) -> bool:
        return (await self.visitor.get("/account")).status == 200

    def owed(self) -> list[UUID]:
        """The clients that are owed a word."""
        with self.sessions.begin() as db:
            return list(db.scalars(select(LogoutNotice.client_id).where(LogoutNotice.user_id == self.grant.user_id)))


@pytest.fixture
async def signed_in(
    visitor: Visitor, granter: Granter, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> SignedIn:
    await visitor.sign_in(person.email)
    client = granter.client(tenant, post_logout_redirect_uris=[BACK], backchannel_logout_uri="https://c.example.test/b")
    with sessions.begin() as db:
        session = db.scalars(select(PersonSession.id).where(PersonSession.user_id == person.id)).one()
    grant = granter.grant(client, person, "openid", session=session)
    return SignedIn(visitor, client, grant, granter.minter().id_token(grant), sessions)


def is_page(reply: Reply, words: str) -> bool:
    return "location" not in reply.headers and words in reply.raw.decode()


async def test_oidcc_rp_initiated_logout(signed_in: SignedIn) -> None:
    reply = await signed_in.ask(id_token_hint=signed_in.hint, post_logout_redirect_uri=BACK, state=STATE)
    assert (reply.status, reply.headers["location"]) == (303, f"{BACK}?state={STATE}")
    assert not await signed_in.is_signed_in()
    assert signed_in.owed() == [signed_in.client.id]


async def test_the_audit_log_has_it(signed_in: SignedIn) -> None:
    await signed_in.ask(id_token_hint=signed_in.hint)
    told = select(AuditEvent.details).where(
        AuditEvent.organisation_id == signed_in.client.organisation_id, AuditEvent.action == "session.ended"
    )
    with signed_in.sessions.begin() as db:
        assert [one["reason"] for one in db.scalars(told)] == ["signed out by an application"]


async def test_oidcc_rp_initiated_logout_no_state(signed_in: SignedIn) -> None:
    reply = await signed_in.ask(id_token_hint=signed_in.hint, post_logout_redirect_uri=BACK)
    assert (reply.status, reply.headers["location"]) == (303, BACK)
    assert not await signed_in.is_signed_in()


async def test_oidcc_rp_initiated_logout_bad_post_logout_redirect_uri(signed_in: SignedIn) -> None:
    reply = await signed_in.ask(id_token_hint=signed_in.hint, post_logout_redirect_uri=f"{BACK}/other", state=STATE)
    assert reply.status == 400
    assert is_page(reply, 'data-reason="invalid_redirect_uri"')
    assert await signed_in.is_signed_in()


async def test_oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri(signed_in: SignedIn) -> None:
    reply = await signed_in.ask(id_token_hint=signed_in.hint, post_logout_redirect_uri=f"{BACK}?foo=bar", state=STATE)
    assert reply.status == 400
    assert is_page(reply, 'data-reason="invalid_redirect_uri"')
    assert await signed_in.is_signed_in()


async def test_oidcc_rp_initiated_logout_modified_id_token_hint(signed_in: SignedIn) -> None:
    head, body, signature = signed_in.hint.split(".")
    changed = ".".join((head, body, signature[:-8] + signature[-8:].swapcase()))
    reply = await signed_in.ask(id_token_hint=changed, post_logout_redirect_uri=BACK, state=STATE)
    assert reply.status == 400
    assert is_page(reply, 'data-reason="invalid_id_token_hint"')
    assert await signed_in.is_signed_in()


async def test_oidcc_rp_initiated_logout_bad_id_token_hint(signed_in: SignedIn) -> None:
    ours = jws.extract_compact(signed_in.hint.encode())
    theirs = RSAKey.generate_key(2048)
    hint = jws.serialize_compact(ours.headers(), ours.payload, theirs, ["RS256"])
    reply = await signed_in.ask(id_token_hint=hint, post_logout_redirect_uri=BACK, state=STATE)
    assert reply.status == 400
    assert is_page(reply, 'data-reason="invalid_id_token_hint"')
    assert await signed_in.is_signed_in()


async def test_a_hint_of_another_issuer_is_refused(signed_in: SignedIn, granter: Granter) -> None:
    foreign = Granter(granter.sessions, granter.settings.model_copy(update={"public_url": "https://op.example.test"}))
    reply = await signed_in.ask(id_token_hint=foreign.minter().id_token(signed_in.grant), post_logout_redirect_uri=BACK)
    assert reply.status == 400
    assert is_page(reply, 'data-reason="invalid_id_token_hint"')


async def test_oidcc_rp_initiated_logout_no_id_token_hint(signed_in: SignedIn) -> None:
    client_id = encode("client", signed_in.client.id)
    asked = {"post_logout_redirect_uri": BACK, "state": STATE, "client_id": client_id}
    assert is_page(await signed_in.ask(**asked), "Did you want that?")
    assert await signed_in.is_signed_in()
    reply = await signed_in.visitor.submit("/oauth/logout/confirm", at=f"/oauth/logout?{urlencode(asked)}")
    assert is_page(reply, "You are signed out")
    assert not await signed_in.is_signed_in()


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({}, id="oidcc-rp-initiated-logout-no-params"),
        pytest.param({"state": STATE}, id="oidcc-rp-initiated-logout-only-state"),
    ],
)
async def test_who_is_named_by_nobody_is_asked_and_then_signed_out(signed_in: SignedIn, asked: dict[str, str]) -> None:
    assert is_page(await signed_in.ask(**asked), "Did you want that?")
    assert await signed_in.is_signed_in()
    reply = await signed_in.visitor.submit("/oauth/logout/confirm", at=f"/oauth/logout?{urlencode(asked)}")
    assert (reply.status, is_page(reply, "You are signed out")) == (200, True)
    assert not await signed_in.is_signed_in()


async def test_oidcc_rp_initiated_logout_no_post_logout_redirect_uri(signed_in: SignedIn) -> None:
    reply = await signed_in.ask(id_token_hint=signed_in.hint, state=STATE)
    assert (reply.status, is_page(reply, "You are signed out")) == (200, True)
    assert not await signed_in.is_signed_in()


async def test_oidcc_rp_initiated_logout_discovery_endpoint_verification(signed_in: SignedIn) -> None:
    published = (await signed_in.visitor.get("/.well-known/openid-configuration")).body
    assert published["end_session_endpoint"] == published["issuer"] + "/oauth/logout"


async def test_the_same_by_post_is_done_once_the_browser_shows_its_session(signed_in: SignedIn) -> None:
    asked = {"id_token_hint": signed_in.hint, "post_logout_redirect_uri": BACK}
    elsewhere = {"origin": "https://client.example.test", "sec-fetch-site": "cross-site"}
    reply = await signed_in.visitor.post("/oauth/logout", asked, **elsewhere)
    assert reply.status == 303
    assert (await signed_in.visitor.get(location(reply))).headers["location"] == BACK
    assert not await signed_in.is_signed_in()


async def test_another_person_is_asked_first_and_a_stranger_cannot_say_yes_for_her(
    signed_in: SignedIn, granter: Granter, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    theirs = granter.grant(signed_in.client, new_person(sessions, tenant.organisation_id), "openid")
    asked = {"id_token_hint": granter.minter().id_token(theirs), "post_logout_redirect_uri": BACK}
    assert is_page(await signed_in.ask(**asked), "Did you want that?")
    cross = {"origin": "https://client.example.test", "sec-fetch-site": "cross-site"}
    assert (await signed_in.visitor.post("/oauth/logout/confirm", asked, **cross)).status == 403
    assert await signed_in.is_signed_in()
    reply = await signed_in.visitor.submit("/oauth/logout/confirm", at=f"/oauth/logout?{urlencode(asked)}")
    assert reply.headers["location"] == BACK
    assert not await signed_in.is_signed_in()
