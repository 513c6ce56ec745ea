"""API keys over HTTP: made, shown, changed, rotated and revoked, and never beyond what the caller may itself."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain import api_key
from app.domain.ids import decode
from app.features.organisations.operations import NewKey
from app.main import create_app
from app.models import ApiKey, ApiKeySecret, IdempotencyKey, Organisation
from app.settings import Settings
from tests.api.client import Api, Tenant, new_tenant, served
from tests.api.key_world import KEYS, MEMORY_SECONDS, Made, calling_from, make, patch, refused_within_a_second, status

DAY = timedelta(days=1)
FIELDS = {
    "id", "name", "environment", "role", "scopes", "signs", "allowedNetworks", "deniedNetworks", "createdAt",
    "updatedAt", "expiresAt", "revokedAt", "lastUsedAt", "lastUsedFrom", "madeBy", "secrets",
}  # fmt: skip


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture
def test_tenant(sessions: sessionmaker[Session], tenant: Tenant) -> Tenant:
    """The organisation's test environment."""
    return new_tenant(sessions, NewKey("test", "test"), tenant.organisation_id)


@pytest.fixture
def test_api(api: Api, test_tenant: Tenant) -> Api:
    return api.with_credential(test_tenant.key)


@pytest.mark.acceptance("K01")
async def test_a_text_is_shown_once_and_kept_as_a_digest(api: Api, sessions: sessionmaker[Session]) -> None:
    made = await make(api)
    assert api_key.looks_valid(made.text)
    assert made.text.startswith("whk_live_")
    assert set(made.body) == FIELDS | {"key"}
    for path in (made.path, KEYS):
        shown = await api.get(path)
        assert made.text.encode() not in shown.raw
    assert set((await api.get(made.path)).body) == FIELDS
    with sessions() as db:
        (secret,) = db.scalars(select(ApiKeySecret).filter_by(key_id=decode("key", made.id)))
    assert (secret.digest, secret.sealed, secret.hint) == (api_key.digest(made.text), None, made.text[-4:])


