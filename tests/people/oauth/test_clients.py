"""OAuth clients of an organisation: made, shown, changed, rotated and deleted, never beyond whoever does it."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import decode
from app.features.oauth.clients import digest
from app.features.organisations.operations import NewKey
from app.models import OAuthClientSecret
from tests.api.client import Api, Tenant, new_tenant
from tests.people.oauth.world import CALLBACK, CLIENTS, client_fields

ANY_VERSION = {"if-match": "*"}
EVIL = (
    "http://app.example.test/callback",
    "https://app.example.test/callback#part",
    "https://user@app.example.test/callback",
    "https://app.example.test/a/../callback",
    "https://app.example.test/a/%2e%2E/callback",
    "https://App.example.test/callback",
    "javascript:alert(1)",
    "https:callback",
    "https://app.example.test/call back",
    "https://app.example.test\\@evil.test/",
    "https://app.example.test:99999/",
)


async def test_a_secret_is_shown_once_and_kept_as_a_digest(api: Api, sessions: sessionmaker[Session]) -> None:
    reply = await api.post(CLIENTS, client_fields())
    assert reply.status == 201
    made, secret = reply.body, reply.body["secret"]
    assert secret.startswith("whcs_")
    assert len(secret) == 48
    for path in (f"{CLIENTS}/{made['id']}", CLIENTS):
        shown = await api.get(path)
        assert secret.encode() not in shown.raw
    with sessions() as db:
        (row,) = db.scalars(select(OAuthClientSecret).filter_by(client_id=decode("client", made["id"])))
    assert (row.digest, row.hint) == (digest(secret), secret[-4:])


async def test_public_clients_and_those_that_sign_have_no_secret(api: Api) -> None:
    made = (await api.post(CLIENTS, client_fields(authMethod="none"))).body
    assert (made["secret"], made["secrets"]) == (None, [])
    refused = await api.post(f"{CLIENTS}/{made['id']}/rotate", {})
    assert (refused.status, refused.code) == (409, "no_secrets")


@pytest.mark.acceptance("O02")
@pytest.mark.parametrize("uri", EVIL)
async def test_an_address_that_nobody_should_be_sent_to_is_not_registered(api: Api, uri: str) -> None:
    for field in ("redirectUris", "postLogoutRedirectUris"):
        reply = await api.post(CLIENTS, client_fields(**{field: [uri]}))
        assert (reply.status, reply.fields) == (422, [f"body.{field}.0"])


@pytest.mark.acceptance("O02")
@pytest.mark.parametrize("uri", ["http://127.0.0.1/cb", "http://[::1]:4000/cb", "http://localhost:4000/cb", CALLBACK])
async def test_https_and_this_machine_are(api: Api, uri: str) -> None:
    assert (await api.post(CLIENTS, client_fields(redirectUris=[uri]))).status == 201


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"authMethod": "none", "grantTypes": ["client_credentials"]}, "body.grantTypes"),
        ({"grantTypes": ["password"]}, "body.grantTypes"),
        ({"grantTypes": ["refresh_token"]}, "body.grantTypes"),
        ({"grantTypes": ["implicit"]}, "body.grantTypes.0"),
        ({"redirectUris": []}, "body.redirectUris"),
        ({"authMethod": "private_key_jwt"}, "body.jwks"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}}, "body.jwks"),
        ({"scopes": ["openid", "everything"]}, "body.scopes.1"),
        ({"scopes": []}, "body.scopes"),
        ({"firstParty": True}, "body.firstParty"),
    ],
)
async def test_what_does_not_fit_together_is_refused(api: Api, fields: dict[str, object], where: str) -> None:
    reply = await api.post(CLIENTS, client_fields(**fields))
    assert (reply.status, reply.fields) == (422, [where])


async def test_nobody_gives_a_client_more_than_they_may_themselves(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    scopes = ["oauth-client:read", "oauth-client:write", "message:read"]
    weak = new_tenant(sessions, NewKey("weak", "live", scopes=scopes), tenant.organisation_id)
    limited = api.with_credential(weak.key)
    assert (await limited.post(CLIENTS, client_fields(scopes=["openid", "message:read"]))).status == 201
    beyond = await limited.post(CLIENTS, client_fields(scopes=["message:send"]))
    assert (beyond.status, beyond.code) == (403, "insufficient access")
    mighty = (await api.post(CLIENTS, client_fields(scopes=["message:send"]))).body
    path = f"{CLIENTS}/{mighty['id']}"
    assert (await limited.call("PATCH", path, {"name": "mine"}, headers=ANY_VERSION)).status == 403
    assert (await limited.post(f"{path}/rotate", {})).status == 403
    assert (await limited.delete(path)).status == 403


async def test_a_client_of_another_organisation_is_not_there(api: Api, stranger: Api) -> None:
    path = f"{CLIENTS}/{(await api.post(CLIENTS, client_fields())).body['id']}"
    assert (await stranger.get(path)).status == 404
    assert (await stranger.delete(path)).status == 404
    assert (await stranger.get(CLIENTS)).body["data"] == []


async def test_a_change_needs_the_version_that_was_read(api: Api) -> None:
    path = f"{CLIENTS}/{(await api.post(CLIENTS, client_fields())).body['id']}"
    tag = (await api.get(path)).headers["etag"]
    assert (await api.patch(path, {"name": "one"})).status == 428
    changed = await api.call("PATCH", path, {"name": "two"}, headers={"if-match": tag})
    assert (changed.status, changed.body["name"]) == (200, "two")
    assert (await api.call("PATCH", path, {"name": "three"}, headers={"if-match": tag})).status == 412


async def test_two_secrets_are_good_at_most(api: Api) -> None:
    made = (await api.post(CLIENTS, client_fields())).body
    path = f"{CLIENTS}/{made['id']}"
    turned = await api.post(f"{path}/rotate", {"overlapSeconds": 60})
    assert turned.status == 200
    assert turned.body["secret"] != made["secret"]
    assert [one["endsAt"] is None for one in turned.body["secrets"]] == [True, False]
    again = await api.post(f"{path}/rotate", {})
    assert (again.status, again.code) == (409, "rotation_in_progress")
    newest, oldest = (f"{path}/secret/{one['id']}" for one in turned.body["secrets"])
    assert (await api.delete(oldest)).status == 204
    last = await api.delete(newest)
    assert (last.status, last.code) == (409, "last_secret")


async def test_every_change_is_in_the_audit_log(api: Api) -> None:
    made = (await api.post(CLIENTS, client_fields())).body
    path = f"{CLIENTS}/{made['id']}"
    await api.call("PATCH", path, {"name": "other"}, headers=ANY_VERSION)
    await api.post(f"{path}/rotate", {})
    await api.delete(path)
    assert (await api.get(path)).status == 404
    found = await api.get("/audit", limit=50)
    actions = {one["action"] for one in found.body["data"] if one["target"]["id"] == made["id"]}
    assert actions == {f"oauth.client_{done}" for done in ("created", "changed", "rotated", "deleted")}
    assert made["secret"].encode() not in found.raw
