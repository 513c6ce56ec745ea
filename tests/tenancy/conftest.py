"""An installation with two organisations, each of which has something in every table."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from app.cli.dev.roles import DatabaseUrls
from tests.receiver import Receiver
from tests.servers import Servers, cloned_database, process_environment
from tests.system import System, running_system
from tests.tenancy.resident import Resident, settle


@dataclass(frozen=True)
class Town:
    """The installation, in which nothing moves by itself any more, and who lives there."""

    system: System
    urls: DatabaseUrls
    ours: Resident
    theirs: Resident


@pytest.fixture(scope="package")
def town(servers: Servers, template: str, receiver: Receiver) -> Iterator[Town]:
    """Settled by the API and the workers; then the workers stop, so that whatever changes was done by a test."""
    with cloned_database(servers, template) as urls:
        environment = process_environment(urls, servers.redis_url)
        with running_system(environment, api=1, workers=1) as system:
            ours, theirs = (settle(system.url, system.new_tenant(), receiver, system.sessions) for _ in range(2))
            for part in ("beat", "worker"):
                system.children.pop(part).stop()
            yield Town(system, urls, ours, theirs)