async def test_a_repeated_post_shows_the_same_key_and_keeps_it_encrypted(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    body = {"name": "a", "role": "viewer"}
    first, again = [await api.post(KEYS, body, key="once") for _ in range(2)]
    assert (again.status, again.raw, again.headers["idempotency-replayed"]) == (201, first.raw, "true")
    with sessions() as db:
        kept = db.scalars(select(IdempotencyKey.response).filter_by(environment_id=tenant.id)).one()
    assert first.body["key"].encode() not in kept
    assert len((await api.get(KEYS)).body["data"]) == 2


async def test_a_key_that_signs_is_never_taken_as_a_bearer(api: Api, sessions: sessionmaker[Session]) -> None:
    made = await make(api, signs=True)
    assert made.body["signs"]
    assert await status(api, made.text) == 401
    rotated = await api.post(f"{made.path}/rotate", {})
    assert await status(api, rotated.body["key"]) == 401
    with sessions() as db:
        secrets = db.scalars(select(ApiKeySecret).filter_by(key_id=decode("key", made.id))).all()
    assert len(secrets) == 2
    assert all(one.sealed and rotated.body["key"].encode() not in one.sealed for one in secrets)


async def test_the_newest_comes_first_page_by_page(api: Api) -> None:
    made = [await make(api) for _ in range(4)]
    first = (await api.get(KEYS, limit=2)).body
    rest = (await api.get(KEYS, iterator=first["iterator"])).body
    shown = [one["id"] for one in first["data"] + rest["data"]]
    assert shown[:4] == [one.id for one in reversed(made)]
    assert (len(shown), first["done"], rest["done"]) == (5, False, True)


async def test_the_list_is_narrowed_by_environment_and_hides_revoked_ones(api: Api) -> None:
    live, test, gone = await make(api), await make(api, environment="test"), await make(api, environment="test")
    await api.delete(gone.path)

    async def listed(**query: str) -> list[str]:
        return [one["id"] for one in (await api.get(KEYS, **query)).body["data"]]

    assert await listed(environment="test") == [test.id]
    assert live.id in await listed(environment="live")
    assert await listed(environment="test", include_revoked="true") == [gone.id, test.id]


async def test_of_another_organisation_nothing_is_there(api: Api, stranger: Api) -> None:
    made = await make(api)
    secret = made.body["secrets"][0]["id"]
    calls = [
        ("GET", made.path, None),
        ("PATCH", made.path, {"name": "mine"}),
        ("DELETE", made.path, None),
        ("POST", f"{made.path}/rotate", {}),
        ("DELETE", f"{made.path}/secret/{secret}", None),
    ]
    for method, path, body in calls:
        reply = await stranger.call(method, path, body, headers={"if-match": "*"})
        assert (method, reply.status) == (method, 404)
    assert made.id not in {one["id"] for one in (await stranger.get(KEYS)).body["data"]}
    assert await status(api, made.text) == 200
    assert (await api.get(made.path)).body["name"] == "made"


async def test_a_change_asks_for_the_version_that_was_read(api: Api) -> None:
    made = await make(api)
    read = (await api.get(made.path)).headers["etag"]
    assert (await api.patch(made.path, {"name": "b"})).status == 428
    changed = await api.call("PATCH", made.path, {"name": "b"}, headers={"if-match": read})
    assert (changed.status, changed.body["name"]) == (200, "b")
    stale = await api.call("PATCH", made.path, {"name": "c"}, headers={"if-match": read})
    assert (stale.status, stale.code) == (412, "precondition_failed")
    assert (await api.get(made.path)).headers["etag"] == changed.headers["etag"] != read


async def test_of_changes_at_once_to_one_version_one_is_made(api: Api) -> None:
    made = await make(api)
    read = (await api.get(made.path)).headers["etag"]
    changes = [api.call("PATCH", made.path, {"name": f"n{n}"}, headers={"if-match": read}) for n in range(8)]
    replies = await asyncio.gather(*changes)
    assert sorted(one.status for one in replies) == [200] + [412] * 7


async def test_what_cannot_be_is_refused_by_field(api: Api) -> None:
    wrong: list[tuple[str, object]] = [
        ("scopes", ["message:fly"]),
        ("scopes", []),
        ("role", "emperor"),
        ("environment", "staging"),
        ("allowedNetworks", ["192.0.2.1/24"]),
        ("deniedNetworks", ["example.com"]),
        ("expiresAt", "2001-01-01T00:00:00Z"),
        ("organisationId", "org_00000000000000000000000000"),
        ("createdAt", "2001-01-01T00:00:00Z"),
    ]
    for name, value in wrong:
        reply = await api.post(KEYS, {"name": "a", "role": "viewer", name: value})
        assert (reply.status, reply.fields[0].split(".")[1]) == (422, name), reply.raw
    beyond_role = await api.post(KEYS, {"name": "a", "role": "viewer", "scopes": ["message:send"]})
    assert beyond_role.fields == ["body.scopes"]
    assert len((await api.get(KEYS)).body["data"]) == 1


@pytest.mark.acceptance("K02")
async def test_scopes_are_enforced_on_every_request(api: Api) -> None:
    made = await make(api, "developer", scopes=["organisation:read"])
    narrow = api.with_credential(made.text)
    assert (await narrow.get("/organisation")).status == 200
    for refused in (await narrow.get("/app"), await narrow.post("/app", {"name": "a"}), await narrow.get(KEYS)):
        assert (refused.status, refused.body["type"]) == (403, "urn:postrider:error:insufficient_scope")


@pytest.mark.acceptance("K02")
async def test_a_key_lives_in_one_organisation_and_one_environment(api: Api, stranger: Api) -> None:
    other = api.with_credential((await make(api, "owner", environment="test")).text)
    application = (await api.post("/app", {"name": "live"})).body["id"]
    for outsider in (other, stranger):
        assert (await outsider.get(f"/app/{application}")).status == 404
        assert (await outsider.get("/app")).body["data"] == []


@pytest.mark.acceptance("K02")
async def test_a_key_is_used_from_its_networks_only(api: Api) -> None:
    made = await make(api, allowedNetworks=["127.0.0.0/30"], deniedNetworks=["127.0.0.3"])
    for address, expected in (("127.0.0.2", 200), ("127.0.0.3", 403), ("127.0.0.9", 403)):
        async with calling_from(address, api) as there:
            reply = await there.with_credential(made.text).get("/organisation")
        assert reply.status == expected
        if expected == 403:
            assert reply.body["type"] == "urn:postrider:error:ip_denied"


@pytest.mark.acceptance("K02")
async def test_a_key_ends_at_its_end(api: Api) -> None:
    made = await make(api, expiresAt=soon(1.5))
    end = moment(made.body["expiresAt"])
    while datetime.now(UTC) < end - timedelta(seconds=0.1):
        assert await status(api, made.text) == 200
        await asyncio.sleep(0.05)
    await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 0.05)
    assert await status(api, made.text) == 401
    assert (await api.post(f"{made.path}/rotate", {})).code == "key_ended"
    assert (await patch(api, made.path, {"expiresAt": None})).code == "key_ended"


