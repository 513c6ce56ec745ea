"""Each write of the API that succeeds leaves one event in its own transaction, and one that fails leaves none."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import aiohttp
import psycopg
import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.domain.ids import encode
from app.features.audit.documents import described
from app.features.audit.first_uses import ACTION as FIRST_USE
from app.models import AuditEvent
from tests.api.client import Api, Reply, Tenant, new_tenant
from tests.api.operations import OPERATIONS, Operation, Places
from tests.api.world import World, uuid_of

# A message is no act of administration, and there are as many as the organisation has events.
HOT = {"POST /app/{app_id}/msg", "POST /app/{app_id}/message"}
VERIFY = "POST /organisation/identity-provider/{provider_id}/domain/{domain}/verify"
"""It asks the DNS, and is looked at where that is played."""
WRITES = [one for one in OPERATIONS if one.method not in {"GET", "HEAD"} and str(one) not in {*HOT, VERIFY}]
LOGOUT = "/auth/logout"
ACTIONS = {
    "DELETE /app/{app_id}": "application.deleted",
    "POST /app/{app_id}/restore": "application.restored",
    "POST /app/{app_id}/endpoint/{endpoint_id}/restore": "endpoint.restored",
    "DELETE /app/{app_id}/endpoint/{endpoint_id}": "endpoint.deleted",
    "DELETE /app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content": "attempt.expunged",
    "DELETE /app/{app_id}/msg/{msg_id}/content": "message.expunged",
    "DELETE /event-type/{event_type_name}": "event_type.archived",
    "DELETE /operational-webhook/endpoint/{endpoint_id}": "operational_endpoint.deleted",
    "DELETE /organisation": "organisation.deleted",
    "DELETE /organisation/api-key/{key_id}": "key.revoked",
    "DELETE /organisation/api-key/{key_id}/secret/{secret_id}": "key.secret_ended",
    "DELETE /organisation/identity-provider/{provider_id}": "provider.deleted",
    "DELETE /organisation/identity-provider/{provider_id}/domain/{domain}": "provider.domain_removed",
    "DELETE /organisation/invitation/{invitation_id}": "invitation.revoked",
    "DELETE /organisation/member/{member_id}": "member.removed",
    "DELETE /organisation/member/{member_id}/session": "member.sessions_ended",
    "DELETE /organisation/oauth-client/{client_id}": "oauth.client_deleted",
    "DELETE /organisation/oauth-client/{client_id}/secret/{secret_id}": "oauth.client_secret_ended",
    "PATCH /app/{app_id}": "application.changed",
    "PATCH /app/{app_id}/endpoint/{endpoint_id}": "endpoint.changed",
    "PATCH /app/{app_id}/endpoint/{endpoint_id}/headers": "endpoint.headers_changed",
    "PATCH /event-type/{event_type_name}": "event_type.changed",
    "PATCH /operational-webhook/endpoint/{endpoint_id}": "operational_endpoint.changed",
    "PATCH /organisation": "organisation.changed",
    "PATCH /organisation/api-key/{key_id}": "key.changed",
    "PATCH /organisation/identity-provider/{provider_id}": "provider.changed",
    "PATCH /organisation/member/{member_id}": "member.role_changed",
    "PATCH /organisation/oauth-client/{client_id}": "oauth.client_changed",
    "POST /app": "application.created",
    "POST /app/{app_id}/endpoint": "endpoint.created",
    "POST /app/{app_id}/endpoint/{endpoint_id}/bulk-replay": "endpoint.bulk_replay_started",
    "POST /app/{app_id}/endpoint/{endpoint_id}/recover": "endpoint.recovery_started",
    "POST /app/{app_id}/endpoint/{endpoint_id}/replay-missing": "endpoint.replay_started",
    "POST /app/{app_id}/endpoint/{endpoint_id}/secret/rotate": "endpoint.secret_rotated",
    "POST /app/{app_id}/endpoint/{endpoint_id}/send-example": "endpoint.example_sent",
    "POST /app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend": "message.resent",
    "POST /audit/export-link": "audit.link_made",
    "POST /auth/app-portal-access/{app_id}": "portal.granted",
    "POST /auth/app/{app_id}/expire-all": "portal.expired",
    "POST /auth/dashboard-access/{app_id}": "portal.granted",
    "POST /auth/logout": "portal.ended",
    "POST /event-type": "event_type.created",
    "POST /operational-webhook/endpoint": "operational_endpoint.created",
    "POST /operational-webhook/endpoint/{endpoint_id}/secret/rotate": "operational_endpoint.secret_rotated",
    "POST /organisation/api-key": "key.created",
    "POST /organisation/api-key/{key_id}/rotate": "key.rotated",
    "POST /organisation/identity-provider": "provider.created",
    "POST /organisation/identity-provider/{provider_id}/domain": "provider.domain_added",
    "POST /organisation/invitation": "member.invited",
    "POST /organisation/invitation/{invitation_id}/resend": "member.invited",
    "POST /organisation/oauth-client": "oauth.client_created",
    "POST /organisation/oauth-client/{client_id}/rotate": "oauth.client_rotated",
    "PUT /app/{app_id}": "application.changed",
    "PUT /app/{app_id}/endpoint/{endpoint_id}": "endpoint.changed",
    "PUT /app/{app_id}/endpoint/{endpoint_id}/headers": "endpoint.headers_changed",
    "PUT /event-type/{event_type_name}": "event_type.changed",
    "PUT /operational-webhook/endpoint/{endpoint_id}": "operational_endpoint.changed",
    "PUT /operational-webhook/endpoint/{endpoint_id}/headers": "operational_endpoint.headers_changed",
}


@pytest_asyncio.fixture
async def places(api: Api, sessions: sessionmaker[Session], tenant: Tenant) -> Places:
    return await Places.of(World(api, sessions, tenant.id))


@pytest_asyncio.fixture(scope="module")
async def untouched(http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session]) -> Places:
    """One organisation for all that is refused, since that changes nothing."""
    tenant = new_tenant(sessions)
    return await Places.of(World(Api(http, base_url, tenant.key), sessions, tenant.id))


def events(sessions: sessionmaker[Session], organisation_id: UUID) -> list[AuditEvent]:
    with sessions() as db:
        # That a key is new at an address is written down every few seconds, whatever happens meanwhile.
        mine = select(AuditEvent).where(AuditEvent.organisation_id == organisation_id, AuditEvent.action != FIRST_USE)
        return list(db.scalars(mine.order_by(AuditEvent.id)))


async def prepare(places: Places, operation: Operation) -> Callable[[], Awaitable[Reply]]:
    """The operation with the least that it succeeds with, to be carried out."""
    world = places.world
    chosen = {"attempt_id": encode("atmpt", world.attempt(places.message))}
    caller = await places.api.portal(world.app_id) if operation.path == LOGOUT else places.api
    body = json.dumps(operation.least()).encode() if operation.body else None
    if "{secret_id}" in operation.path:
        whose = f"oauth-client/{places.client}" if "{client_id}" in operation.path else f"api-key/{places.key}"
        rotated = await places.api.post(f"/organisation/{whose}/rotate", {})
        chosen["secret_id"] = rotated.body["secrets"][1]["id"]
    name = (await places.api.get("/organisation")).body["name"]
    return partial(
        caller.call,
        operation.method,
        places.path(operation, **chosen),
        raw=body,
        headers=operation.whatever_version,
        query={"name": name} if "name" in operation.parameters("query") else None,
    )


@pytest.mark.acceptance("G01")
@pytest.mark.parametrize("operation", WRITES, ids=str)
async def test_a_write_that_succeeds_leaves_one_event(
    places: Places, tenant: Tenant, sessions: sessionmaker[Session], operation: Operation
) -> None:
    prepared = await prepare(places, operation)
    known = events(sessions, tenant.organisation_id)
    reply = await prepared()
    assert reply.status < 300, reply.raw
    [event] = events(sessions, tenant.organisation_id)[len(known) :]
    assert event.action == ACTIONS[str(operation)]
    assert (event.outcome, event.count, event.ip) == ("success", 1, "127.0.0.1")
    assert event.actor_kind == ("portal" if operation.path == LOGOUT else "key")
    assert event.request_id == reply.headers["x-request-id"]
    assert event.user_agent.startswith("Python/")
    assert event.target_id
    assert abs((datetime.now(UTC) - event.occurred_at).total_seconds()) < 60


@pytest.mark.acceptance("G01")
@pytest.mark.parametrize("operation", WRITES, ids=str)
async def test_a_write_that_is_not_committed_leaves_none(
    places: Places, tenant: Tenant, sessions: sessionmaker[Session], database: DatabaseUrls, operation: Operation
) -> None:
    prepared = await prepare(places, operation)
    known = events(sessions, tenant.organisation_id)
    async with commits_that_fail(database.migrator):
        reply = await prepared()
    assert reply.status == 503, reply.raw
    assert len(events(sessions, tenant.organisation_id)) == len(known)
    assert (await prepared()).status < 300


@pytest.mark.parametrize("operation", WRITES, ids=str)
async def test_a_write_of_nobody_leaves_none(
    untouched: Places, sessions: sessionmaker[Session], operation: Operation
) -> None:
    organisation_id = uuid_of((await untouched.api.get("/organisation")).body["id"])
    known = events(sessions, organisation_id)
    reply = await untouched.api.with_credential("nobody").call(operation.method, untouched.path(operation))
    assert reply.status == 401
    assert len(events(sessions, organisation_id)) == len(known) > 0


async def test_a_target_has_its_own_id_whatever_it_was_called_by(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    """An application's and an endpoint's uid, a message's eventId."""
    world = World(api, sessions, tenant.id)
    app_id = world.app_id = (await api.post("/app", {"name": "a", "uid": "shop"})).body["id"]
    endpoint = await world.endpoint(uid="hook")
    message = await world.message(eventId="order-1")
    await api.patch("/app/shop/endpoint/hook", {"description": "new"})
    await api.post("/app/shop/msg/order-1/endpoint/hook/resend")
    await api.delete("/app/shop/msg/order-1/content")
    await api.delete("/app/shop")
    targets = {one.action: one.target_id for one in events(sessions, tenant.organisation_id)}
    assert targets == {
        "application.created": app_id,
        "endpoint.created": endpoint,
        "endpoint.changed": endpoint,
        "message.resent": message,
        "message.expunged": message,
        "application.deleted": app_id,
    }


