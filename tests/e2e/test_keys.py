"""A revoked key is refused by every process a second later, whatever becomes of Redis."""

import json
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from app.cli.dev.roles import DatabaseUrls
from tests.e2e.broker import Broker, running_broker
from tests.e2e.customer import Caller
from tests.receiver import Receiver
from tests.servers import process_environment
from tests.system import System, running_system

KEYS = "/organisation/api-key"
MEMORY_SECONDS = 1.0
CALLS = 60
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as started:
        yield started


@pytest.fixture(scope="module")
def system(database: DatabaseUrls, broker: Broker) -> Iterator[System]:
    """An installation of this module's own, of which several processes answer."""
    with running_system(process_environment(database, broker.url), api=2, workers=1) as started:
        yield started


@pytest.fixture
def owner(system: System) -> Caller:
    return Caller(system.url, system.new_tenant().key)


def statuses(caller: Caller) -> set[int]:
    """What many connections are answered, which reach every process."""
    return {caller.call("GET", "/organisation").status for _ in range(CALLS)}


def a_used_key(owner: Caller) -> tuple[str, Caller]:
    made = owner.post(KEYS, {"name": "a", "role": "viewer"})
    caller = Caller(owner.base, made["key"])
    assert statuses(caller) == {200}
    return f"{KEYS}/{made['id']}", caller


@pytest.mark.acceptance("K04")
def test_every_process_refuses_a_revoked_key_within_a_second(owner: Caller, broker: Broker) -> None:
    path, caller = a_used_key(owner)
    assert owner.call("DELETE", path).status == 204
    time.sleep(MEMORY_SECONDS)
    assert statuses(caller) == {401}
    Redis.from_url(broker.url).flushall()
    assert statuses(caller) == {401}
    assert statuses(owner) == {200}


@pytest.mark.acceptance("K04")
def test_so_it_is_while_redis_is_away(owner: Caller, broker: Broker) -> None:
    path, caller = a_used_key(owner)
    revoked_before, _ = a_used_key(owner)
    assert owner.call("DELETE", revoked_before).status == 204
    broker.kill()
    try:
        assert owner.call("DELETE", path).status == 204
        time.sleep(MEMORY_SECONDS)
        assert statuses(caller) == {401}
    finally:
        broker.start()
    assert statuses(caller) == {401}


@pytest.mark.acceptance("K03")
def test_an_endpoint_is_told_once_before_a_secret_ends(owner: Caller, receiver: Receiver) -> None:
    path = receiver.path()
    owner.post("/operational-webhook/endpoint", {"url": receiver.base + path, "eventTypes": ["api_key.expiring"]})
    made = owner.post(KEYS, {"name": "shop", "role": "viewer"})
    rotated = owner.post(f"{KEYS}/{made['id']}/rotate", {"overlapSeconds": 6}, status=200)
    (received,) = receiver.wait(path)
    new, old = rotated["secrets"]
    assert new["endsAt"] is None
    assert json.loads(received.body)["data"]["secretId"] == old["id"]