@pytest.mark.acceptance("K02")
async def test_a_secret_is_good_for_as_long_as_the_policy_says(api: Api, sessions: sessionmaker[Session]) -> None:
    made = await make(api)
    assert (await patch(api, "/organisation", {"keyDays": 30})).status == 200
    (secret,) = (await api.get(made.path)).body["secrets"]
    assert moment(secret["endsAt"]) == moment(secret["createdAt"]) + 30 * DAY
    assert await status(api, made.text) == 200
    with sessions.begin() as db:
        aged = update(ApiKeySecret).filter_by(key_id=decode("key", made.id))
        db.execute(aged.values(created_at=datetime.now(UTC) - 31 * DAY))
    await refused_within_a_second(api, made.text)
    rotated = await api.post(f"{made.path}/rotate", {})
    assert await status(api, rotated.body["key"]) == 200


@pytest.mark.acceptance("K03")
async def test_after_a_rotation_the_old_one_is_good_until_exactly_its_end(api: Api) -> None:
    made = await make(api)
    rotated = await api.post(f"{made.path}/rotate", {"overlapSeconds": 2})
    new, old = rotated.body["secrets"]
    end = moment(old["endsAt"])
    assert end == moment(new["createdAt"]) + timedelta(seconds=2)
    assert new["endsAt"] is None
    while datetime.now(UTC) < end - timedelta(seconds=0.1):
        assert await status(api, made.text) == 200
        await asyncio.sleep(0.05)
    await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 0.05)
    assert await status(api, made.text) == 401
    assert await status(api, rotated.body["key"]) == 200


@pytest.mark.acceptance("K03")
async def test_without_an_overlap_the_old_one_ends_at_once(api: Api) -> None:
    made = await make(api)
    assert await status(api, made.text) == 200
    await api.post(f"{made.path}/rotate", {"overlapSeconds": 0})
    await refused_within_a_second(api, made.text)


@pytest.mark.parametrize("seconds", [-1, 604801, 1.5, "60", None])
async def test_an_overlap_that_cannot_be(api: Api, seconds: object) -> None:
    made = await make(api)
    assert (await api.post(f"{made.path}/rotate", {"overlapSeconds": seconds})).fields == ["body.overlapSeconds"]