async def test_what_is_found_instead_of_made_is_no_event(
    api: Api, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    for _ in range(2):
        await api.call("POST", "/app", {"name": "a", "uid": "a"}, query={"get_if_exists": "true"})
    assert [one.action for one in events(sessions, tenant.organisation_id)] == ["application.created"]


async def test_a_repetition_is_no_event(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    for _ in range(2):
        assert (await api.post("/app", {"name": "a"}, key="once")).status == 201
    assert len(events(sessions, tenant.organisation_id)) == 1


async def test_no_secret_is_in_an_event(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> None:
    secret = "whsec_" + "c2VjcmV0" * 6
    app_id = (await api.post("/app", {"name": "a"})).body["id"]
    url = "http://127.0.0.1:9/canary-path?token=canary-query"
    new = {"url": url, "secret": secret, "headers": {"Authorization": "canary-header"}}
    endpoint = (await api.post(f"/app/{app_id}/endpoint", new)).body["id"]
    await api.put(f"/app/{app_id}/endpoint/{endpoint}/headers", {"headers": {"X-Api-Key": "canary-header"}})
    await api.post(f"/app/{app_id}/endpoint/{endpoint}/secret/rotate", {"key": secret})
    token = (await api.post(f"/auth/app-portal-access/{app_id}", {"sessionId": "canary-session"})).body["token"]
    written = json.dumps([described(one) for one in events(sessions, tenant.organisation_id)])
    assert written.count("endpoint.") == 3
    assert not [one for one in (secret, "canary", token, tenant.key) if one in written]


@asynccontextmanager
async def commits_that_fail(migrator_url: str) -> AsyncIterator[None]:
    """Every transaction that wrote an event comes to a full disk when it commits."""
    # Whoever holds a lock that this waits for may be a task of the same loop.
    async with await psycopg.AsyncConnection.connect(migrator_url, autocommit=True) as connection:
        await connection.execute(
            "CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$"
        )
        await connection.execute(
            "CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION disk_is_full()"
        )
        try:
            yield
        finally:
            await connection.execute("DROP FUNCTION disk_is_full() CASCADE")
