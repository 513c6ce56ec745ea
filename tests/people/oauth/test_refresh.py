"""Refresh tokens: good once, for their client; the second use of one ends all that came of its grant."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain.owned_tokens import Token
from app.kit.clock import utc_now
from app.main import create_app
from app.models import AuditEvent, Mail, Membership, OAuthFamily, OAuthRefreshToken, User
from app.settings import OAuthSettings, Settings
from tests.api.client import Api, served
from tests.people.oauth.world import (
    CLIENTS,
    App,
    code_for,
    dead_within_a_second,
    new_app,
    redeem,
    refresh,
)
from tests.people.visitor import Known, Visitor

ANY_VERSION = {"if-match": "*"}


@pytest.fixture
async def tokens(signed_in: Visitor, app: App) -> dict[str, Any]:
    """What the person's first code became."""
    body: dict[str, Any] = (await redeem(app, await code_for(signed_in, app))).body
    return body


def family_of(text: str) -> Token:
    token = Token.read(text)
    assert token is not None
    return token


@pytest.mark.acceptance("O07")
async def test_each_use_brings_the_next_one(app: App, tokens: dict[str, Any]) -> None:
    texts = {tokens["refresh_token"]}
    for _ in range(3):
        reply = await refresh(app, tokens["refresh_token"])
        assert (reply.status, reply.body["scope"]) == (200, tokens["scope"])
        tokens = reply.body
        texts.add(tokens["refresh_token"])
    assert len(texts) == 4
    assert (await app.api(tokens["access_token"]).get("/app/none/msg")).status == 404


@pytest.mark.acceptance("O07")
async def test_used_twice_at_once_it_succeeds_once_at_most_and_the_family_is_dead(
    app: App, tokens: dict[str, Any]
) -> None:
    replies = await asyncio.gather(*(refresh(app, tokens["refresh_token"]) for _ in range(8)))
    assert sorted(one.status for one in replies) == [200] + [400] * 7
    (good,) = [one.body for one in replies if one.status == 200]
    late = await refresh(app, good["refresh_token"])
    assert (late.status, late.body["error"]) == (400, "invalid_grant")


@pytest.mark.acceptance("O08")
async def test_reuse_ends_the_family_is_audited_and_mailed(
    app: App, tokens: dict[str, Any], person: Known, sessions: sessionmaker[Session]
) -> None:
    newer = (await refresh(app, tokens["refresh_token"])).body
    reused = await refresh(app, tokens["refresh_token"])
    assert (reused.status, reused.body["error"]) == (400, "invalid_grant")
    assert (await refresh(app, newer["refresh_token"])).status == 400
    await dead_within_a_second(app, tokens["access_token"], newer["access_token"])
    with sessions() as db:
        family = db.scalars(select(OAuthFamily).filter_by(id=family_of(newer["refresh_token"]).id)).one()
        assert family.revoked_reason == "refresh token used twice"
        events = db.scalars(select(AuditEvent).filter_by(action="oauth.family_revoked")).all()
        assert [one.details["family"] for one in events if one.target_id == app.id] == [family.id.hex]
        assert db.scalars(select(Mail.kind).filter_by(owner_id=person.id)).all() == ["token_reused"]


@pytest.mark.acceptance("O09")
async def test_with_grace_the_last_one_may_come_again_until_its_successor_was_used(
    settings: Settings, app: App, tokens: dict[str, Any]
) -> None:
    lenient = settings.model_copy(update={"oauth": OAuthSettings(refresh_grace_seconds=10)})
    async with served(create_app(lenient)) as url:
        late = App(app.http, url, app.id, app.secret)
        first = tokens["refresh_token"]
        lost = await refresh(late, first)
        second = await refresh(late, first)
        assert (lost.status, second.status) == (200, 200)
        third = await refresh(late, second.body["refresh_token"])
        assert third.status == 200
        grandparent = await refresh(late, first)
        assert (grandparent.status, grandparent.body["error"]) == (400, "invalid_grant")
        assert (await refresh(late, third.body["refresh_token"])).status == 400


