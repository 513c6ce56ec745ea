"""What was deleted comes back as it was for 30 days, and is out of sight meanwhile."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import event, func, update
from sqlalchemy.orm import Session, sessionmaker

from app.features.organisations import operations
from app.kit.db import enter_tenants, make_engine, make_sessions
from app.models import Application, Endpoint, EndpointHealth, Organisation
from app.settings import Settings
from tests.api.client import Api, Tenant, new_tenant
from tests.api.world import World, uuid_of

URL = "http://127.0.0.1:9/hook"
NEARLY, OVER = timedelta(days=29, hours=23), timedelta(days=30, seconds=1)


@pytest.fixture
async def world(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> World:
    return await World(api, sessions, tenant.id).setup(endpoints=2, headers={"X-A": "1"})


def age(world: World, model: type[Application | Endpoint], by: timedelta, application: str) -> None:
    """Lets the deletion be so long ago."""
    owner = Application.id if model is Application else Endpoint.application_id
    with world.sessions.begin() as db:
        db.execute(update(model).where(owner == uuid_of(application)).values(deleted_at=model.deleted_at - by))


async def secret(world: World, endpoint: str) -> str:
    found: str = (await world.api.get(f"{world.path}/endpoint/{endpoint}/secret")).body["key"]
    return found


async def test_an_application_comes_back_with_what_was_deleted_with_it(world: World) -> None:
    api, (first, second) = world.api, world.endpoints
    before = (await api.get(world.path)).body
    key = await secret(world, second)
    await api.delete(f"{world.path}/endpoint/{first}")
    await api.delete(world.path)
    restored = await api.post(f"{world.path}/restore", {})
    assert restored.status == 200
    assert restored.body == before | {"updatedAt": restored.body["updatedAt"]}
    assert restored.headers["etag"] == (await api.get(world.path)).headers["etag"]
    assert [one["id"] for one in (await api.get(f"{world.path}/endpoint")).body["data"]] == [second]
    assert await secret(world, second) == key
    assert (await api.get(f"{world.path}/endpoint/{second}/headers")).body["headers"] == {"X-A": "1"}
    await world.message()
    assert [row.endpoint_id for row in world.due()] == [uuid_of(second)]


async def test_an_endpoint_comes_back_with_its_secrets_and_headers(world: World) -> None:
    api, one = world.api, world.endpoints[0]
    path = f"{world.path}/endpoint/{one}"
    key, before = await secret(world, one), (await api.get(path)).body
    assert (await api.delete(path)).status == 204
    restored = await api.post(f"{path}/restore", {})
    assert (restored.status, restored.body) == (200, before | {"updatedAt": restored.body["updatedAt"]})
    assert await secret(world, one) == key
    assert (await api.get(f"{path}/headers")).body["headers"] == {"X-A": "1"}
    await world.message()
    assert uuid_of(one) in {row.endpoint_id for row in world.due()}


async def test_what_was_cancelled_stays_so_until_it_is_replayed(world: World) -> None:
    api, one = world.api, world.endpoints[0]
    message = await world.message()
    await api.delete(world.path)
    assert world.due() == []
    await api.post(f"{world.path}/restore", {})
    assert world.due() == []
    stats = (await api.get(f"{world.path}/endpoint/{one}/stats")).body
    assert (stats["canceled"], stats["pending"]) == (1, 0)
    assert (await api.post(f"{world.path}/msg/{message}/endpoint/{one}/resend")).status == 202
    assert [row.endpoint_id for row in world.due()] == [uuid_of(one)]


async def test_a_restored_endpoint_starts_afresh(world: World) -> None:
    one = world.endpoints[0]
    with world.sessions.begin() as db:
        mine = {"environment_id": world.environment_id, "endpoint_id": uuid_of(one)}
        db.add(EndpointHealth(**mine, consecutive_failures=9, fail_since=func.now() - timedelta(days=9)))
    for path in (f"{world.path}/endpoint/{one}", world.path):
        await world.api.delete(path)
        assert (await world.api.post(f"{path}/restore", {})).status == 200
    with world.sessions() as db:
        assert db.query(EndpointHealth).filter_by(**mine, consecutive_failures=9).count() == 0


async def test_deleted_things_are_listed_with_the_end_of_their_time(world: World) -> None:
    api, (first, _) = world.api, world.endpoints
    assert (await api.get(f"/deleted{world.path}/endpoint")).body["data"] == []
    await api.delete(f"{world.path}/endpoint/{first}")
    (endpoint,) = (await api.get(f"/deleted{world.path}/endpoint")).body["data"]
    await api.delete(world.path)
    (application,) = (await api.get("/deleted/app")).body["data"]
    assert (endpoint["id"], application["id"], application["name"]) == (first, world.app_id, "world")
    for one in (endpoint, application):
        until, since = (datetime.fromisoformat(one[name]) for name in ("restorableUntil", "deletedAt"))
        assert until - since == timedelta(days=30)
    assert (await api.get("/app")).body["data"] == []
    assert (await api.get(f"/deleted{world.path}/endpoint")).status == 404


@pytest.mark.parametrize(("given", "shown"), [({"uid": "new"}, "new"), ({"uid": None}, None)])
async def test_under_a_uid_that_was_taken_nothing_comes_back(
    world: World, given: dict[str, object], shown: str | None
) -> None:
    api = world.api
    app = (await api.post("/app", {"name": "one", "uid": "u"})).body["id"]
    path = f"/app/{app}"
    endpoint = (await api.post(f"{path}/endpoint", {"url": URL, "uid": "u"})).body["id"]
    for deleted, collection, body in (
        (f"{path}/endpoint/{endpoint}", f"{path}/endpoint", {"url": URL, "uid": "u"}),
        (path, "/app", {"name": "two", "uid": "u"}),
    ):
        await api.delete(deleted)
        taken = (await api.post(collection, body)).body["id"]
        refused = await api.post(f"{deleted}/restore", {})
        assert (refused.status, refused.code) == (409, "conflict")
        assert "restore it under another one" in refused.body["detail"]
        assert (await api.get(deleted)).status == 404
        restored = await api.post(f"{deleted}/restore", given)
        assert (restored.status, restored.body["uid"]) == (200, shown)
        assert (await api.get(f"{collection}/u")).body["id"] == taken


async def test_only_what_was_deleted_is_restored_by_its_id(world: World, stranger: Api) -> None:
    api = world.api
    await api.post("/app", {"name": "one", "uid": "u"})
    await api.delete("/app/u")
    await api.delete(f"{world.path}/endpoint/{world.endpoints[0]}")
    endpoint = f"{world.path}/endpoint/{world.endpoints[0]}"
    for path in ("/app/u", world.path, f"{world.path}/endpoint/{world.endpoints[1]}", f"{world.path}/endpoint/u"):
        assert (await api.post(f"{path}/restore", {})).status == 404
    assert (await stranger.post(f"{endpoint}/restore", {})).status == 404
    await api.delete(world.path)
    for path in (world.path, endpoint):
        assert (await stranger.post(f"{path}/restore", {})).status == 404
    assert (await api.post(f"{endpoint}/restore", {})).status == 404
    assert (await stranger.get("/deleted/app")).body["data"] == []


@pytest.mark.parametrize("path", ["/app/{app}", "/app/{app}/endpoint/{ep}"])
async def test_after_thirty_days_it_is_too_late(world: World, path: str) -> None:
    api, model = world.api, Endpoint if "endpoint" in path else Application
    path = path.format(app=world.app_id, ep=world.endpoints[0])
    for ago, status in ((NEARLY, 200), (OVER, 404)):
        await api.delete(path)
        age(world, model, ago, world.app_id)
        listed = "/deleted/app" if model is Application else f"/deleted{world.path}/endpoint"
        assert len((await api.get(listed)).body["data"]) == (status == 200)
        assert (await api.post(f"{path}/restore", {})).status == status


async def test_a_field_that_there_is_none_of_is_refused(world: World) -> None:
    await world.api.delete(f"{world.path}/endpoint/{world.endpoints[0]}")
    for path in (f"{world.path}/endpoint/{world.endpoints[0]}", world.path):
        await world.api.delete(path)
        reply = await world.api.post(f"{path}/restore", {"name": "x"})
        assert (reply.status, reply.fields) == (422, ["body.name"])


async def test_a_restoration_is_safe_to_repeat(world: World) -> None:
    for path in (f"{world.path}/endpoint/{world.endpoints[0]}", world.path):
        await world.api.delete(path)
        first = await world.api.post(f"{path}/restore", {}, key="again")
        again = await world.api.post(f"{path}/restore", {}, key="again")
        assert (first.status, first.raw) == (again.status, again.raw)
        assert (await world.api.post(f"{path}/restore", {})).status == 404


async def test_who_may_not_delete_may_not_restore(world: World) -> None:
    reader = await world.api.portal(world.app_id, readOnly=True)
    writer = await world.api.portal(world.app_id)
    path = f"{world.path}/endpoint/{world.endpoints[0]}"
    await world.api.delete(path)
    assert (await reader.post(f"{path}/restore", {})).status == 403
    assert (await reader.get(f"/deleted{world.path}/endpoint")).status == 403
    assert (await writer.get("/deleted/app")).status == 403
    assert (await writer.post(f"{world.path}/restore", {})).status == 403
    assert (await writer.post(f"{path}/restore", {})).status == 200


async def test_a_portal_token_lives_and_dies_with_its_application(world: World) -> None:
    portal = await world.api.portal(world.app_id)
    for act, status in ((world.api.delete(world.path), 401), (world.api.post(f"{world.path}/restore", {}), 200)):
        await act
        assert await eventually(portal, world.path, status)


STOPS = [
    (operations.suspend_organisation, operations.resume_organisation),
    (operations.delete_organisation, operations.restore_organisation),
]
Act = Callable[[Session, object], None]


@pytest.mark.acceptance("K10")
@pytest.mark.parametrize(("stop", "start"), STOPS, ids=["suspended", "deleted"])
async def test_keys_and_portal_tokens_of_a_stopped_organisation_are_dead_within_a_second(
    world: World, tenant: Tenant, stop: Act, start: Act
) -> None:
    portal = await world.api.portal(world.app_id)
    for act, status in ((stop, 401), (start, 200)):
        with world.sessions.begin() as db:
            act(db, tenant.organisation_id)
        for caller in (world.api, portal):
            assert await eventually(caller, world.path, status)


@pytest.fixture
def own(settings: Settings, tenant: Tenant) -> Iterator[sessionmaker[Session]]:
    """Sessions of the API's role, which sees the organisation and one of its environments."""
    engine = make_engine(settings.database.url.get_secret_value())
    found = make_sessions(engine)
    event.listen(found, "after_begin", lambda _, __, connection: enter_tenants(connection, _tenants(tenant)))
    yield found
    engine.dispose()


