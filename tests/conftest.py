"""Servers for every test, a database for every module, and no silent skips in CI."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from app.cli.dev.errors import DevError
from app.cli.dev.roles import DatabaseUrls
from tests import canaries
from tests.acceptance import Acceptance
from tests.receiver import Receiver
from tests.servers import Servers, cloned_database, process_environment, running_servers, template_database
from tests.system import System, running_system

# A skip in CI must begin so: it is about the kernel or the hardware, which no package changes.
NOT_INSTALLABLE = "this machine cannot: "
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    """What the longer suites are told."""
    parser.addoption("--bounded", action="store_true", help="the short form of a long suite, as CI runs it")
    parser.addoption("--screenshots", type=Path, help="a folder into which the browser's tests put pictures of pages")


def pytest_configure(config: pytest.Config) -> None:
    """Looks through what is logged, and counts rows where nothing but rows is asked for."""
    canaries.watch(config)
    if config.getoption("markexpr") == "acceptance":
        config.pluginmanager.register(Acceptance())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out, in each form, what is marked as belonging to the other one alone."""
    other = "unbounded" if config.getoption("bounded") else "bounded_only"
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def bounded(request: pytest.FixtureRequest) -> bool:
    """Whether the short form of a long suite is wanted."""
    return bool(request.config.getoption("bounded"))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis for the whole session."""
    try:
        with running_servers() as started:
            yield started
    except DevError as error:
        pytest.exit(str(error), returncode=2)


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[str]:
    """The name of a migrated database without rows."""
    with template_database(servers) as name:
        yield name


@pytest.fixture(scope="module")
def database(servers: Servers, template: str) -> Iterator[DatabaseUrls]:
    """A fresh, migrated database of the module's own: the three roles' URLs."""
    with cloned_database(servers, template) as urls:
        yield urls


@pytest.fixture(scope="module")
def environment(servers: Servers, database: DatabaseUrls) -> dict[str, str]:
    """The environment of processes that work on the module's database."""
    return process_environment(database, servers.redis_url)


@pytest.fixture(scope="session")
def system(servers: Servers, template: str) -> Iterator[System]:
    """Every process of an installation, on a database of its own, for the tests that look from outside."""
    with (
        cloned_database(servers, template) as urls,
        running_system(process_environment(urls, servers.redis_url)) as started,
    ):
        yield started


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback that remembers what it got."""
    with Receiver() as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure where CI promises that nothing is left out."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module."""
    return _refuse_skip((yield))


def _refuse_skip(report: Report) -> Report:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(NOT_INSTALLABLE):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI: {reason}"
    return report
