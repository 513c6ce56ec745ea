"""The programs that the tests of what is shipped call, and the count of what they looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.apiserver.server import ApiServer, running_api_server
from tests.deploy.crds import definitions
from tests.deploy.tally import LEFT_TO_KIND, TALLY, closing_line
from tests.deploy.tools import program


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm 4."""
    return program("helm")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A Kubernetes without nodes that knows the components' kinds; its namespace `postrider` is `restricted`."""
    with running_api_server(tmp_path_factory.mktemp("api-server")) as server:
        server.install(definitions())
        server.namespace("postrider")
        yield server


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells the process that prints what this one of several looked at."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput |= {"tally": dict(TALLY), "left to kind": sorted(LEFT_TO_KIND)}


def pytest_testnodedown(node: object) -> None:
    """Adds what one of several processes looked at; one that died tells nothing, and fails by itself."""
    told = getattr(node, "workeroutput", {})
    TALLY.update(told.get("tally", {}))
    LEFT_TO_KIND.update(told.get("left to kind", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Closes with what was looked at."""
    if TALLY:
        terminalreporter.line(closing_line())
