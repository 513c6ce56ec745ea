"""Portal tokens: what their holders may do, and when they no longer may."""

import base64
import json
from typing import Any

import pytest

from tests.api.client import Api

ORGANISATION_ONLY = [
    ("GET", "/app", None),
    ("POST", "/app", {"name": "x"}),
    ("PUT", "/app/mine", {"name": "x"}),
    ("PATCH", "/app/mine", {"name": "x"}),
    ("DELETE", "/app/mine", None),
    ("POST", "/app/mine/msg", {"eventType": "a", "payload": {}}),
    ("POST", "/event-type", {"name": "a", "description": ""}),
    ("PUT", "/event-type/a", {"description": ""}),
    ("PATCH", "/event-type/a", {"archived": True}),
    ("DELETE", "/event-type/a", None),
    ("POST", "/auth/app-portal-access/mine", {}),
    ("POST", "/auth/dashboard-access/mine", {}),
]
ENDPOINT = {"url": "http://127.0.0.1:9/hook"}


def _claims(token: str) -> Any:  # noqa: ANN401 a JWT's
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


@pytest.fixture
async def mine(api: Api) -> str:
    """The id of an application with the uid `mine`."""
    identifier: str = (await api.post("/app", {"name": "mine", "uid": "mine"})).body["id"]
    return identifier


async def test_access_answers_with_a_token_and_a_page(api: Api, mine: str) -> None:
    for path in ("app-portal-access", "dashboard-access"):
        reply = await api.post(f"/auth/{path}/mine", {})
        assert reply.status == 200
        assert reply.body["url"].startswith("http://")
        assert reply.body["token"] in reply.body["url"]
        assert _claims(reply.body["token"])["sub"] == mine


async def test_its_holder_reads_its_own_application(api: Api, mine: str) -> None:
    portal = await api.portal("mine")
    assert (await portal.get("/app/mine")).body == (await portal.get(f"/app/{mine}")).body
    assert (await portal.get("/event-type")).status == 200


async def test_other_applications_do_not_exist_for_it(api: Api, stranger: Api, mine: str) -> None:
    other = (await api.post("/app", {"name": "other", "uid": "other"})).body["id"]
    theirs = (await stranger.post("/app", {"name": "theirs", "uid": "theirs"})).body["id"]
    portal = await api.portal(mine)
    for reference in ("other", other, "theirs", theirs, "none"):
        for path in ("", "/endpoint", "/msg"):
            reply = await portal.get(f"/app/{reference}{path}")
            assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize(("method", "path", "body"), ORGANISATION_ONLY)
async def test_it_does_not_act_for_the_organisation(api: Api, mine: str, method: str, path: str, body: object) -> None:
    reply = await (await api.portal(mine)).call(method, path, body)
    assert (reply.status, reply.code) == (403, "insufficient access")


async def test_a_read_only_one_changes_nothing(api: Api, mine: str) -> None:
    portal = await api.portal(mine, readOnly=True)
    assert (await portal.get("/app/mine/endpoint")).status == 200
    assert (await portal.post("/app/mine/endpoint", ENDPOINT)).status == 403


async def test_capabilities_narrow_it(api: Api, mine: str) -> None:
    viewer = await api.portal(mine, capabilities=["ViewBase"])
    manager = await api.portal(mine, capabilities=["ViewBase", "ManageEndpoint"])
    assert (await viewer.get("/app/mine/endpoint")).status == 200
    assert (await viewer.post("/app/mine/endpoint", ENDPOINT)).status == 403
    made = await manager.post("/app/mine/endpoint", ENDPOINT)
    assert made.status == 201
    secret = f"/app/mine/endpoint/{made.body['id']}/secret"
    assert (await manager.get(secret)).status == 403
    assert (await (await api.portal(mine, capabilities=["ViewEndpointSecret"])).get(secret)).status == 200


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"capabilities": ["Everything"]}, "body.capabilities.0"),
        ({"expiry": 1}, "body.expiry"),
        ({"expiry": 28 * 86400 + 1}, "body.expiry"),
        ({"featureFlags": ["no blanks"]}, "body.featureFlags.0"),
        ({"readOnly": "yes"}, "body.readOnly"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, mine: str, sent: object, field: str) -> None:
    reply = await api.post("/auth/app-portal-access/mine", sent)
    assert (reply.status, reply.fields) == (422, [field])


async def test_it_lives_for_a_week_or_as_long_as_asked(api: Api, mine: str) -> None:
    def lifetime(token: str | None) -> int:
        claims = _claims(str(token))
        return int(claims["exp"] - claims["iat"])

    assert lifetime((await api.portal(mine)).credential) == 7 * 86400
    assert lifetime((await api.portal(mine, expiry=3600)).credential) == 3600


async def test_logout_ends_it_and_no_other(api: Api, mine: str) -> None:
    one, other = await api.portal(mine), await api.portal(mine)
    assert (await one.get("/app/mine")).status == 200
    assert (await one.post("/auth/logout")).status == 204
    assert (await one.get("/app/mine")).status == 401
    assert (await other.get("/app/mine")).status == 200


async def test_logout_leaves_an_api_key_alone(api: Api) -> None:
    assert (await api.post("/auth/logout")).status == 204
    assert (await api.get("/app")).status == 200


async def test_it_ends_with_its_application(api: Api, mine: str) -> None:
    portal = await api.portal(mine)
    await api.delete("/app/mine")
    assert (await portal.get("/app/mine")).status == 401


async def test_it_can_make_the_application(api: Api) -> None:
    portal = await api.portal("fresh", application={"name": "fresh"})
    made = (await portal.get("/app/fresh")).body
    assert (made["name"], made["uid"]) == ("fresh", "fresh")
    assert (await api.post("/auth/app-portal-access/fresh", {"application": {"name": "again"}})).status == 200
    assert (await api.get("/app/fresh")).body == made
    assert (await api.post("/auth/app-portal-access/none", {})).status == 404


@pytest.mark.parametrize("credential", [None, "", "x", "a.b.c", "whk_test_" + "0" * 43 + "_000000", "é"])
async def test_who_is_not_known_is_told_so(api: Api, credential: str | None) -> None:
    reply = await api.with_credential(credential).get("/app")
    assert (reply.status, reply.code) == (401, "authentication_failed")
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_is_refused(api: Api) -> None:
    changed = str(api.credential)[:-1] + ("A" if str(api.credential)[-1] != "A" else "B")
    assert (await api.with_credential(changed).get("/app")).status == 401
