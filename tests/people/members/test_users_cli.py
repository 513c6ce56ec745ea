"""`postrider users`: the operator makes owners, locks people out and forgets them."""

from collections.abc import Callable, Mapping

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.cli.main import main
from app.domain.ids import decode, encode
from app.domain.permissions import Role
from app.models import AuditEvent, Membership, OAuthFamily, Password, PersonSession, User
from tests.api.client import Tenant
from tests.people.visitor import Known, Visitor, location, new_person

Run = Callable[..., Result]


@pytest.fixture
def run(environment: Mapping[str, str]) -> Run:
    return lambda *words: CliRunner(env=environment).invoke(main, ["users", *words])


@pytest.fixture
def organisation(tenant: Tenant) -> str:
    return encode("org", tenant.organisation_id)


def test_the_first_owner_gets_a_link_as_long_as_there_is_no_other_way_in(
    run: Run, organisation: str, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    made = run("owner", organisation, "ada@example.test")
    assert made.exit_code == 0, made.output
    assert made.output.startswith("http://localhost:8000/sign-in/link?token=")
    again = run("owner", organisation, "Ada@Example.test")
    assert again.output != made.output
    with sessions.begin() as db:
        user = db.scalars(select(User).where(User.email_key == "ada@example.test")).one()
        assert db.get_one(Membership, (tenant.organisation_id, user.id)).role == Role.owner
        assert db.get(Password, user.id) is None
        db.add(Password(user_id=user.id, hash="$argon2id$"))
    assert run("owner", organisation, "ada@example.test").output == "ada@example.test can sign in already\n"


def test_what_cannot_be_is_said_in_a_line(run: Run, organisation: str) -> None:
    assert run("owner", organisation, "no address").output.endswith("Error: 'no address' is no mail address\n")
    nowhere = run("owner", "org_01jd0000000000000000000000", "a@example.test")
    assert nowhere.output == "Error: there is no such organisation\n"
    for command in ("disable", "enable", "delete"):
        assert run(command, "nobody@example.test").output == "Error: nobody is known by 'nobody@example.test'\n"


@pytest.mark.acceptance("S05")
@pytest.mark.parametrize(("command", "action"), [("disable", "user.disabled"), ("delete", "user.deleted")])
async def test_who_is_locked_out_or_forgotten_has_nothing_open_any_more(
    run: Run,
    tenant: Tenant,
    person: Known,
    visitor: Visitor,
    sessions: sessionmaker[Session],
    command: str,
    action: str,
) -> None:
    someone = new_person(sessions, tenant.organisation_id, Role.developer)
    browsers = [visitor.another(), visitor.another()]
    for one in browsers:
        await one.sign_in(someone.email)
        assert (await one.get("/account")).status == 200
    with sessions.begin() as db:
        family = OAuthFamily(
            organisation_id=tenant.organisation_id,
            id=someone.id,
            client_id=someone.id,
            user_id=someone.id,
            session_version=1,
            scopes=["openid"],
            methods=["pwd"],
            expires_at=db.get_one(User, someone.id).created_at.replace(year=2100),
        )
        db.add(family)
    assert run(command, someone.email).exit_code == 0
    for one in browsers:
        assert location(await one.get("/account")) == "/sign-in?next=/account"
    assert (await visitor.sign_in(someone.email)).status == 401
    with sessions() as db:
        kept = db.get(OAuthFamily, (tenant.organisation_id, someone.id))
        assert kept is not None
        assert kept.revoked_reason == {"disable": "disabled", "delete": "deleted"}[command]
        event = db.scalars(select(AuditEvent).where(AuditEvent.action == action)).all()[-1]
        assert (event.organisation_id, event.target_id) == (tenant.organisation_id, encode("user", someone.id))
        assert event.actor_kind == "operator"


async def test_who_is_let_in_again_signs_in_anew(run: Run, person: Known, visitor: Visitor) -> None:
    await visitor.sign_in(person.email)
    old = dict(visitor.cookies)
    assert run("disable", encode("user", person.id)).exit_code == 0
    assert run("enable", person.email).exit_code == 0
    visitor.cookies = old
    assert (await visitor.get("/account")).status == 303
    visitor.cookies = {}
    assert (await visitor.sign_in(person.email)).status == 303


def test_forgetting_leaves_no_address_and_nothing_to_sign_in_by(
    run: Run, tenant: Tenant, person: Known, sessions: sessionmaker[Session]
) -> None:
    someone = new_person(sessions, tenant.organisation_id, Role.admin)
    assert run("delete", someone.email).exit_code == 0
    with sessions() as db:
        left = db.get_one(User, someone.id)
        assert (left.email, left.email_key, left.name) == ("", "", "")
        assert db.get(Password, someone.id) is None
        assert db.scalars(select(PersonSession).where(PersonSession.user_id == someone.id)).all() == []
    assert someone.email not in run("list").output


def test_the_last_owner_is_not_forgotten(run: Run, organisation: str, person: Known) -> None:
    refused = run("delete", person.email)
    assert refused.exit_code == 1
    assert organisation in refused.output
    assert run("disable", person.email).exit_code == 0


def test_people_are_listed_with_their_roles(run: Run, organisation: str, person: Known) -> None:
    (line,) = run("list", organisation).output.splitlines()
    identifier, address, state, roles = line.split("\t")
    assert decode("user", identifier) == person.id
    assert (address, state, roles) == (person.email, "active", f"{organisation}=owner")