async def test_two_secrets_at_most_are_good_at_once(api: Api) -> None:
    made = await make(api)
    newer = (await api.post(f"{made.path}/rotate", {})).body
    refused = await api.post(f"{made.path}/rotate", {})
    assert (refused.status, refused.code) == (409, "rotation_in_progress")
    older = newer["secrets"][1]["id"]
    assert older in refused.body["detail"]
    for _ in range(2):
        assert (await api.delete(f"{made.path}/secret/{older}")).status == 204
    await refused_within_a_second(api, made.text)
    third = await api.post(f"{made.path}/rotate", {})
    assert third.status == 200
    for text in (newer["key"], third.body["key"]):
        assert await status(api, text) == 200


async def test_of_rotations_at_once_one_is_made(api: Api) -> None:
    made = await make(api)
    replies = await asyncio.gather(*(api.post(f"{made.path}/rotate", {}) for _ in range(6)))
    assert sorted(one.status for one in replies) == [200] + [409] * 5
    assert len((await api.get(made.path)).body["secrets"]) == 2


async def test_a_repeated_rotation_shows_the_same_text(api: Api) -> None:
    made = await make(api)
    first, again = [await api.post(f"{made.path}/rotate", {}, key="once") for _ in range(2)]
    assert (again.status, again.raw) == (200, first.raw)
    assert len((await api.get(made.path)).body["secrets"]) == 2


async def test_the_last_secret_cannot_be_ended(api: Api) -> None:
    made = await make(api)
    (secret,) = made.body["secrets"]
    refused = await api.delete(f"{made.path}/secret/{secret['id']}")
    assert (refused.status, refused.code) == (409, "last_secret")
    assert (await api.delete(f"{made.path}/secret/sec_00000000000000000000000000")).status == 404
    assert await status(api, made.text) == 200


@pytest.mark.acceptance("K04")
async def test_a_revoked_key_is_refused_at_once_and_stays_so(api: Api) -> None:
    made = await make(api)
    assert await status(api, made.text) == 200
    for _ in range(2):
        assert (await api.delete(made.path)).status == 204
    await refused_within_a_second(api, made.text)
    revoked = (await api.get(made.path)).body["revokedAt"]
    assert abs(moment(revoked) - datetime.now(UTC)) < timedelta(seconds=10)
    assert (await patch(api, made.path, {"name": "again"})).code == "key_ended"
    assert (await api.post(f"{made.path}/rotate", {})).code == "key_ended"


@pytest.mark.acceptance("K04")
async def test_a_revoked_key_makes_no_other_while_a_process_still_knows_it(api: Api) -> None:
    made = await make(api)
    caller = api.with_credential(made.text)
    await make(caller)
    assert (await api.delete(made.path)).status == 204
    assert (await caller.post(KEYS, {"name": "escape", "role": "viewer"})).status == 401


@pytest.mark.acceptance("K05")
async def test_a_narrowed_key_gives_no_more_what_it_could(api: Api) -> None:
    made = await make(api)
    caller = api.with_credential(made.text)
    await make(caller)
    assert (await patch(api, made.path, {"scopes": ["key:write"]})).status == 200
    assert (await caller.post(KEYS, {"name": "escape", "role": "viewer"})).status == 403


WIDER: list[dict[str, object]] = [
    {"role": "owner"},
    {"role": "admin"},
    {"role": "viewer", "allowedNetworks": []},
    {"role": "viewer", "allowedNetworks": ["126.0.0.0/7"]},
    {"role": "viewer", "allowedNetworks": ["127.0.0.0/24", "::/0"]},
    {"role": "viewer", "deniedNetworks": []},
    {"role": "viewer", "expiresAt": None},
    {"role": "viewer", "expiresAt": "2100-01-01T00:00:00Z"},
]
WITHIN: dict[str, object] = {
    "role": "viewer",
    "allowedNetworks": ["127.0.0.0/24"],
    "deniedNetworks": ["127.0.0.64/26", "10.0.0.0/8"],
    "expiresAt": soon(86400),
}


