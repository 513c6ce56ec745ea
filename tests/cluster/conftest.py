"""A Kubernetes without nodes, for the programs of a node that need no more of it than what it stores."""

from collections.abc import Iterator

import pytest

from tests.deploy.apiserver.server import ApiServer, running_api_server
from tests.deploy.crds import definitions

# Of all definitions these are enough, and the server starts sooner.
GROUPS = ("gateway.networking.k8s.io", "gateway.nginx.org", "monitoring.coreos.com")


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """It has the kinds of those who let callers in and of those who watch, and a namespace `postrider`."""
    with running_api_server(tmp_path_factory.mktemp("kubernetes")) as server:
        server.install(one for one in definitions() if one["spec"].get("group") in GROUPS)
        server.namespace("postrider", "privileged")
        yield server
