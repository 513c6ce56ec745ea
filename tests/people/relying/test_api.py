"""An organisation sets up its providers by the API."""

import pytest
from sqlalchemy import select

from app.domain.permissions import Role
from app.features.identity_providers.sealing import open_secret
from app.features.organisations.operations import NewKey
from app.kit.encryption import KeyRing
from app.models import IdentityProvider
from app.settings import Settings
from tests.api.client import Api, Reply, new_tenant
from tests.people.relying.world import Relying

PATH = "/organisation/identity-provider"


async def patched(relying: Relying, **changes: object) -> Reply:
    shown = await relying.api.get(relying.path)
    return await relying.api.call("PATCH", relying.path, changes, headers={"if-match": shown.headers["etag"]})


async def test_a_provider_is_shown_without_its_secret(relying: Relying) -> None:
    shown = await relying.api.get(relying.path)
    assert (shown.status, shown.body["hasClientSecret"]) == (200, True)
    listed = await relying.api.get(PATH)
    assert [one["id"] for one in listed.body["data"]] == [relying.id]
    events = relying.events("provider.created")
    assert [one.details["client_secret"] for one in events] == ["changed"]
    for text in (shown.raw, listed.raw, str([one.details for one in events]).encode()):
        assert relying.provider.secret.encode() not in text


async def test_the_secret_lies_sealed(relying: Relying, settings: Settings) -> None:
    with relying.sessions() as db:
        row = db.scalars(
            select(IdentityProvider).where(IdentityProvider.organisation_id == relying.tenant.organisation_id)
        ).one()
    assert row.sealed_secret is not None
    assert relying.provider.secret.encode() not in row.sealed_secret
    ring: KeyRing = settings.secrets.ring()
    assert open_secret(ring, row.organisation_id, row.id, row.sealed_secret) == relying.provider.secret


async def test_it_says_what_the_provider_has_to_know(relying: Relying) -> None:
    shown = (await relying.api.get(relying.path)).body
    base = f"{relying.public_url}/sign-in/provider"
    assert shown["redirectUri"] == f"{base}/callback/{relying.id}"
    assert shown["backchannelLogoutUri"] == f"{base}/{relying.id}/logout"
    assert shown["initiateLoginUri"] == f"{base}/start?provider={relying.id}"


async def test_a_change_needs_what_was_read(relying: Relying) -> None:
    assert (await relying.api.patch(relying.path, {"name": "New"})).status == 428
    stale = await relying.api.call("PATCH", relying.path, {"name": "New"}, headers={"if-match": '"0"'})
    assert stale.status == 412
    changed = await patched(relying, name="New", scopes=["email", "openid", "groups"])
    assert (changed.status, changed.body["name"]) == (200, "New")
    assert changed.body["scopes"] == ["openid", "email", "groups"]
    assert changed.headers["etag"] == (await relying.api.get(relying.path)).headers["etag"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"clientSecret": None},
        {"authMethod": "none"},
        {"authMethod": "private_key_jwt"},
        {"role": "king"},
        {"name": ""},
        {"clientId": "a\nb"},
        {"scopes": ["two words"]},
        {"organisation_id": "x"},
        {"id": "idp_x"},
    ],
)
async def test_what_makes_no_sense_is_refused(relying: Relying, wrong: dict[str, object]) -> None:
    assert (await patched(relying, **wrong)).status == 422


async def test_openid_is_always_asked_for_whatever_else_is(relying: Relying) -> None:
    scopes = [f"scope{number}" for number in range(20)]
    changed = await patched(relying, scopes=scopes)
    assert (changed.status, changed.body["scopes"]) == (200, ["openid", *scopes])
    assert (await patched(relying, scopes=[*scopes, "one-more"])).status == 422


async def test_the_secret_goes_with_the_way_in_which_it_is_sent(relying: Relying) -> None:
    assert (await patched(relying, authMethod="client_secret_post")).status == 200
    assert (await relying.sign_in()).status == 303
    (form,) = relying.provider.forms
    assert form["client_secret"] == relying.provider.secret
    public = await patched(relying, authMethod="none", clientSecret=None)
    assert (public.status, public.body["hasClientSecret"]) == (200, False)
    somebody = relying.visitor.another()
    await relying.sign_in(somebody)
    assert relying.is_signed_in(somebody)
    assert "client_secret" not in relying.provider.forms[1]


async def test_a_deleted_provider_is_gone_with_its_domains(relying: Relying) -> None:
    assert (await relying.api.delete(relying.path)).status == 204
    assert (await relying.api.get(relying.path)).status == 404
    assert (await relying.visitor.get(f"/sign-in/provider/start?provider={relying.id}")).status == 404
    reply = await relying.visitor.submit("/sign-in", email=relying.provider.person.email, password="")
    assert reply.status == 401


async def test_the_providers_of_others_are_not_there(relying: Relying, stranger: Api) -> None:
    calls = [
        await stranger.get(relying.path),
        await stranger.call("PATCH", relying.path, {"name": "Mine"}, headers={"if-match": "*"}),
        await stranger.delete(relying.path),
        await stranger.post(f"{relying.path}/domain", {"domain": "a.test"}),
        await stranger.post(f"{relying.path}/domain/{relying.provider.person.email.partition('@')[2]}/verify"),
    ]
    assert [one.status for one in calls] == [404] * 5
    assert (await relying.api.get(relying.path)).body["name"] == "Acme"


async def test_nobody_gives_a_role_that_may_more_than_they_do(relying: Relying) -> None:
    key = new_tenant(relying.sessions, NewKey("admin", "live", role=Role.admin), relying.tenant.organisation_id).key
    admin = relying.api.with_credential(key)
    body = {"name": "Up", "issuer": relying.provider.issuer, "clientId": "c", "authMethod": "none", "role": "owner"}
    assert (await admin.post(PATH, body)).status == 403
    assert (await admin.post(PATH, {**body, "role": "admin"})).status == 201
    assert (await patched(relying, role="owner")).status == 200
    headers = {"if-match": "*"}
    assert (await admin.call("PATCH", relying.path, {"issuer": body["issuer"]}, headers=headers)).status == 403
    assert (await admin.post(f"{relying.path}/domain", {"domain": "a.test"})).status == 403


@pytest.mark.parametrize("role", [Role.developer, Role.support, Role.viewer])
async def test_only_owners_and_admins_may_look(relying: Relying, role: Role) -> None:
    key = new_tenant(relying.sessions, NewKey("some", "live", role=role), relying.tenant.organisation_id).key
    assert (await relying.api.with_credential(key).get(relying.path)).status == 403
