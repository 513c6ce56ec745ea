"""One installation for the whole suite, from which nothing leaves the machine."""

from collections.abc import Iterator

import pytest

from tests.fuzz.world import closed_system
from tests.servers import Servers, cloned_database, process_environment
from tests.ssrf.names import NameServer
from tests.system import System


@pytest.fixture(scope="session")
def names() -> Iterator[NameServer]:
    """The name server of the installation, which knows of nothing but what is published."""
    with NameServer("127.0.0.1", 0) as started:
        yield started


@pytest.fixture(scope="session")
def system(servers: Servers, template: str, names: NameServer) -> Iterator[System]:
    """Every part, on a database of its own."""
    with (
        cloned_database(servers, template) as urls,
        closed_system(process_environment(urls, servers.redis_url), names) as started,
    ):
        yield started
