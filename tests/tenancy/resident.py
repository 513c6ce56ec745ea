"""Two organisations with something in every table, put there by the API and the workers, or as a browser would."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import decode, encode
from tests.api.client import Tenant
from tests.e2e.customer import Caller, Customer, eventually
from tests.receiver import Answer, Receiver
from tests.tenancy.people import domain_of, settle_person
from tests.tenancy.rows import filled_tables, tenant_tables

HELD, SLOWEST = 40, 1
# Tables that no use of the product fills by itself, with the reason: empty, and to stay so.
NOT_FILLED: Mapping[str, str] = {
    "audit_unsealed": "the workers empty it within seconds",
    "used_links": "only a link that works once leaves a row",
    "signature_nonces": "only a request that is signed has one",
    "signing_keys": "they are the installation's, and no organisation's",
}


@dataclass(frozen=True)
class Resident:
    """An organisation; `places` are the real ids that stand in the paths of its operations."""

    tenant: Tenant
    api: Caller
    places: Mapping[str, str]

    @property
    def tenants(self) -> tuple[UUID, UUID, UUID]:
        """Whose rows are its own: its environment's, the organisation's and its person's."""
        return self.tenant.id, self.tenant.organisation_id, self.tenant.person_id


def settle(base: str, tenant: Tenant, receiver: Receiver, sessions: sessionmaker[Session]) -> Resident:
    """Lets the organisation do all that leaves rows; names, uids and ids of its own are the same for everyone."""
    customer = Customer(Caller(base, tenant.key), "shared")
    api, at = customer.api, "/app/shared"
    only = f"only.{tenant.id.hex}"
    for name in ("shared.type", only):
        api.post("/event-type", {"name": name, "description": "shared"})
    fine = customer.endpoint(receiver.base + receiver.path(), uid="shared", headers={"x-a": "b"})
    customer.endpoint(receiver.base + receiver.path(Answer(500)), retrySchedule=[0, 36_000])
    operational = api.post("/operational-webhook/endpoint", {"url": receiver.base + receiver.path()})["id"]
    message = customer.send(eventId="shared-event")
    again = api.call("POST", "/app", {"name": "keyed"}, headers={"idempotency-key": "shared-key"})
    assert again.status == 201, again.raw
    attempt = customer.wait_for_attempts(message, 2)[0]["id"]
    assert api.call("POST", f"{at}/msg/{message}/endpoint/{fine}/resend").status == 202
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    task = api.post(f"{at}/endpoint/{fine}/recover", {"since": since}, 202)["id"]
    token = api.post("/auth/app-portal-access/shared", {}, 200)["token"]
    assert Caller(base, token).call("POST", "/auth/logout").status == 204
    assert api.call("POST", "/auth/app/shared/expire-all", {}).status == 204
    key = api.post("/organisation/api-key", {"name": "shared", "role": "viewer"})["id"]
    secrets = api.post(f"/organisation/api-key/{key}/rotate", {}, 200)["secrets"]
    client = api.post("/organisation/oauth-client", {"name": "shared", "scopes": ["message:read"]})["id"]
    invited = {"email": "shared@example.test", "role": "viewer"}
    invitation = api.post("/organisation/invitation", invited)["id"]
    client_id = decode("client", client)
    assert client_id is not None
    person_id, provider_id = settle_person(sessions, tenant.organisation_id, client_id)
    tenant = replace(tenant, person_id=person_id)
    _delete_some(api, at)
    _crowd(api, receiver)
    eventually(lambda: not missing(sessions, tenant))
    application = api.get(at)["id"]
    return Resident(
        tenant,
        api,
        {
            "app_id": application,
            "endpoint_id": fine,
            "operational_id": operational,
            "msg_id": message,
            "attempt_id": attempt,
            "task_id": task,
            "event_type_name": only,
            "key_id": key,
            "secret_id": secrets[1]["id"],
            "client_id": client,
            "member_id": encode("user", person_id),
            "invitation_id": invitation,
            "provider_id": encode("idp", provider_id),
            "domain": domain_of(tenant.organisation_id),
        },
    )


def _delete_some(api: Caller, at: str) -> None:
    """Two of each thing that can be restored, so that a list of them has two pages."""
    for number in range(2):
        for path, body in (("/app", {"name": "gone"}), (f"{at}/endpoint", {"url": f"http://127.0.0.1:9/{number}"})):
            made = api.post(path, body)["id"]
            assert api.call("DELETE", f"{path}/{made}").status == 204


def missing(sessions: sessionmaker[Session], tenant: Tenant) -> set[str]:
    """The tables in which the organisation has nothing, though it should."""
    return set(tenant_tables()) - filled_tables(sessions, tenant) - NOT_FILLED.keys()


def _crowd(api: Caller, receiver: Receiver) -> None:
    """More than two rates let through, so that deliveries wait behind a gate."""
    crowd = Customer(api, "crowded")
    assert api.call("PATCH", "/app/crowded", {"throttleRate": SLOWEST * 2}).status == 200
    crowd.endpoint(receiver.base + receiver.path(), throttleRate=SLOWEST)
    for _ in range(HELD):
        crowd.send()