@pytest.mark.acceptance("O09")
async def test_grace_is_over_after_ten_seconds_at_most(
    settings: Settings, app: App, tokens: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    assert settings.oauth.refresh_grace_seconds == 0
    with pytest.raises(ValueError, match="less than or equal to 10"):
        OAuthSettings(refresh_grace_seconds=11)
    lenient = settings.model_copy(update={"oauth": OAuthSettings(refresh_grace_seconds=10)})
    async with served(create_app(lenient)) as url:
        late = App(app.http, url, app.id, app.secret)
        await refresh(late, tokens["refresh_token"])
        digest = family_of(tokens["refresh_token"]).digest
        with sessions.begin() as db:
            old = {"used_at": utc_now() - timedelta(seconds=11)}
            db.execute(update(OAuthRefreshToken).filter_by(digest=digest).values(**old))
        assert (await refresh(late, tokens["refresh_token"])).status == 400


@pytest.mark.acceptance("O10")
async def test_it_is_for_its_client(api: Api, app: App, stranger: Api, tokens: dict[str, Any]) -> None:
    for other in (await new_app(api), await new_app(stranger)):
        reply = await refresh(other, tokens["refresh_token"])
        assert (reply.status, reply.body["error"]) == (400, "invalid_grant")
    assert (await refresh(app, tokens["refresh_token"])).status == 200


@pytest.mark.acceptance("O10")
async def test_its_scope_can_only_shrink(app: App, tokens: dict[str, Any]) -> None:
    more = await refresh(app, tokens["refresh_token"], scope="openid message:read email")
    assert (more.status, more.body["error"]) == (400, "invalid_scope")
    less = await refresh(app, tokens["refresh_token"], scope="openid")
    assert (less.status, less.body["scope"]) == (200, "openid")
    assert (await app.api(less.body["access_token"]).get("/app/none/msg")).status == 403
    again = await refresh(app, less.body["refresh_token"], scope="openid message:read")
    assert (again.status, again.body["error"]) == (400, "invalid_scope")


@pytest.mark.acceptance("O10")
async def test_a_scope_that_the_client_lost_is_not_renewed(api: Api, app: App, tokens: dict[str, Any]) -> None:
    path = f"{CLIENTS}/{app.id}"
    assert (await api.call("PATCH", path, {"scopes": ["openid"]}, headers=ANY_VERSION)).status == 200
    reply = await refresh(app, tokens["refresh_token"])
    assert (reply.status, reply.body["scope"]) == (200, "openid")


@pytest.mark.acceptance("O10")
async def test_however_often_it_is_renewed_the_grant_ends(
    app: App, tokens: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    family = family_of(tokens["refresh_token"]).id
    with sessions() as db:
        before = db.scalars(select(OAuthFamily.expires_at).filter_by(id=family)).one()
    newer = (await refresh(app, tokens["refresh_token"])).body["refresh_token"]
    with sessions.begin() as db:
        assert db.scalars(select(OAuthFamily.expires_at).filter_by(id=family)).one() == before
        assert before - utc_now() <= timedelta(days=30)
        db.execute(update(OAuthFamily).filter_by(id=family).values(expires_at=utc_now()))
    assert (await refresh(app, newer)).status == 400


async def test_it_ends_with_the_session_unless_it_was_allowed_to_outlive_it(
    signed_in: Visitor, api: Api, app: App, tokens: dict[str, Any]
) -> None:
    keeper = await new_app(api, scopes=["openid", "offline_access"])
    kept = (await redeem(keeper, await code_for(signed_in, keeper, scope="openid offline_access"))).body
    await signed_in.submit("/sign-in/out", at="/account")
    assert (await refresh(app, tokens["refresh_token"])).status == 400
    assert (await refresh(keeper, kept["refresh_token"])).status == 200


async def test_a_public_client_renews_by_its_name(signed_in: Visitor, api: Api) -> None:
    public = await new_app(api, authMethod="none")
    first = (await redeem(public, await code_for(signed_in, public))).body
    assert (await refresh(public, first["refresh_token"])).status == 200
    assert (await refresh(public, first["refresh_token"])).status == 400


@pytest.mark.acceptance("S05")
@pytest.mark.parametrize("what", ["disabled", "deleted", "gone", "ended everywhere"])
async def test_whoever_is_gone_renews_nothing(
    app: App, tokens: dict[str, Any], person: Known, sessions: sessionmaker[Session], what: str
) -> None:
    with sessions.begin() as db:
        user = db.get_one(User, person.id)
        if what == "disabled":
            user.disabled_at = utc_now()
        elif what == "deleted":
            user.deleted_at = utc_now()
        elif what == "ended everywhere":
            user.session_version += 1
        else:
            db.execute(delete(Membership).filter_by(user_id=person.id))
    reply = await refresh(app, tokens["refresh_token"])
    assert (reply.status, reply.body["error"]) == (400, "invalid_grant")
    await dead_within_a_second(app, tokens["access_token"])
