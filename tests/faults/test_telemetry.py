"""F15: who takes traces, reports or metrics is gone, slow or raving; nobody but an operator notices.

What was lost is counted by the processes themselves, and the counts are read from them.
"""

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.dev.demo import Api
from app.cli.dev.ports import LOOPBACK
from app.kit.telemetry.management import CONNECTIONS
from app.kit.telemetry.reports import SEND_SECONDS
from tests.breakage import without
from tests.exported import exported, total
from tests.faults.calm import play
from tests.faults.lab import Lab, api_children, start_api_again, worker_children
from tests.faults.processes import wait_for
from tests.faults.scraper import scraping
from tests.faults.takers import PARTS, TALKATIVE, Taker, count_dropped
from tests.system import System

pytestmark = pytest.mark.timeout(900)
FAILURES = 3
# Connections that the load brings, and what a process opens for a moment.
OTHER_FILES = 64
# The short form has one fault of each taker.
LONGER = pytest.mark.unbounded


@pytest.fixture(scope="module")
def collector() -> Iterator[Taker]:
    with Taker() as taker:
        yield taker


@pytest.fixture(scope="module")
def traced(lab: Lab, collector: Taker) -> Iterator[System]:
    """An installation that sends the trace of every message to the collector."""
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
    with lab.installed(**TALKATIVE, **soon, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as system:
        yield system


@pytest.mark.parametrize("fault", [pytest.param("absent", marks=LONGER), pytest.param("slow", marks=LONGER), "raving"])
def test_f15_collector(lab: Lab, traced: System, collector: Taker, fault: str) -> None:
    before, dropped = collector.taken, count_dropped(traced, "traces")
    play(lab, traced, f"F15 collector {fault}", getattr(collector, fault))
    assert collector.taken > before, "no span came while the collector was well"
    wait_for(lambda: count_dropped(traced, "traces") > dropped, 60, "a count of the spans that were lost")


@pytest.fixture(scope="module")
def sentry() -> Iterator[Taker]:
    with Taker() as taker:
        yield taker


@pytest.fixture(scope="module")
def reporting(lab: Lab, sentry: Taker) -> Iterator[System]:
    """An installation that reports its errors to Sentry."""
    with lab.installed(POSTRIDER_TELEMETRY__SENTRY_DSN=f"http://public@{LOOPBACK}:{sentry.port}/7") as system:
        yield system


@pytest.mark.parametrize("fault", [pytest.param("absent", marks=LONGER), "slow", pytest.param("raving", marks=LONGER)])
def test_f15_sentry(lab: Lab, reporting: System, sentry: Taker, fault: str) -> None:
    """Requests fail meanwhile, at once; each report of them is taken or counted."""
    # A process reports only so many of a kind in a minute: these have reported none.
    start_api_again(reporting)
    lab.make_whole(reporting)
    before = sentry.taken
    _fail(reporting)
    wait_for(lambda: sentry.taken == before + 1, 10, "a report to a Sentry that is well")

    @contextmanager
    def broken() -> Iterator[None]:
        with getattr(sentry, fault)():
            for _ in range(FAILURES):
                _fail(reporting)
            wait_for(lambda: count_dropped(reporting, "errors") > 0, 10, "a count of the reports that were lost")
            yield

    play(lab, reporting, f"F15 Sentry {fault}", broken)

    def told() -> float:
        return sentry.taken - before - 1 + count_dropped(reporting, "errors")

    wait_for(lambda: told() == FAILURES, 20, "the fate of each report")
    _fail(reporting)
    wait_for(lambda: told() == FAILURES + 1, 10, "a report to a Sentry that is well again")


def _fail(system: System) -> None:
    """Has a request fail by an error of the API, which does not wait until it is reported."""
    key = system.new_tenant().key
    with without(system.environment["POSTRIDER_DATABASE__MIGRATOR_URL"], "oauth_clients"):
        began = time.monotonic()
        status, _ = Api(urlsplit(system.url).port or 0, key).request("GET", "/organisation/oauth-client")
    assert (status, time.monotonic() - began < SEND_SECONDS) == (500, True)


@pytest.mark.unbounded
def test_f15_scraper_absent(lab: Lab, installation: System) -> None:
    """Nobody reads metrics: who comes afterwards reads of all that was."""
    before = _accepted(installation)
    _, book, *_ = play(lab, installation, "F15 Prometheus absent", nullcontext)
    assert _accepted(installation) - before == len(book.accepted)


@pytest.mark.parametrize("fault", ["slow", pytest.param("raving", marks=LONGER)])
def test_f15_scraper(lab: Lab, installation: System, tmp_path: Path, fault: str) -> None:
    """It holds no more connections than it may, and keeps no probe from its answer."""
    ports = [port for part in PARTS for port in installation.management_ports(part) if _is_alive(port)]
    files, dropped = _most_files(installation), count_dropped(installation, "metrics")

    @contextmanager
    def scraped() -> Iterator[None]:
        with scraping(fault, ports, tmp_path):
            yield
            assert all(map(_is_alive, ports))
            assert _most_files(installation) <= files + CONNECTIONS + OTHER_FILES

    play(lab, installation, f"F15 Prometheus {fault}", scraped)
    wait_for(lambda: _most_files(installation) <= files + OTHER_FILES, 15, "the end of the connections")
    assert count_dropped(installation, "metrics") > dropped


def _accepted(system: System) -> float:
    return total(exported(system, "api"), "postrider_messages_total", outcome="accepted")


def _is_alive(port: int) -> bool:
    """Whether somebody there says so to one of three asks, after which a cluster would start it again."""
    return any(_says_ok(port) for _ in range(3))


def _says_ok(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/livez", timeout=3) as answer:
            return bool(answer.read() == b"ok\n")
    except OSError:
        return False


def _most_files(system: System) -> int:
    """How many files that process has open, of those that serve and those that deliver, which has most."""
    pids = (*api_children(system), *worker_children(system))
    return max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
