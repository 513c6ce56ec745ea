"""Who belongs to an organisation, as its programs see and change it."""

import asyncio
import secrets
from datetime import timedelta

import aiohttp
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.domain.owned_tokens import Token
from app.domain.permissions import Role
from app.features.organisations.operations import NewKey
from app.kit.encryption import KeyRing
from app.models import AuditEvent, Invitation, Membership
from tests.api.client import Api, Reply, Tenant, new_tenant
from tests.people.letters import letters
from tests.people.visitor import Known, Visitor, location, new_person

MEMBERS, INVITATIONS = "/organisation/member", "/organisation/invitation"


def at(person: Known) -> str:
    return f"{MEMBERS}/{encode('user', person.id)}"


async def set_role(api: Api, person: Known, role: str, version: str = "*") -> Reply:
    return await api.call("PATCH", at(person), {"role": role}, headers={"if-match": version})


def address() -> str:
    return f"i{secrets.token_hex(5)}@example.test"


def actions(sessions: sessionmaker[Session], tenant: Tenant) -> list[str]:
    mine = select(AuditEvent.action).where(AuditEvent.organisation_id == tenant.organisation_id)
    with sessions() as db:
        return list(db.scalars(mine.order_by(AuditEvent.id)))


async def test_members_are_listed_shown_and_given_other_roles(
    api: Api, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> None:
    other = new_person(sessions, tenant.organisation_id, Role.viewer)
    listed = (await api.get(MEMBERS)).body["data"]
    assert [(one["email"], one["role"]) for one in listed] == [(other.email, "viewer"), (person.email, "owner")]
    shown = await api.get(at(other))
    assert shown.body == listed[0]
    changed = await set_role(api, other, "support", shown.headers["etag"])
    assert (changed.status, changed.body["role"]) == (200, "support")
    assert (await set_role(api, other, "viewer", shown.headers["etag"])).status == 412
    assert actions(sessions, tenant)[-1] == "member.role_changed"


async def test_members_of_others_are_not_there(api: Api, sessions: sessionmaker[Session]) -> None:
    foreign = new_person(sessions, new_tenant(sessions).organisation_id)
    assert (await api.get(at(foreign))).status == 404
    assert (await set_role(api, foreign, "viewer")).status == 404
    assert (await api.delete(at(foreign))).status == 404


@pytest.mark.acceptance("K05")
async def test_nobody_gives_a_role_beyond_the_own_or_touches_who_has_one(
    api: Api, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> None:
    admin = api.with_credential(new_tenant(sessions, NewKey("a", "live", Role.admin), tenant.organisation_id).key)
    member = new_person(sessions, tenant.organisation_id, Role.viewer)
    refused = [
        await set_role(admin, member, "owner"),
        await set_role(admin, person, "viewer"),
        await admin.delete(at(person)),
        await admin.post(INVITATIONS, {"email": address(), "role": "owner"}),
    ]
    assert [(one.status, one.body["type"].rpartition(":")[2]) for one in refused] == [(403, "insufficient_scope")] * 4
    assert (await set_role(admin, member, "admin")).status == 200
    narrow = NewKey("n", "live", Role.owner, scopes=["member:read", "member:write"])
    limited = api.with_credential(new_tenant(sessions, narrow, tenant.organisation_id).key)
    assert (await limited.post(INVITATIONS, {"email": address(), "role": "viewer"})).status == 403


async def test_the_last_owner_stays(api: Api, tenant: Tenant, person: Known, sessions: sessionmaker[Session]) -> None:
    for reply in (await set_role(api, person, "admin"), await api.delete(at(person))):
        assert (reply.status, reply.code) == (409, "last_owner")
    second = new_person(sessions, tenant.organisation_id)
    assert (await set_role(api, person, "admin")).status == 200
    assert (await api.delete(at(second))).status == 409


async def test_of_two_owners_who_are_removed_at_once_one_stays(
    api: Api, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> None:
    second = new_person(sessions, tenant.organisation_id)
    replies = await asyncio.gather(api.delete(at(person)), api.delete(at(second)))
    assert sorted(one.status for one in replies) == [204, 409]
    with sessions() as db:
        mine = (Membership.organisation_id == tenant.organisation_id, Membership.role == Role.owner)
        assert db.scalar(select(func.count()).select_from(Membership).where(*mine)) == 1


@pytest.mark.acceptance("S05")
async def test_who_is_removed_is_signed_out_here_at_once_and_stays_elsewhere(
    api: Api, tenant: Tenant, person: Known, sessions: sessionmaker[Session], visitor: Visitor
) -> None:
    leaver = new_person(sessions, tenant.organisation_id, Role.developer)
    bystander = visitor.another()
    await bystander.sign_in(person.email)
    await visitor.sign_in(leaver.email)
    assert (await visitor.get("/account")).status == 200
    assert (await api.delete(at(leaver))).status == 204
    assert location(await visitor.get("/account")) == "/sign-in?next=/account"
    assert (await bystander.get("/account")).status == 200
    assert (await api.get(at(leaver))).status == 404
    assert actions(sessions, tenant)[-1] == "member.removed"


@pytest.mark.acceptance("S10")
async def test_who_is_signed_out_by_the_organisation_may_sign_in_again(
    api: Api, tenant: Tenant, person: Known, sessions: sessionmaker[Session], visitor: Visitor
) -> None:
    other = visitor.another()
    member = new_person(sessions, tenant.organisation_id, Role.viewer)
    await visitor.sign_in(member.email)
    await other.sign_in(person.email)
    assert (await visitor.get("/account")).status == 200
    assert (await api.delete(f"{at(member)}/session")).status == 204
    assert location(await visitor.get("/account")) == "/sign-in?next=/account"
    assert (await visitor.post("/account/sessions/all", {})).status == 401
    assert (await other.get("/account")).status == 200
    assert actions(sessions, tenant)[-1] == "member.sessions_ended"
    assert location(await visitor.sign_in(member.email)) == "/account"


@pytest.mark.acceptance("S10")
async def test_sessions_of_others_members_are_not_ended(
    api: Api, sessions: sessionmaker[Session], visitor: Visitor
) -> None:
    foreign = new_person(sessions, new_tenant(sessions).organisation_id)
    await visitor.sign_in(foreign.email)
    assert (await api.delete(f"{at(foreign)}/session")).status == 404
    assert (await visitor.get("/account")).status == 200


async def test_an_invitation_is_mailed_listed_and_revoked(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    to = address()
    made = await api.post(INVITATIONS, {"email": to, "role": "developer"})
    assert (made.status, made.body["email"], made.body["role"]) == (201, to, "developer")
    (letter,) = letters(sessions, ring, tenant.organisation_id)
    assert (letter.kind, letter.address, letter.values["role"]) == ("invitation", to, "developer")
    token = Token.read(letter.values["token"])
    assert token is not None
    assert encode("inv", token.id) == made.body["id"]
    assert letter.values["token"] not in made.raw.decode()
    assert [one["id"] for one in (await api.get(INVITATIONS)).body["data"]] == [made.body["id"]]
    assert (await api.delete(f"{INVITATIONS}/{made.body['id']}")).status == 204
    assert (await api.get(INVITATIONS)).body["data"] == []
    closed = (await api.get(INVITATIONS, include_closed="true")).body["data"]
    assert closed[0]["revokedAt"] is not None
    assert actions(sessions, tenant)[-2:] == ["member.invited", "invitation.revoked"]


async def test_an_address_is_invited_once_and_a_member_not_at_all(api: Api, person: Known) -> None:
    to = address()
    assert (await api.post(INVITATIONS, {"email": person.email.upper(), "role": "viewer"})).code == "already_member"
    assert (await api.post(INVITATIONS, {"email": to, "role": "viewer"})).status == 201
    assert (await api.post(INVITATIONS, {"email": to.upper(), "role": "viewer"})).code == "already_invited"
    replies = await asyncio.gather(
        *(api.post(INVITATIONS, {"email": "same@example.test", "role": "viewer"}) for _ in range(4))
    )
    assert sorted(one.status for one in replies) == [201, 409, 409, 409]


async def test_an_invitation_that_is_over_by_itself_makes_room(api: Api, sessions: sessionmaker[Session]) -> None:
    to = address()
    first = (await api.post(INVITATIONS, {"email": to, "role": "viewer"})).body["id"]
    with sessions.begin() as db:
        db.execute(update(Invitation).where(Invitation.email == to).values(expires_at=func.now()))
    second = await api.post(INVITATIONS, {"email": to, "role": "viewer"})
    assert second.status == 201
    assert [one["id"] for one in (await api.get(INVITATIONS)).body["data"]] == [second.body["id"]]
    assert first != second.body["id"]


async def test_sending_again_ends_the_link_of_before_and_does_not_fill_mailboxes(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    made = (await api.post(INVITATIONS, {"email": address(), "role": "viewer"})).body["id"]
    hasty = await api.post(f"{INVITATIONS}/{made}/resend")
    assert hasty.status == 429
    assert 1 <= int(hasty.headers["retry-after"]) <= 60
    with sessions.begin() as db:
        db.execute(update(Invitation).values(sent_at=Invitation.sent_at - timedelta(minutes=2)))
    again = await api.post(f"{INVITATIONS}/{made}/resend")
    assert again.status == 200
    tokens = [Token.read(one.values["token"]) for one in letters(sessions, ring, tenant.organisation_id)]
    with sessions() as db:
        digest = db.scalars(select(Invitation.digest).where(Invitation.organisation_id == tenant.organisation_id)).one()
    assert [one is not None and one.digest == digest for one in tokens] == [False, True]
    await api.delete(f"{INVITATIONS}/{made}")
    assert (await api.post(f"{INVITATIONS}/{made}/resend")).code == "invitation_over"


@pytest.mark.parametrize("body", [{"email": "no address", "role": "viewer"}, {"email": "a@b.example", "role": "king"}])
async def test_what_is_no_address_or_no_role_is_refused(api: Api, body: dict[str, str]) -> None:
    assert (await api.post(INVITATIONS, body)).status == 422


async def test_whether_a_second_factor_is_demanded_stands_with_the_organisation(api: Api, tenant: Tenant) -> None:
    shown = await api.get("/organisation")
    assert shown.body["mfaRequired"] is False
    changed = await api.call(
        "PATCH", "/organisation", {"mfaRequired": True}, headers={"if-match": shown.headers["etag"]}
    )
    assert (changed.status, changed.body["mfaRequired"]) == (200, True)
    assert (await api.get("/organisation")).body["mfaRequired"] is True


async def test_keys_of_the_test_environment_change_nobody(
    http: aiohttp.ClientSession, base_url: str, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> None:
    test = Api(http, base_url, new_tenant(sessions, NewKey("t", "test"), tenant.organisation_id).key)
    assert (await test.get(at(person))).status == 200
    assert (await test.delete(at(person))).status == 403
