"""Every panel and rule has an answer: nine panels in ten while all is well, the rest while their fault is caused."""

import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from app.cli.dev.roles import DatabaseUrls
from app.cli.observe.prometheus import Stores, pages
from tests.kit.rate_limits.own_redis import OwnRedis, own_redis
from tests.observe.check.conftest import TOLD
from tests.observe.check.faults import FAULTS, TRIES, World
from tests.observe.check.questions import OURS, PANELS, Asked, faults_of, pointless, silent, still
from tests.observe.check.traffic import Day, busy, founded
from tests.observe.check.watched import SECONDS, Prometheus, watched
from tests.otlp import Collector, running_collector
from tests.receiver import Receiver
from tests.servers import Servers, process_environment
from tests.system import System, running_system

T = TypeVar("T")
PATIENCE_SECONDS = 45.0
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as started:
        yield started


@pytest.fixture(scope="module")
def redis() -> Iterator[OwnRedis]:
    with own_redis() as started:
        yield started


@pytest.fixture(scope="module")
def system(
    database: DatabaseUrls, redis: OwnRedis, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Two processes of the API and two that deliver, all of whose traces are recorded."""
    environment = process_environment(database, redis.url) | collector.environment
    environment |= {
        "POSTRIDER_LIMITS__SIGN_IN__IP": f"{TRIES}/minute",
        "POSTRIDER_MAIL__FOLDER": str(tmp_path_factory.mktemp("mail")),
        "POSTRIDER_TELEMETRY__ACCESS_LINES": "2",
        "POSTRIDER_TELEMETRY__SAMPLE": "1",
    }
    with running_system(environment, api=2, workers=2) as started:
        yield started


@pytest.fixture
def world(system: System, database: DatabaseUrls, receiver: Receiver, collector: Collector, redis: OwnRedis) -> World:
    return World(system, database, receiver, collector, redis, founded(system, receiver))


@pytest.fixture
def prometheus(system: System, servers: Servers, redis: OwnRedis, tmp_path: Path) -> Iterator[Prometheus]:
    with watched(system, Stores(servers.database_url, redis.url), tmp_path) as started:
        yield started


def test_every_panel_and_rule_has_an_answer(world: World, prometheus: Prometheus) -> None:
    with busy(world.town) as day:
        unexpected = in_time(day, lambda: [one for one in silent(prometheus, OURS) if not one.panel.fault])
        calm = silent(prometheus, OURS)
        unmoved = [one for fault in FAULTS for one in still_after(fault, world, prometheus, day)]
        untraced = in_time(day, lambda: pointless(prometheus, OURS))
        rules = prometheus.rules()
        faults = in_time(day, lambda: [fault for rule in prometheus.rules() for fault in faults_of(prometheus, rule)])
        left = sorted({*map(str, in_time(day, lambda: silent(prometheus, OURS))), *map(str, unmoved)})
    tell(len(rules), [*left, *faults], calm)
    assert faults == []
    assert left == []
    assert [str(one) for one in unexpected] == []
    assert [str(one) for one in untraced] == []
    assert len(calm) <= len(OURS) / 10


def test_the_pages_that_somebody_is_sent_to_are_there(prometheus: Prometheus) -> None:
    for name, url in pages(prometheus.url).items():
        with urllib.request.urlopen(url, timeout=20) as page:  # noqa: S310 our own
            assert f">{name}<" in page.read().decode().lower()


def test_each_fault_that_a_panel_waits_for_is_one_that_is_caused() -> None:
    assert {one.panel.fault for one in OURS} - {""} == FAULTS.keys()


def still_after(fault: str, world: World, prometheus: Prometheus, day: Day) -> list[Asked]:
    """The panels that show nothing of it while it lasts."""
    about, since = [one for one in OURS if one.panel.fault == fault], time.time()
    with FAULTS[fault](world):
        return in_time(day, lambda: still(prometheus, about, since))


def in_time(day: Day, look: Callable[[], list[T]]) -> list[T]:
    """What is still found when nothing is, or after a while."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) and time.monotonic() < until:
        day.require_well()
        time.sleep(SECONDS)
    return found


def tell(rules: int, left: list[str], calm: list[Asked]) -> None:
    """Writes the closing line, and before it what it counts."""
    TOLD.extend(f"only with a fault ({one.panel.fault or 'UNNAMED'}): {one}" for one in calm)
    TOLD.extend(f"without data: {one}" for one in left)
    numbers = f"panels {len(OURS)}, rules {rules}, without data {len(left)}"
    TOLD.append(
        f"{numbers} (calm: {len(OURS) - len(calm)} panels with data; kubernetes {len(PANELS) - len(OURS)} apart)"
    )
