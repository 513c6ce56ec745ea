"""Whoever is gone has nothing left that opens anything: no session, no tokens, and none of the keys that it made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest
import pytest_asyncio
from click.testing import CliRunner
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.cli.main import main
from app.domain.ids import decode, encode
from app.domain.permissions import Role
from app.features.people.operations import join
from app.kit.clock import utc_now
from app.models import ApiKey, AuditEvent, Membership, User
from tests.api.client import Api, Reply, Tenant
from tests.api.key_world import KEYS, Made, make, patch, refused_within_a_second, status
from tests.people.oauth.world import App, code_for, new_app, redeem, refresh
from tests.people.visitor import Known, Visitor, location, new_person
from tests.signer import Ask

POWERS = ["organisation:read", "key:read", "key:write"]
SCOPES = ["openid", "offline_access", *POWERS]
MEMBERS = "/organisation/members"


@dataclass(frozen=True)
class Holder:
    """Somebody with all that it can call with."""

    person: Known
    browser: Visitor
    app: App
    access: str
    refresh: str
    key: Made
    key_of_the_key: Made
    signing: Made

    @property
    def bearers(self) -> tuple[str, str, str]:
        """What is sent as it is."""
        return self.access, self.key.text, self.key_of_the_key.text

    async def sign(self) -> Reply:
        """A request that the third key signs."""
        ask = Ask("GET", "/api/v1/organisation", "", b"", key_id=self.signing.id)
        api = self.app.api("")
        async with api.http.get(api.base + ask.path, headers=ask.signed(self.signing.text.encode())) as response:
            return Reply(response.status, response.headers, await response.read())

    async def require_nothing_left(self, api: Api) -> None:
        """Nothing opens anything; keys a second from now."""
        assert location(await self.browser.get("/account")) == "/sign-in?next=/account"
        renewed = await refresh(self.app, self.refresh)
        assert (renewed.status, renewed.body["error"]) == (400, "invalid_grant")
        await refused_within_a_second(api, *self.bearers)
        assert (await self.sign()).status == 401


@pytest_asyncio.fixture
async def holder(api: Api, tenant: Tenant, person: Known, visitor: Visitor, sessions: sessionmaker[Session]) -> Holder:
    """An admin of the organisation that `person` owns."""
    someone = new_person(sessions, person.organisation_id, Role.admin)
    app = await new_app(api, scopes=SCOPES)
    await visitor.sign_in(someone.email)
    tokens = (await redeem(app, await code_for(visitor, app, scope=" ".join(SCOPES)))).body
    own = app.api(tokens["access_token"])
    key = await make(own, scopes=POWERS)
    further = await make(api.with_credential(key.text), "viewer", scopes=["organisation:read"])
    signing = await make(own, "viewer", scopes=["organisation:read"], signs=True)
    held = Holder(someone, visitor, app, tokens["access_token"], tokens["refresh_token"], key, further, signing)
    assert {await status(api, one) for one in held.bearers} == {200}
    assert (await held.sign()).status == 200
    return held


Go = Callable[[], Awaitable[None]]


@pytest.fixture
def ways(api: Api, holder: Holder, environment: Mapping[str, str]) -> Mapping[str, Go]:
    """How people go."""

    async def removed() -> None:
        assert (await api.delete(f"/organisation/member/{encode('user', holder.person.id)}")).status == 204

    async def leaves() -> None:
        assert location(await holder.browser.submit(f"{MEMBERS}/leave", at=MEMBERS)) == "/sign-in"

    def by_the_operator(command: str) -> Go:
        async def run() -> None:
            done = CliRunner(env=environment).invoke(main, ["users", command, holder.person.email])
            assert done.exit_code == 0, done.output

        return run

    return {
        "removed": removed,
        "leaves": leaves,
        "disabled": by_the_operator("disable"),
        "deleted": by_the_operator("delete"),
    }


@pytest.mark.acceptance("S05")
@pytest.mark.acceptance("K10")
@pytest.mark.parametrize("way", ["removed", "leaves", "disabled", "deleted"])
async def test_whoever_goes_has_nothing_left(
    api: Api, tenant: Tenant, holder: Holder, ways: Mapping[str, Go], way: str
) -> None:
    await ways[way]()
    await holder.require_nothing_left(api)
    assert await status(api, tenant.key) == 200


@pytest.mark.acceptance("S05")
@pytest.mark.parametrize("way", ["removed", "disabled"])
async def test_keys_that_ended_stay_so_when_the_person_comes_back(
    api: Api, holder: Holder, ways: Mapping[str, Go], sessions: sessionmaker[Session], way: str
) -> None:
    await ways[way]()
    with sessions.begin() as db:
        db.execute(update(User).filter_by(id=holder.person.id).values(disabled_at=None))
        if way == "removed":
            join(db, holder.person.organisation_id, holder.person.id, Role.admin)
    await refused_within_a_second(api, *holder.bearers)
    assert (await api.get(holder.key.path)).body["revokedAt"] is not None


@pytest.mark.acceptance("K10")
@pytest.mark.parametrize("what", ["disabled", "deleted", "gone"])
async def test_the_database_itself_knows_whose_keys_are_over(
    api: Api, holder: Holder, sessions: sessionmaker[Session], what: str
) -> None:
    with sessions.begin() as db:
        if what == "gone":
            db.execute(delete(Membership).filter_by(user_id=holder.person.id))
        else:
            db.execute(update(User).filter_by(id=holder.person.id).values({f"{what}_at": utc_now()}))
    await refused_within_a_second(api, holder.key.text, holder.key_of_the_key.text)
    assert (await holder.sign()).status == 401


async def test_a_key_tells_who_made_it_and_those_of_programs_are_nobodys(api: Api, holder: Holder) -> None:
    made_by = {one["id"]: one["madeBy"] for one in (await api.get(KEYS)).body["data"]}
    theirs = {one.id for one in (holder.key, holder.key_of_the_key, holder.signing)}
    assert {made_by.pop(one) for one in theirs} == {encode("user", holder.person.id)}
    assert set(made_by.values()) == {None}
    assert (await make(api)).body["madeBy"] is None


async def test_what_is_done_to_a_key_by_others_leaves_its_maker(api: Api, holder: Holder) -> None:
    assert (await patch(api, holder.key.path, {"name": "renamed"})).status == 200
    rotated = await api.post(f"{holder.key.path}/rotate", {})
    assert rotated.body["madeBy"] == encode("user", holder.person.id)


@pytest.mark.acceptance("K05")
async def test_a_key_does_no_more_than_its_maker_may_by_now(
    api: Api, holder: Holder, sessions: sessionmaker[Session]
) -> None:
    strong = await make(api, "admin")
    with sessions.begin() as db:
        db.execute(update(Membership).filter_by(user_id=holder.person.id).values(role=Role.viewer))
    await refused_within_a_second(api.with_credential(None), "whk_live_nothing")
    caller = api.with_credential(holder.key.text)
    assert (await caller.get("/organisation")).status == 200
    assert (await caller.post(f"{strong.path}/rotate", {})).status == 403
    assert (await caller.post(KEYS, {"name": "more", "role": "viewer"})).status == 403


async def test_the_page_warns_how_many_keys_end_and_the_log_tells_it(
    api: Api, person: Known, holder: Holder, sessions: sessionmaker[Session]
) -> None:
    owner = holder.browser.another()
    await owner.sign_in(person.email)
    assert "Ends 3 API keys of this person for good." in (await owner.get(MEMBERS)).raw.decode()
    assert "Ends 3 API keys of yours here for good." in (await holder.browser.get(MEMBERS)).raw.decode()
    await api.delete(holder.signing.path)
    await api.delete(holder.key_of_the_key.path)
    assert "Ends 1 API key of this person for good." in (await owner.get(MEMBERS)).raw.decode()
    gone = {"member": encode("user", holder.person.id)}
    assert (await owner.submit(f"{MEMBERS}/remove", at=MEMBERS, **gone)).status == 303
    with sessions() as db:
        event = db.scalars(select(AuditEvent).filter_by(action="member.removed", target_id=gone["member"])).one()
        assert event.details["keys"] == 1
        ended = db.scalars(select(ApiKey).filter_by(id=decode("key", holder.key.id))).one()
        assert ended.revoked_at is not None
