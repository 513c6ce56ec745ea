"""A whole installation of closed containers: served, delivered, drained."""

import subprocess
import time
from collections.abc import Iterator, Mapping

import pytest

from app.cli.dev.process import wait_until
from app.cli.dev.roles import DatabaseUrls
from tests.deploy.image.engine import Engine
from tests.e2e.customer import Caller, Customer
from tests.receiver import Answer, Receiver
from tests.servers import Servers, process_environment, urls_of
from tests.system import System, prepared_system

pytestmark = pytest.mark.timeout(600)  # the base and the image are made first
SLOW_SECONDS = 2.0


@pytest.fixture(scope="module")
def urls(servers: Servers) -> DatabaseUrls:
    """A database without a table: the image brings its schema along."""
    return urls_of(servers, "postrider_image")


@pytest.fixture(scope="module")
def environment(servers: Servers, urls: DatabaseUrls, engine: Engine) -> Mapping[str, str]:
    """What the containers find, and what podman does."""
    return process_environment(urls, servers.redis_url) | {"CONTAINERS_CONF": engine.environment["CONTAINERS_CONF"]}


@pytest.fixture(scope="module")
def migrated(engine: Engine, image: str, environment: Mapping[str, str]) -> None:
    """The schema, brought by a container."""
    migrate = [*engine.command(image), "migrate"]
    done = subprocess.run(migrate, env=dict(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def containers(engine: Engine, image: str, environment: Mapping[str, str], migrated: None) -> Iterator[System]:
    """The API, a worker and beat, each in a container."""
    with prepared_system(environment, engine.command(image)) as system:
        began = time.monotonic()
        system.start_api(1)
        print(f"\nthe API answers {time.monotonic() - began:.1f} s after its container is asked for")  # noqa: T201
        system.start_part("worker", "--processes=1")
        system.start_part("beat", "--schedule=/tmp/beat")
        yield system


@pytest.fixture
def customer(containers: System) -> Customer:
    """Somebody who sends events."""
    return Customer(Caller(containers.url, containers.new_tenant().key))


def test_an_event_is_delivered(customer: Customer, receiver: Receiver) -> None:
    customer.endpoint(f"{receiver.base}/image")
    message = customer.send()
    (received,) = receiver.wait("/image", seconds=60)
    assert received.id == message


def test_beat_keeps_its_times_in_the_one_place_that_can_be_written(containers: System) -> None:
    assert wait_until(lambda: "beat: Starting" in containers.log("beat"), 20) or containers.log("beat")
    assert containers.children["beat"].ended() is None


def test_a_worker_that_is_asked_to_stop_finishes_what_it_sends(
    containers: System, customer: Customer, receiver: Receiver
) -> None:
    receiver.tell("/slow", Answer(204, after=SLOW_SECONDS))
    customer.endpoint(f"{receiver.base}/slow")
    message = customer.send()
    receiver.wait("/slow", seconds=60)
    worker = containers.children["worker"]
    worker.stop()
    assert worker.ended() == 0
    (attempt,) = customer.wait_for_attempts(message, 1)
    assert attempt["responseStatusCode"] == 204


def test_the_api_that_is_asked_to_stop_ends_well(containers: System) -> None:
    api = containers.children["api"]
    began = time.monotonic()
    api.stop()
    assert api.ended() == 0
    assert time.monotonic() - began < 10


def test_settings_that_are_missing_are_named(engine: Engine, image: str) -> None:
    bare = [*engine.command(image), "api"]
    done = subprocess.run(bare, env=dict(engine.environment), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "POSTRIDER_DATABASE: field required" in done.stderr