@pytest.fixture
async def narrow(api: Api) -> Made:
    """A key that may make keys, but not all of them."""
    return await make(
        api,
        "admin",
        scopes=["key:read", "key:write", "organisation:read", *_VIEWS],
        allowedNetworks=["127.0.0.0/16"],
        deniedNetworks=["127.0.0.77"],
        expiresAt=soon(7 * 86400),
    )


_VIEWS = (
    "application:list", "application:read", "delivery:read", "endpoint:read", "event-type:read", "message:read",
    "operational-webhook:read", "task:read",
)  # fmt: skip


@pytest.mark.acceptance("K05")
@pytest.mark.parametrize("wider", WIDER, ids=str)
async def test_a_key_makes_and_changes_no_key_that_reaches_farther(
    api: Api, narrow: Made, wider: dict[str, object]
) -> None:
    caller = api.with_credential(narrow.text)
    wanted = WITHIN | wider
    refused = await caller.post(KEYS, {"name": "wider", **wanted})
    assert (refused.status, refused.body["type"]) == (403, "urn:postrider:error:insufficient_scope"), refused.raw
    within = await make(caller, **WITHIN)  # type: ignore[arg-type]
    assert (await patch(caller, within.path, wider)).status == 403
    more = {name: value for name, value in wider.items() if name != "role"} or {**wider, "scopes": None}
    assert (await patch(caller, narrow.path, more)).status == 403
    assert (await caller.get(within.path)).body["role"] == "viewer"


@pytest.mark.acceptance("K05")
async def test_a_key_makes_keys_within_its_own_reach(api: Api, narrow: Made) -> None:
    caller = api.with_credential(narrow.text)
    made = await make(caller, **WITHIN)  # type: ignore[arg-type]
    assert await status(api, made.text) == 200
    assert (await api.post(f"{made.path}/rotate", {})).status == 200
    assert (await caller.delete(made.path)).status == 204


@pytest.mark.acceptance("K05")
async def test_a_key_touches_no_mightier_key(api: Api, narrow: Made) -> None:
    caller, mightier = api.with_credential(narrow.text), await make(api, "developer")
    newer = (await api.post(f"{mightier.path}/rotate", {})).body
    calls = [
        ("PATCH", mightier.path, {"role": "viewer"}),
        ("PATCH", mightier.path, {"name": "mine"}),
        ("POST", f"{mightier.path}/rotate", {}),
        ("DELETE", mightier.path, None),
        ("DELETE", f"{mightier.path}/secret/{newer['secrets'][1]['id']}", None),
    ]
    for method, path, body in calls:
        reply = await caller.call(method, path, body, headers={"if-match": "*"})
        assert (method, reply.status) == (method, 403)
    for text in (mightier.text, newer["key"]):
        assert await status(api, text) == 200


@pytest.mark.acceptance("K05")
async def test_the_test_environment_does_not_reach_into_the_live_one(api: Api, test_api: Api) -> None:
    live = await make(api, "viewer")
    refused = await test_api.post(KEYS, {"name": "up", "role": "viewer", "environment": "live"})
    assert refused.status == 403
    assert (await test_api.get(live.path)).status == 404
    assert {one["environment"] for one in (await test_api.get(KEYS)).body["data"]} == {"test"}
    own = await make(test_api, "owner")
    assert own.body["environment"] == "test"
    assert (await api.delete(own.path)).status == 204
    for method, path, body in (("PATCH", "", {"name": "x"}), ("DELETE", "?name=x", None)):
        reply = await test_api.call(method, f"/organisation{path}", body, headers={"if-match": "*"})
        assert reply.status == 403


@pytest.mark.acceptance("K05")
@pytest.mark.parametrize("role", ["developer", "support", "viewer"])
async def test_roles_without_keys_make_none(api: Api, role: str) -> None:
    caller = api.with_credential((await make(api, role)).text)
    assert (await caller.post(KEYS, {"name": "a", "role": "viewer"})).status == 403
    assert len((await api.get(KEYS)).body["data"]) == 2


