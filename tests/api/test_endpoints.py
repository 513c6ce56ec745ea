"""Endpoints: what can be written, what is shown, what is refused."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.domain import ids
from app.kit.clock import new_id
from app.models import Endpoint
from tests.api.client import Api, Tenant
from tests.api.world import World, uuid_of

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
async def app(api: Api) -> str:
    """The path of a fresh application, whose organisation knows two event types."""
    for name in ("user.created", "user.deleted"):
        await api.post("/event-type", {"name": name, "description": ""})
    identifier: str = (await api.post("/app", {"name": "app"})).body["id"]
    return f"/app/{identifier}"


async def make(api: Api, app: str, **more: object) -> Any:  # noqa: ANN401 a body
    reply = await api.post(f"{app}/endpoint", {"url": URL, **more})
    assert reply.status == 201, reply.raw
    return reply.body


def revision(sessions: sessionmaker[Session], endpoint_id: str) -> int:
    with sessions() as db:
        return db.scalars(select(Endpoint.revision).where(Endpoint.id == uuid_of(endpoint_id))).one()


async def test_create_answers_with_every_field_in_both_spellings(api: Api, app: str) -> None:
    body = await make(
        api,
        app,
        uid="e-1",
        description="Billing",
        filterTypes=["user.created"],
        channels=["a", "b:c"],
        rateLimit=5,
        metadata={"a": "b"},
        version=3,
        retrySchedule=[0, 10],
        headerStyle="svix",
        junk={"is": "ignored"},
    )
    assert body["id"].startswith("ep_")
    assert body["createdAt"].endswith("Z")
    assert body["updatedAt"] == body["createdAt"]
    assert {name: value for name, value in body.items() if name not in {"id", "createdAt", "updatedAt"}} == {
        "uid": "e-1",
        "url": URL,
        "description": "Billing",
        "version": 3,
        "disabled": False,
        "eventTypes": ["user.created"],
        "filterTypes": ["user.created"],
        "channels": ["a", "b:c"],
        "metadata": {"a": "b"},
        "throttleRate": 5,
        "rateLimit": 5,
        "retrySchedule": [0, 10],
        "headerStyle": "svix",
        "caPem": None,
    }
    for reference in (body["id"], "e-1"):
        assert (await api.get(f"{app}/endpoint/{reference}")).body == body


async def test_what_is_left_out_has_its_default(api: Api, app: str) -> None:
    body = await make(api, app)
    assert (body["uid"], body["description"], body["version"], body["disabled"]) == (None, "", 1, False)
    assert (body["eventTypes"], body["channels"], body["throttleRate"]) == (None, None, None)
    assert (body["metadata"], body["headerStyle"], body["retrySchedule"]) == ({}, "webhook", None)


@pytest.mark.parametrize("name", ["eventTypes", "filterTypes", "channels"])
async def test_an_empty_filter_is_no_filter(api: Api, app: str, name: str) -> None:
    assert (await make(api, app, **{name: []}))[name] is None


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"url": None}, "body.url"),
        ({"url": ""}, "body.url"),
        ({"url": 5}, "body.url"),
        ({"url": "not a url"}, "body.url"),
        ({"url": "ftp://example.com/"}, "body.url"),
        ({"url": "http://user:secret@example.com/"}, "body.url"),
        ({"url": "http://10.0.0.1/"}, "body.url"),
        ({"url": "http://169.254.169.254/latest"}, "body.url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "body.url"),
        ({"url": "https://example.com:22/"}, "body.url"),
        ({"url": "https://example.com/" + "x" * 65536}, "body.url"),
        ({"uid": "no blanks"}, "body.uid"),
        ({"uid": "x" * 257}, "body.uid"),
        ({"uid": ""}, "body.uid"),
        ({"description": None}, "body.description"),
        ({"disabled": "yes"}, "body.disabled"),
        ({"disabled": None}, "body.disabled"),
        ({"eventTypes": ["nope"]}, "body.eventTypes"),
        ({"filterTypes": ["nope"]}, "body.filterTypes"),
        ({"eventTypes": ["user.created", "user.created"]}, "body.eventTypes"),
        ({"eventTypes": ["no blanks"]}, "body.eventTypes.0"),
        ({"channels": ["a", "a"]}, "body.channels"),
        ({"channels": [str(number) for number in range(11)]}, "body.channels"),
        ({"channels": ["x" * 129]}, "body.channels.0"),
        ({"throttleRate": 0}, "body.throttleRate"),
        ({"rateLimit": 2**31}, "body.rateLimit"),
        ({"metadata": {"a": 1}}, "body.metadata.a"),
        ({"secret": "too short"}, "body.secret"),
        ({"secret": "whsec_" + "=" * 32}, "body.secret"),
        ({"secret": "whsk_" + "A" * 40}, "body.secret"),
        ({"headers": {"Host": "x"}}, "body.headers.Host"),
        ({"retrySchedule": []}, "body.retrySchedule"),
        ({"retrySchedule": [-1]}, "body.retrySchedule.0"),
        ({"retrySchedule": [0] * 21}, "body.retrySchedule"),
        ({"headerStyle": "other"}, "body.headerStyle"),
        ({"caPem": "no certificate"}, "body.caPem"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, app: str, more: dict[str, object], field: str) -> None:
    reply = await api.post(f"{app}/endpoint", {"url": URL, **more})
    assert (reply.status, reply.fields) == (422, [field])
    assert (await api.get(f"{app}/endpoint")).body["data"] == []


@pytest.mark.acceptance("W14")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
async def test_our_own_ingest_is_no_destination(api: Api, app: str, host: str) -> None:
    own = f"http://{host}:8000/api/v1{app}/msg"
    reply = await api.post(f"{app}/endpoint", {"url": own})
    assert (reply.status, reply.fields) == (422, ["body.url"])
    made = await make(api, app)
    for method, body in (("PUT", {"url": own}), ("PATCH", {"url": own})):
        reply = await api.call(method, f"{app}/endpoint/{made['id']}", body)
        assert (reply.status, reply.fields) == (422, ["body.url"])
    assert (await api.get(f"{app}/endpoint/{made['id']}")).body["url"] == URL


async def test_a_certificate_is_kept_without_what_stands_beside_it(api: Api, app: str) -> None:
    import trustme

    authority = trustme.CA()
    pem = authority.cert_pem.bytes().decode()
    body = await make(api, app, caPem=authority.private_key_pem.bytes().decode() + pem)
    assert body["caPem"] == pem


async def test_a_taken_uid_conflicts(api: Api, app: str) -> None:
    first = await make(api, app, uid="u")
    second = await make(api, app)
    assert (await api.post(f"{app}/endpoint", {"url": URL, "uid": "u"})).status == 409
    for method, body in (("PUT", {"url": URL, "uid": "u"}), ("PATCH", {"uid": "u"})):
        reply = await api.call(method, f"{app}/endpoint/{second['id']}", body)
        assert (reply.status, reply.code) == (409, "conflict")
    assert (await api.delete(f"{app}/endpoint/u")).status == 204
    assert (await make(api, app, uid="u"))["id"] != first["id"]


async def test_a_uid_is_free_in_another_application(api: Api, app: str) -> None:
    await make(api, app, uid="u")
    other = (await api.post("/app", {"name": "other"})).body["id"]
    await make(api, f"/app/{other}", uid="u")


async def test_an_id_wins_over_a_uid_that_reads_like_it(api: Api, app: str) -> None:
    first = await make(api, app)
    await make(api, app, uid=first["id"])
    assert (await api.get(f"{app}/endpoint/{first['id']}")).body == first


async def test_put_replaces_all_but_what_the_contract_does_not_know(api: Api, app: str) -> None:
    made = await make(
        api, app, uid="u", description="d", channels=["a"], throttleRate=5, eventTypes=["user.created"],
        metadata={"a": "b"}, disabled=True, retrySchedule=[0], headerStyle="svix", headers={"X-A": "b"},
    )  # fmt: skip
    secret = (await api.get(f"{app}/endpoint/u/secret")).body
    reply = await api.put(f"{app}/endpoint/u", {"url": URL + "/2"})
    assert reply.status == 200
    kept = {"id", "uid", "version", "createdAt", "updatedAt", "retrySchedule", "headerStyle"}
    assert {name: value for name, value in reply.body.items() if name not in kept} == {
        "url": URL + "/2", "description": "", "disabled": False, "eventTypes": None, "filterTypes": None,
        "channels": None, "metadata": {}, "throttleRate": None, "rateLimit": None, "caPem": None,
    }  # fmt: skip
    assert {name: reply.body[name] for name in kept - {"updatedAt"}} == {
        name: made[name] for name in kept - {"updatedAt"}
    }
    assert reply.body["updatedAt"] > made["updatedAt"]
    assert (await api.get(f"{app}/endpoint/u/secret")).body == secret
    assert (await api.get(f"{app}/endpoint/u/headers")).body["headers"] == {"X-A": "b"}
    cleared = await api.put(f"{app}/endpoint/u", {"url": URL, "retrySchedule": None, "headerStyle": "webhook"})
    assert (cleared.body["retrySchedule"], cleared.body["headerStyle"]) == (None, "webhook")


async def test_put_of_something_unknown_makes_it(api: Api, app: str) -> None:
    made = await api.put(f"{app}/endpoint/mine", {"url": URL})
    assert (made.status, made.body["uid"]) == (201, "mine")
    assert (await api.get(f"{app}/endpoint/mine/secret")).body["key"].startswith("whsec_")
    other = await api.put(f"{app}/endpoint/another", {"url": URL, "uid": "its-own"})
    assert (other.status, other.body["uid"]) == (201, "its-own")
    again = await api.put(f"{app}/endpoint/mine", {"url": URL})
    assert (again.status, again.body["id"]) == (200, made.body["id"])
    assert (await api.put(f"{app}/endpoint/{ids.encode('ep', new_id())}", {"url": URL})).status == 404


async def test_concurrent_puts_make_one(api: Api, app: str) -> None:
    replies = await asyncio.gather(*(api.put(f"{app}/endpoint/mine", {"url": URL}) for _ in range(6)))
    assert sorted(one.status for one in replies) == [200] * 5 + [201]
    assert len({one.body["id"] for one in replies}) == 1


async def test_patch_changes_what_is_given_and_null_clears(api: Api, app: str) -> None:
    made = await make(
        api, app, uid="u", description="d", channels=["a"], throttleRate=5, eventTypes=["user.created"],
        metadata={"a": "b"}, retrySchedule=[0],
    )  # fmt: skip
    path = f"{app}/endpoint/{made['id']}"
    body = (await api.patch(path, {"description": "new"})).body
    assert body == {**made, "description": "new", "updatedAt": body["updatedAt"]}
    nulls = dict.fromkeys(("uid", "channels", "throttleRate", "eventTypes", "retrySchedule"))
    body = (await api.patch(path, nulls)).body
    assert {name: body[name] for name in nulls} == nulls
    assert (body["description"], body["metadata"]) == ("new", {"a": "b"})
    body = (await api.patch(path, {"filterTypes": ["user.deleted"], "rateLimit": 9, "metadata": {}})).body
    assert (body["eventTypes"], body["throttleRate"], body["metadata"]) == (["user.deleted"], 9, {})
    body = (await api.patch(path, {"filterTypes": [], "throttleRate": 0})).body
    assert (body["eventTypes"], body["throttleRate"]) == (None, None)
    unchanged = (await api.patch(path, {})).body
    assert {**unchanged, "updatedAt": ""} == {**body, "updatedAt": ""}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": None}, "body.url"),
        ({"url": "http://10.0.0.1/"}, "body.url"),
        ({"eventTypes": ["nope"]}, "body.eventTypes"),
        ({"filterTypes": ["nope"]}, "body.filterTypes"),
        ({"description": None}, "body.description"),
        ({"throttleRate": -1}, "body.throttleRate"),
    ],
)
async def test_patch_names_a_wrong_field(api: Api, app: str, body: object, field: str) -> None:
    made = await make(api, app)
    reply = await api.patch(f"{app}/endpoint/{made['id']}", body)
    assert (reply.status, reply.fields) == (422, [field])


async def test_a_list_has_the_newest_first(api: Api, app: str) -> None:
    made = [(await make(api, app))["id"] for _ in range(3)]
    shown = (await api.get(f"{app}/endpoint")).body
    assert [one["id"] for one in shown["data"]] == made[::-1]
    assert shown["done"] is True
    first = (await api.get(f"{app}/endpoint", limit=2)).body
    assert first["done"] is False
    rest = (await api.get(f"{app}/endpoint", limit=2, iterator=first["iterator"])).body
    assert [one["id"] for one in rest["data"]] == made[:1]
    oldest = (await api.get(f"{app}/endpoint", order="ascending", limit=1)).body
    assert [one["id"] for one in oldest["data"]] == made[:1]


async def test_an_iterator_is_good_for_its_own_application_only(api: Api, app: str) -> None:
    for _ in range(2):
        await make(api, app)
    iterator = (await api.get(f"{app}/endpoint", limit=1)).body["iterator"]
    other = (await api.post("/app", {"name": "other"})).body["id"]
    reply = await api.get(f"/app/{other}/endpoint", iterator=iterator)
    assert (reply.status, reply.fields) == (422, ["query.iterator"])


async def test_an_unknown_endpoint_is_not_found(api: Api, stranger: Api, app: str) -> None:
    made = await make(api, app, uid="u")
    theirs = (await stranger.post("/app", {"name": "theirs"})).body["id"]
    calls: list[tuple[str, str, object]] = [
        ("GET", "", None),
        ("PATCH", "", {}),
        ("DELETE", "", None),
        ("GET", "/secret", None),
        ("POST", "/secret/rotate", {}),
        ("GET", "/headers", None),
        ("PUT", "/headers", {"headers": {}}),
        ("PATCH", "/headers", {"headers": {}}),
        ("GET", "/stats", None),
        ("POST", "/send-example", {"eventType": "svix.ping"}),
    ]
    for method, rest, body in calls:
        for reference in ("none", "ep_" + "0" * 26, "ep_%00", "%20"):
            reply = await api.call(method, f"{app}/endpoint/{reference}{rest}", body)
            assert (reply.status, reply.code) == (404, "not_found"), (method, rest, reference)
        for path in (app, f"/app/{theirs}"):
            reply = await stranger.call(method, f"{path}/endpoint/{made['id']}{rest}", body)
            assert (reply.status, reply.code) == (404, "not_found"), (method, rest)


async def test_a_deleted_endpoint_is_gone_with_what_it_was_owed(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    world = await World(api, sessions, tenant.id).setup(endpoints=2)
    message = await world.message()
    first, second = world.endpoints
    assert (await api.delete(f"{world.path}/endpoint/{first}")).status == 204
    assert [row.endpoint_id for row in world.due()] == [uuid_of(second)]
    assert (await api.get(f"{world.path}/endpoint/{first}")).status == 404
    assert (await api.delete(f"{world.path}/endpoint/{first}")).status == 404
    assert [one["id"] for one in (await api.get(f"{world.path}/endpoint")).body["data"]] == [second]
    await world.message()
    assert {row.endpoint_id for row in world.due()} == {uuid_of(second)}
    states = (await api.get(f"{world.path}/msg/{message}/endpoint")).body["data"]
    assert {one["id"]: one["statusText"] for one in states}.get(second) == "pending"


async def test_disabling_cancels_what_is_pending_and_enabling_starts_afresh(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    world = await World(api, sessions, tenant.id).setup()
    path = f"{world.path}/endpoint/{world.endpoints[0]}"
    await world.message()
    assert (await api.patch(path, {"disabled": True})).body["disabled"] is True
    assert world.due() == []
    assert (await api.get(f"{path}/stats")).body["canceled"] == 1
    await world.message()
    assert world.due() == []
    assert (await api.patch(path, {"disabled": False})).body["disabled"] is False
    await world.message()
    assert len(world.due()) == 1


async def test_every_change_raises_the_revision(api: Api, app: str, sessions: sessionmaker[Session]) -> None:
    made = await make(api, app)
    path = f"{app}/endpoint/{made['id']}"
    seen = [revision(sessions, made["id"])]
    for method, rest, body in (
        ("PATCH", "", {"url": URL + "/2"}),
        ("PUT", "", {"url": URL}),
        ("PUT", "/headers", {"headers": {"X-A": "1"}}),
        ("PATCH", "/headers", {"headers": {"X-A": "2"}}),
        ("POST", "/secret/rotate", {}),
        ("DELETE", "", None),
    ):
        reply = await api.call(method, path + rest, body)
        assert reply.status in {200, 204}
        seen.append(revision(sessions, made["id"]))
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_create_is_safe_to_repeat(api: Api, app: str) -> None:
    first = await api.post(f"{app}/endpoint", {"url": URL}, key="k")
    again = await api.post(f"{app}/endpoint", {"url": URL}, key="k")
    assert (again.status, again.body) == (201, first.body)
    assert len((await api.get(f"{app}/endpoint")).body["data"]) == 1


async def test_a_portal_sees_only_the_event_types_of_its_flags(api: Api, app: str) -> None:
    await api.post("/event-type", {"name": "beta.only", "description": "", "featureFlags": ["beta"]})
    plain, beta = (
        await api.portal(app.removeprefix("/app/")),
        await api.portal(app.removeprefix("/app/"), featureFlags=["beta"]),
    )
    refused = await plain.post(f"{app}/endpoint", {"url": URL, "eventTypes": ["beta.only"]})
    assert (refused.status, refused.fields) == (422, ["body.eventTypes"])
    assert (await beta.post(f"{app}/endpoint", {"url": URL, "eventTypes": ["beta.only"]})).status == 201
    assert (await api.post(f"{app}/endpoint", {"url": URL, "eventTypes": ["beta.only"]})).status == 201


async def test_an_endpoint_of_a_portal_gets_no_event_type_beyond_its_flags(
    api: Api, app: str, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    await api.post("/event-type", {"name": "beta.only", "description": "", "featureFlags": ["beta"]})
    identifier = app.removeprefix("/app/")
    makers = {
        "none": await api.portal(identifier),
        "beta": await api.portal(identifier, featureFlags=["beta"]),
        "organisation": api,
    }
    made = {name: (await make(maker, app))["id"] for name, maker in makers.items()}
    world = World(api, sessions, tenant.id, identifier, list(made.values()))
    await world.message("beta.only")
    assert {row.endpoint_id for row in world.due()} == {uuid_of(made["beta"]), uuid_of(made["organisation"])}
    await world.message("user.created")
    assert len(world.due()) == 5
    renewed = await makers["beta"].patch(f"{app}/endpoint/{made['none']}", {"description": "seen by another portal"})
    assert renewed.status == 200
    await world.message("beta.only")
    assert len(world.due()) == 8


async def test_a_read_only_portal_changes_nothing(api: Api, app: str) -> None:
    made = await make(api, app)
    path = f"{app}/endpoint/{made['id']}"
    portal = await api.portal(app.removeprefix("/app/"), readOnly=True)
    assert (await portal.get(path)).body == made
    assert (await portal.get(f"{path}/headers")).status == 200
    assert (await portal.get(f"{path}/stats")).status == 200
    calls: list[tuple[str, str, object]] = [
        ("POST", f"{app}/endpoint", {"url": URL}),
        ("PUT", path, {"url": URL}),
        ("PATCH", path, {}),
        ("DELETE", path, None),
        ("POST", f"{path}/secret/rotate", {}),
        ("PUT", f"{path}/headers", {"headers": {}}),
        ("PATCH", f"{path}/headers", {"headers": {}}),
    ]
    for method, target, body in calls:
        reply = await portal.call(method, target, body)
        assert (reply.status, reply.code) == (403, "insufficient access"), (method, target)


async def test_a_portal_without_the_capability_sees_no_secret(api: Api, app: str) -> None:
    made = await make(api, app)
    path = f"{app}/endpoint/{made['id']}"
    looking = await api.portal(app.removeprefix("/app/"), capabilities=["ViewBase"])
    assert (await looking.get(path)).status == 200
    assert (await looking.get(f"{path}/secret")).status == 403
    assert (await looking.patch(path, {})).status == 403
    trusted = await api.portal(app.removeprefix("/app/"), capabilities=["ViewEndpointSecret", "ManageEndpoint"])
    assert (await trusted.get(f"{path}/secret")).status == 200
    assert (await trusted.post(f"{path}/secret/rotate", {})).status == 403
    assert (await trusted.patch(path, {})).status == 200
