"""An installation to be fuzzed, from which nothing leaves the machine, and what it has for schemathesis to find."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

import trustme

from app.features.operational_webhooks.events import EVENT_TYPES as OPERATIONAL
from tests.e2e.customer import Caller, Customer
from tests.receiver import Receiver
from tests.system import System, running_system

LOOPBACK = IPv4Network("127.0.0.0/8")
ELSEWHERE = ",".join([*map(str, IPv4Network("0.0.0.0/0").address_exclude(LOOPBACK)), "::/0"])
EVENT_TYPES = 30
Known = dict[str, object]
SECRET = "whsec_" + "QUJD" * 10


@contextmanager
def closed_system(environment: Mapping[str, str]) -> Iterator[System]:
    """Every part; no name is resolved and no address is called but loopback."""
    closed = {"POSTRIDER_EGRESS__DENY": ELSEWHERE, "POSTRIDER_EGRESS__NAMESERVERS": '["127.0.0.1"]'}
    with running_system({**environment, **closed}) as system:
        yield system


def known(system: System, receiver: Receiver, key: str) -> Known:
    """What an organisation has: ids of new things, one of each kind, and values that are allowed."""
    api = Caller(system.url, key)
    customer = Customer(api)
    url = receiver.base + receiver.path()
    event_types = [f"known.{number}" for number in range(EVENT_TYPES)]
    for name in event_types:
        api.call("PUT", f"/event-type/{name}", {"description": name, "schemas": {"1": {"type": "object"}}})
    steady = customer.endpoint(url)
    message = customer.send()
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
        "secret_id": api.post(f"/organisation/api-key/{key_id}/rotate", {}, 200)["secrets"][1]["id"],
        "attempt_id": customer.wait_for_attempts(message, 1)[0]["id"],
        "task_id": api.post(f"/app/{customer.app}/endpoint/{steady}/recover", {"since": _an_hour_ago()}, 202)["id"],
    }


def _an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).isoformat()