@pytest.mark.acceptance("L04")
@pytest.mark.parametrize(
    "change", [{"deniedNetworks": ["127.0.0.1"]}, {"allowedNetworks": ["192.0.2.0/24"]}, {"role": "viewer"}], ids=str
)
async def test_a_key_does_not_shut_itself_out_by_mistake(api: Api, change: object) -> None:
    made = await make(api)
    caller = api.with_credential(made.text)
    asked = await patch(caller, made.path, change)
    assert (asked.status, asked.code) == (409, "would_lock_out")
    assert "?confirm=true" in asked.body["detail"]
    assert (await patch(caller, made.path, {"name": "still"})).status == 200
    assert (await patch(caller, made.path, change, confirm="true")).status == 200
    await asyncio.sleep(MEMORY_SECONDS)
    assert (await patch(caller, made.path, {"name": "no more"})).status == 403
    assert (await patch(api, made.path, {"role": "admin", "allowedNetworks": [], "deniedNetworks": []})).status == 200


async def test_another_key_is_narrowed_without_being_asked(api: Api) -> None:
    made = await make(api)
    assert (await patch(api, made.path, {"deniedNetworks": ["127.0.0.1"]})).status == 200
    await refused_within_a_second(api, made.text, status_=403)


@pytest.mark.acceptance("K10")
@pytest.mark.parametrize("ended", ["suspended_at", "deleted_at"])
async def test_keys_of_an_organisation_that_is_suspended_or_deleted_are_dead_at_once(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session], ended: str
) -> None:
    made = await make(api)
    assert await status(api, made.text) == 200
    with sessions.begin() as db:
        db.execute(update(Organisation).filter_by(id=tenant.organisation_id).values({ended: datetime.now(UTC)}))
    await refused_within_a_second(api, made.text, tenant.key)
    with sessions.begin() as db:
        db.execute(update(Organisation).filter_by(id=tenant.organisation_id).values({ended: None}))
    assert await status(api, made.text) == 200


async def test_the_answers_say_when_the_key_ends_soon(api: Api) -> None:
    application = (await api.post("/app", {"name": "a"})).body["id"]
    for seconds, is_told in ((86400, True), (8 * 86400, False)):
        made = await make(api, "owner", expiresAt=soon(seconds))
        caller = api.with_credential(made.text)
        message = {"eventType": "a.b", "payload": {}}
        replies = [
            await caller.get("/app"),
            await caller.post(f"/app/{application}/msg", message),
            await caller.post(f"/app/{application}/msg?with_content=false", message),
        ]
        for reply in replies:
            assert reply.status < 300
            assert reply.headers.get("postrider-key-expires-at") == (made.body["expiresAt"] if is_told else None)


async def test_a_key_without_an_end_says_nothing(api: Api) -> None:
    assert "postrider-key-expires-at" not in (await api.get("/app")).headers


async def test_revoking_leaves_the_row(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    made = await make(api)
    await api.delete(made.path)
    with sessions() as db:
        rows = db.scalars(select(ApiKey).filter_by(organisation_id=tenant.organisation_id)).all()
    assert [one.revoked_at is not None for one in sorted(rows, key=lambda one: one.id)] == [False, True]


async def test_it_is_shown_when_and_from_where_a_key_was_used_last(settings: Settings, api: Api) -> None:
    made = await make(api, "owner")
    began = datetime.now(UTC)
    async with served(create_app(settings)) as url, calling_from("127.0.0.2", api) as there:
        await Api(there.http, url, made.text).post("/app/none/msg", {"eventType": "a", "payload": {}})
    shown = (await api.get(made.path)).body
    assert began < moment(shown["lastUsedAt"]) < datetime.now(UTC)
    assert shown["lastUsedFrom"] == "127.0.0.2"
    assert shown["updatedAt"] == made.body["updatedAt"]