def _tenants(tenant: Tenant) -> tuple[UUID, UUID]:
    return tenant.id, tenant.organisation_id


async def test_deleting_an_organisation_cancels_what_it_is_owed_in_every_environment(
    world: World, tenant: Tenant, own: sessionmaker[Session]
) -> None:
    test = new_tenant(world.sessions, operations.NewKey("t", "test"), tenant.organisation_id)
    other = await World(world.api.with_credential(test.key), world.sessions, test.id).setup()
    await world.message()
    await other.message()
    assert (len(world.due()), len(other.due())) == (2, 1)
    for act in (operations.delete_organisation, operations.restore_organisation):
        with own.begin() as db:
            act(db, tenant.organisation_id)
        assert world.due() == other.due() == []


async def test_another_organisation_is_not_to_be_stopped(
    world: World, sessions: sessionmaker[Session], own: sessionmaker[Session]
) -> None:
    other = new_tenant(sessions)
    for act in (operations.suspend_organisation, operations.delete_organisation):
        with own.begin() as db, pytest.raises(LookupError):
            act(db, other.organisation_id)
    assert (await world.api.with_credential(other.key).get("/app")).status == 200


async def test_what_a_suspended_organisation_is_owed_stays_owed(world: World, tenant: Tenant) -> None:
    await world.message()
    with world.sessions.begin() as db:
        operations.suspend_organisation(db, tenant.organisation_id)
    assert len(world.due()) == 2


async def test_after_thirty_days_an_organisation_cannot_be_restored(world: World, tenant: Tenant) -> None:
    mine = Organisation.id == tenant.organisation_id
    for ago, is_late in ((NEARLY, False), (OVER, True)):
        with world.sessions.begin() as db:
            operations.delete_organisation(db, tenant.organisation_id)
            db.execute(update(Organisation).where(mine).values(deleted_at=Organisation.deleted_at - ago))
        with world.sessions.begin() as db:
            if is_late:
                with pytest.raises(LookupError):
                    operations.restore_organisation(db, tenant.organisation_id)
            else:
                operations.restore_organisation(db, tenant.organisation_id)


async def eventually(caller: Api, path: str, status: int) -> bool:
    """Whether the answer has this status by the end of the second for which callers are remembered."""
    end = asyncio.get_running_loop().time() + 2.0
    while (reply := await caller.get(path)).status != status:
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(0.05)
    return reply.status == status
