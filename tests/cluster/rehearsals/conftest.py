"""The cluster that runs, whole again before each rehearsal, and the table at the end."""

from base64 import b64decode
from collections.abc import Generator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.addresses import NODE, PUBLIC_HOST, RECEIVERS
from tests.cluster.install import troubles
from tests.cluster.place import ClusterError, Place
from tests.cluster.previous import Suites, suites_on_this_schema
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import NAMESPACE, Installation
from tests.cluster.stand_ins import CALLERS_AUTHORITY
from tests.cluster.traffic import Database, Entry, Grounds, table
from tests.deploy.tools import cache
from tests.faults.lab import running_receiver

GROUNDS = pytest.StashKey[Grounds]()
PLACE = pytest.StashKey[Place]()
RECEIVER_PORT = 8080
SECRET = "postrider-1"
REHEARSAL_SECONDS = 900


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Place:
    """The cluster that is up, whose network this process is in from now on."""
    found = Place()
    if not found.is_up():
        pytest.fail("no cluster is up: make cluster-up first")
    found.enter_network()
    request.config.stash[PLACE] = found
    return found


@pytest.fixture(scope="session")
def released(place: Place) -> Released:
    """Makes releases."""
    return Released(place)


@pytest.fixture(scope="session")
def suites_of_before(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suites]:
    """The tests of the release before on this schema, which run from now on."""
    assert place.is_up()
    with suites_on_this_schema(cache() / "previous-on-this-schema", tmp_path_factory.mktemp("suites") / "said") as made:
        yield made


@pytest.fixture(scope="session")
def grounds(
    place: Place, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Grounds]:
    """The way in, the database, and a receiver at an address as the internet has them."""
    entry = Entry(f"https://{PUBLIC_HOST}", NODE, place.file("pki", f"{CALLERS_AUTHORITY}.crt"))
    with running_receiver(tmp_path_factory.mktemp("receiver"), RECEIVERS[0], RECEIVER_PORT) as receiver:
        made = request.config.stash[GROUNDS] = Grounds(entry, database_of(place), receiver)
        yield made


@pytest.fixture(scope="session")
def migrator(place: Place) -> Database:
    """The database as those know it who migrate."""
    return database_of(place, "POSTRIDER_DATABASE__MIGRATOR_URL")


def database_of(place: Place, key: str = "POSTRIDER_DATABASE__WORKER_URL") -> Database:
    """The database as the Secret names it for a role; the node's own programs know its Service by its address."""
    kube = place.kube()
    url = b64decode(kube.get("v1", "Secret", SECRET)["data"][key]).decode()
    host = urlsplit(url).hostname or ""
    address = kube.get("v1", "Service", host.partition(".")[0])["spec"]["clusterIP"]
    return Database(url.replace(f"@{host}:", f"@{address}:"))


@pytest.fixture(scope="session")
def first_installation(place: Place, released: Released) -> Iterator[Installation]:
    """What was found, or another good release, which is well in the end."""
    installation = Installation(place.kube(), [released.found()])
    yield installation
    if not installation.is_healthy():
        installation.restore(installation.history[0])


@pytest.fixture
def installation(first_installation: Installation) -> Installation:
    """The installation, whole."""
    if not first_installation.is_healthy():
        first_installation.restore(first_installation.history[0])
    return first_installation


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each may take a while."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(REHEARSAL_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failure which pods are not ready, and why."""
    report = yield
    place = item.config.stash.get(PLACE, None)
    if report.failed and place is not None:
        try:
            report.sections.append(("pods that are not well", troubles(place.kube())))
            said = place.kubectl("get", "rollouts,analysisruns,pods", f"--namespace={NAMESPACE}", "--output=wide")
        except ClusterError as error:
            said = str(error)
        report.sections.append(("what there is", said))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the table."""
    grounds = config.stash.get(GROUNDS, None)
    if grounds is not None and grounds.rows:
        terminalreporter.section("rehearsals")
        for line in table(grounds.rows):
            terminalreporter.line(line)
