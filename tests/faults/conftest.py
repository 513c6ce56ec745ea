"""One set of servers and one installation for all rows, whole again after each, and the table at the end."""

import tempfile
from collections.abc import Generator, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from tests.egress.peers import NXDOMAIN, name_server
from tests.faults.hosts import running_hosts
from tests.faults.installation import own_servers
from tests.faults.lab import Lab, Row, running_receiver, table
from tests.servers import Servers, template_database
from tests.system import System

LAB = pytest.StashKey[Lab]()
HANDED_OVER = pytest.StashKey[list[Row]]()
LOG_CHARACTERS = 4000


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, bounded: bool) -> Iterator[Lab]:  # noqa: FBT001  # a fixture
    """Servers of our own, for no others may be killed."""
    with tempfile.TemporaryDirectory(prefix="postrider-faults-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the servers' account passes through to folders of its own
        with (
            own_servers(folder) as (postgres, redis),
            template_database(Servers(postgres.url, redis.url)) as template,
            running_receiver(folder) as receiver,
            running_hosts() as hosts,
        ):
            names = hosts.enter(name_server(lambda _: NXDOMAIN))
            made = request.config.stash[LAB] = Lab(postgres, redis, receiver, template, names, bounded)
            yield made


@pytest.fixture(scope="session")
def shared_installation(lab: Lab) -> Iterator[System]:
    """Every part, on a database of its own."""
    with lab.installed() as system:
        yield system


@pytest.fixture
def installation(lab: Lab, shared_installation: System) -> System:
    """The installation that most rows break, whole again."""
    lab.make_whole(shared_installation)
    return shared_installation


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds what the processes wrote to the report of a failure."""
    report = yield
    lab = item.config.stash.get(LAB, None)
    if report.failed and lab is not None:
        for system in lab.systems:
            report.sections += [(f"log of {part}", system.log(part)[-LOG_CHARACTERS:]) for part in system.children]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in processes of their own, each hands over what its table would say."""
    if hasattr(session.config, "workeroutput") and (lab := session.config.stash.get(LAB, None)):
        session.config.workeroutput["rows"] = [astuple(row) for row in lab.rows]


def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401  # xdist's, which has no types
    """Takes what a process handed over; of one that died there is nothing."""
    rows = node.config.stash.setdefault(HANDED_OVER, [])
    rows += [Row(*values) for values in getattr(node, "workeroutput", {}).get("rows", [])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the table."""
    lab = config.stash.get(LAB, None)
    if rows := [*(lab.rows if lab else []), *config.stash.get(HANDED_OVER, [])]:
        terminalreporter.section("faults")
        for line in table(rows):
            terminalreporter.line(line)
