"""An installation to be fuzzed, from which nothing leaves the machine, and what it has for schemathesis to find."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

import trustme
from sqlalchemy import update

from app.domain.ids import decode, encode
from app.domain.permissions import Role
from app.features.operational_webhooks.events import EVENT_TYPES as OPERATIONAL
from app.models import Invitation
from tests.e2e.customer import Caller, Customer
from tests.people.visitor import new_person
from tests.receiver import Receiver
from tests.ssrf.names import NameServer
from tests.system import System, running_system

LOOPBACK = IPv4Network("127.0.0.0/8")
ELSEWHERE = ",".join([*map(str, IPv4Network("0.0.0.0/0").address_exclude(LOOPBACK)), "::/0"])
EVENT_TYPES = 30
MEMBERS, SENT = 100, 20
ISSUER = "http://127.0.0.1:9/issuer"
PROVIDER = {"name": "known", "issuer": ISSUER, "clientId": "known", "authMethod": "none"}
Known = dict[str, object]
SECRET = "whsec_" + "QUJD" * 10


@contextmanager
def closed_system(environment: Mapping[str, str], names: NameServer) -> Iterator[System]:
    """Every part; no other name server is asked and no address is called but loopback."""
    closed = {
        "POSTRIDER_EGRESS__DENY": ELSEWHERE,
        "POSTRIDER_EGRESS__NAMESERVERS": json.dumps([names.address]),
        # The fuzzer asks more than any administrator does.
        "POSTRIDER_LIMITS__ADMINISTRATION__KEY": "0",
        "POSTRIDER_LIMITS__ADMINISTRATION__ORGANISATION": "0",
    }
    with running_system({**environment, **closed}) as system:
        yield system


def known(system: System, names: NameServer, receiver: Receiver, key: str) -> Known:
    """What an organisation has: ids of new things, one of each kind, and values that are allowed."""
    api = Caller(system.url, key)
    customer = Customer(api)
    url = receiver.base + receiver.path()
    event_types = [f"known.{number}" for number in range(EVENT_TYPES)]
    for name in event_types:
        api.call("PUT", f"/event-type/{name}", {"description": name, "schemas": {"1": {"type": "object"}}})
    steady = customer.endpoint(url)
    message = customer.send()
    members = _members(system, api)
    provider = api.post("/organisation/identity-provider", PROVIDER)
    key_id = api.post("/organisation/api-key", {"name": "known", "role": "viewer"})["id"]
    return {
        "api": f"{system.url}/api/v1",
        "key": key,
        "url": url,
        "secret": SECRET,
        "certificate": trustme.CA().cert_pem.bytes().decode(),
        "eventTypes": event_types,
        "operationalTypes": list(OPERATIONAL),
        "event_type_name": event_types[1],
        "app_id": api.get(f"/app/{customer.app}")["id"],
        "steady_id": steady,
        "endpoint_id": customer.endpoint(url),
        "operational_id": api.post("/operational-webhook/endpoint", {"url": url})["id"],
        "msg_id": message,
        "callers": [],
        "key_id": key_id,
        "member_id": members.pop(),
        "members": members,
        "invitation_id": _invited(api),
        "sent": _sent_long_ago(system, api),
        "client_id": api.post("/organisation/oauth-client", {"name": "known", "scopes": ["application:read"]})["id"],
        "provider_id": provider["id"],
        "issuer": ISSUER,
        "domain": _proved(api, names, provider["id"]),
        "secret_id": api.post(f"/organisation/api-key/{key_id}/rotate", {}, 200)["secrets"][1]["id"],
        "attempt_id": customer.wait_for_attempts(message, 1)[0]["id"],
        "task_id": api.post(f"/app/{customer.app}/endpoint/{steady}/recover", {"since": _an_hour_ago()}, 202)["id"],
    }


def _members(system: System, api: Caller) -> list[str]:
    """People of the organisation, made as the operator's commands do."""
    organisation_id = decode("org", api.get("/organisation")["id"])
    assert organisation_id is not None
    made = [new_person(system.sessions, organisation_id, Role.viewer, password=None) for _ in range(MEMBERS)]
    return [encode("user", one.id) for one in made]


def _proved(api: Caller, names: NameServer, provider_id: str) -> str:
    """A domain of the provider's whose owner has published what proves it."""
    domain = f"known-{secrets.token_hex(4)}.example.test"
    claimed = api.post(f"/organisation/identity-provider/{provider_id}/domain", {"domain": domain})
    names.publish(claimed["recordName"], claimed["recordText"])
    return domain


def _invited(api: Caller) -> str:
    """An invitation."""
    invited = {"email": f"{secrets.token_hex(8)}@example.test", "role": "viewer"}
    identifier: str = api.post("/organisation/invitation", invited)["id"]
    return identifier


def _sent_long_ago(system: System, api: Caller) -> list[str]:
    """Invitations that may be sent again."""
    made = [_invited(api) for _ in range(SENT)]
    with system.sessions.begin() as db:
        mine = Invitation.id.in_([decode("inv", one) for one in made])
        db.execute(update(Invitation).where(mine).values(sent_at=Invitation.sent_at - timedelta(hours=1)))
    return made


def _an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()
