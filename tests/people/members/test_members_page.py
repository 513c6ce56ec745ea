"""The page of an organisation's people, as they see and use it."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import encode
from app.domain.permissions import Role
from app.features.people.operations import join
from app.kit.encryption import KeyRing
from app.models import AuditEvent, Membership, Organisation, PersonSession
from tests.api.client import Tenant, new_tenant
from tests.people.letters import letters
from tests.people.visitor import Known, Visitor, location, new_person

PAGE = "/organisation/members"


@pytest.fixture
async def owner(visitor: Visitor, person: Known) -> Visitor:
    """The owner, signed in."""
    await visitor.sign_in(person.email)
    return visitor


def role_of(sessions: sessionmaker[Session], person: Known) -> str | None:
    with sessions() as db:
        found = db.get(Membership, (person.organisation_id, person.id))
        return None if found is None else found.role


async def test_somebody_is_invited_shown_and_the_invitation_taken_back(
    owner: Visitor, tenant: Tenant, sessions: sessionmaker[Session], ring: KeyRing
) -> None:
    sent = await owner.submit(f"{PAGE}/invite", at=PAGE, email="bob@example.test", role="admin")
    assert location(sent) == f"{PAGE}?done=invited"
    shown = (await owner.get(location(sent))).raw.decode()
    assert "The invitation is on its way." in shown
    assert "bob@example.test" in shown
    (letter,) = letters(sessions, ring, tenant.organisation_id)
    assert (letter.address, letter.values["role"]) == ("bob@example.test", "admin")
    assert location(await owner.submit(f"{PAGE}/revoke", at=PAGE)) == f"{PAGE}?done=revoked"
    assert "bob@example.test" not in (await owner.get(PAGE)).raw.decode()


async def test_roles_are_changed_and_people_removed(
    owner: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    other = new_person(sessions, person.organisation_id, Role.viewer)
    member = encode("user", other.id)
    assert (await owner.submit(f"{PAGE}/role", at=PAGE, member=member, role="support")).status == 303
    assert role_of(sessions, other) == "support"
    assert (await owner.submit(f"{PAGE}/remove", at=PAGE, member=member)).status == 303
    assert role_of(sessions, other) is None
    with sessions() as db:
        mine = select(AuditEvent).where(AuditEvent.organisation_id == person.organisation_id)
        last = db.scalars(mine.order_by(AuditEvent.id.desc())).first()
    assert last is not None
    assert (last.action, last.actor_kind, last.actor_id) == ("member.removed", "user", encode("user", person.id))


@pytest.mark.acceptance("K05")
async def test_an_admin_gives_no_more_than_it_has(
    visitor: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    admin = new_person(sessions, person.organisation_id, Role.admin)
    await visitor.sign_in(admin.email)
    refused = [
        await visitor.submit(f"{PAGE}/invite", at=PAGE, email="c@example.test", role="owner"),
        await visitor.submit(f"{PAGE}/role", at=PAGE, member=encode("user", person.id), role="viewer"),
        await visitor.submit(f"{PAGE}/role", at=PAGE, member=encode("user", admin.id), role="owner"),
    ]
    assert [one.status for one in refused] == [403] * 3
    assert all('data-reason="insufficient_scope"' in one.raw.decode() for one in refused)
    assert role_of(sessions, person) == "owner"
    assert '<option value="owner"' not in (await visitor.get(PAGE)).raw.decode()


@pytest.mark.parametrize(("role", "sees"), [(Role.support, True), (Role.developer, False), (Role.viewer, False)])
async def test_others_change_nothing_and_see_people_only_as_their_role_says(
    visitor: Visitor,
    person: Known,
    sessions: sessionmaker[Session],
    role: Role,
    sees: bool,  # noqa: FBT001 a parameter of the test
) -> None:
    someone = new_person(sessions, person.organisation_id, role)
    await visitor.sign_in(someone.email)
    shown = (await visitor.get(PAGE)).raw.decode()
    assert (person.email in shown) is sees
    assert f'action="{PAGE}/invite"' not in shown
    token = shown.split('name="csrf" value="')[1].split('"')[0]
    forged = {"csrf": token, "member": encode("user", person.id), "role": "viewer", "email": "c@example.test"}
    for act in ("role", "remove", "invite"):
        assert (await visitor.post(f"{PAGE}/{act}", forged)).status == 403
    assert role_of(sessions, person) == "owner"


async def test_a_change_needs_somebody_who_was_there_a_moment_ago(
    owner: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as db:
        long_ago = {"reauthenticated_at": func.now() - timedelta(hours=1)}
        db.execute(update(PersonSession).values(long_ago).where(PersonSession.user_id == person.id))
    shown = await owner.get(PAGE)
    assert f"/sign-in/again?next={PAGE}" in shown.raw.decode()
    refused = await owner.submit(f"{PAGE}/invite", at=PAGE, email="c@example.test", role="viewer")
    assert (refused.status, 'data-reason="reauth_required"' in refused.raw.decode()) == (403, True)


async def test_what_cannot_be_is_said_on_the_page(owner: Visitor, person: Known) -> None:
    wrong = await owner.submit(f"{PAGE}/invite", at=PAGE, email="no address", role="viewer")
    assert wrong.status == 422
    assert 'value="no address"' in wrong.raw.decode()
    last = await owner.submit(f"{PAGE}/leave", at=PAGE)
    assert (last.status, 'data-reason="last_owner"' in last.raw.decode()) == (409, True)
    again = await owner.submit(f"{PAGE}/role", at=PAGE, member="user_nobody", role="viewer")
    assert again.status == 404


@pytest.mark.acceptance("S05")
async def test_whoever_leaves_is_out_at_once(visitor: Visitor, person: Known, sessions: sessionmaker[Session]) -> None:
    someone = new_person(sessions, person.organisation_id, Role.viewer)
    await visitor.sign_in(someone.email)
    assert location(await visitor.submit(f"{PAGE}/leave", at=PAGE)) == "/sign-in"
    assert location(await visitor.get("/account")) == "/sign-in?next=/account"
    assert role_of(sessions, someone) is None


async def test_a_person_of_several_organisations_looks_at_one_and_then_at_another(
    owner: Visitor, person: Known, sessions: sessionmaker[Session]
) -> None:
    other = new_tenant(sessions).organisation_id
    foreign = new_tenant(sessions).organisation_id
    with sessions.begin() as db:
        db.get_one(Organisation, other).name = "Other & Sons"
        join(db, other, person.id, Role.viewer)
    assert "Other &amp; Sons" in (await owner.get(PAGE)).raw.decode()
    assert (await owner.submit("/organisation/switch", at=PAGE)).status == 303
    shown = (await owner.get(PAGE)).raw.decode()
    assert "People of Other &amp; Sons" in shown
    assert "You are here as viewer" in shown
    refused = await owner.submit("/organisation/switch", at=PAGE, organisation=encode("org", foreign))
    assert (refused.status, 'data-reason="no_organisation"' in refused.raw.decode()) == (403, True)


async def test_who_belongs_nowhere_is_told_so(owner: Visitor, person: Known, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as db:
        db.delete(db.get_one(Membership, (person.organisation_id, person.id)))
    refused = await owner.get(PAGE)
    assert (refused.status, 'data-reason="no_organisation"' in refused.raw.decode()) == (403, True)
