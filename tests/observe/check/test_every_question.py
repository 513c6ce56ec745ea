"""Every panel and rule has an answer: nine panels in ten while all is well, the rest while their fault is caused."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from app.cli.dev.ports import any_free
from app.cli.dev.roles import DatabaseUrls, plain_url
from app.cli.observe.dashboards import DASHBOARDS
from app.cli.observe.dashboards.panels import Panel
from tests.e2e.customer import Caller, Customer
from tests.e2e.knocking import Knocks
from tests.observe.check.conftest import TOLD
from tests.observe.check.watched import Prometheus, watched
from tests.receiver import Answer, Receiver
from tests.servers import Servers, process_environment
from tests.system import System, running_system

CALM_SECONDS = 20.0
FAULT_SECONDS = 25.0
PANELS = [(one.uid, panel) for one in DASHBOARDS for panel in one.panels]
OURS = [(uid, panel) for uid, panel in PANELS if panel.source != "kubernetes"]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def system(servers: Servers, database: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two processes of the API and two that deliver; their collector is not there."""
    environment = process_environment(database, servers.redis_url) | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{any_free()}",
        "POSTRIDER_LIMITS__SIGN_IN__IP": "20/minute",
        "POSTRIDER_MAIL__FOLDER": str(tmp_path_factory.mktemp("mail")),
        "POSTRIDER_TELEMETRY__ACCESS_LINES": "2",
        "POSTRIDER_TELEMETRY__SAMPLE": "1",
    }
    with running_system(environment, api=2, workers=2) as started:
        yield started


def test_every_panel_and_rule_has_an_answer(
    system: System, servers: Servers, database: DatabaseUrls, receiver: Receiver, tmp_path: Path
) -> None:
    with watched(system, servers, tmp_path) as prometheus:
        customer = Customer(Caller(system.url, system.new_tenant().key))
        customer.endpoint(f"{receiver.base}{receiver.path()}")
        traffic(customer, CALM_SECONDS)
        calm = silent(prometheus, OURS)
        cause_faults(system, database, customer, receiver)
        traffic(customer, FAULT_SECONDS)
        left = silent(prometheus, calm)
        rules = prometheus.rules()
        unanswered = [rule["name"] for rule in rules if not is_answered(prometheus, rule)]
    tell(len(rules), calm, left, unanswered)
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert len(calm) <= len(OURS) / 10
    assert [panel.title for _, panel in calm if not panel.fault] == []
    assert [panel.title for _, panel in left] == []
    assert unanswered == []


def traffic(customer: Customer, seconds: float) -> None:
    """Messages, reads, and a key that nobody knows."""
    until = time.monotonic() + seconds
    stranger = Caller(customer.api.base, "sk_nobody")
    while time.monotonic() < until:
        assert stranger.call("GET", "/app").status in {401, 429}
        for _ in range(20):
            customer.send()
            customer.api.get("/event-type")
            time.sleep(0.1)


def cause_faults(system: System, database: DatabaseUrls, customer: Customer, receiver: Receiver) -> None:
    """What the panels are about that have nothing to show while all is well."""
    customer.endpoint(f"{receiver.base}{receiver.path(Answer(500))}", retrySchedule=[0, 1, 1, 1])
    customer.endpoint(f"http://127.0.0.1:{any_free()}/", retrySchedule=[0, 1, 1, 1])
    for _ in range(5):
        customer.send()
    sign_in_wrongly(system.url, 25)
    fail_a_route(database, customer)


def sign_in_wrongly(url: str, times: int) -> None:
    """More often than is allowed."""
    where = urlsplit(url)
    knocks = Knocks(url)
    for _ in range(times):
        with socket.create_connection((where.hostname, where.port or 80), timeout=10) as connection:
            connection.sendall(next(knocks))
            assert connection.recv(100).startswith(b"HTTP/1.1 ")
        time.sleep(0.3)


def fail_a_route(database: DatabaseUrls, customer: Customer) -> None:
    """Takes a table away, has it asked for, and brings it back."""
    with psycopg.connect(plain_url(database.migrator), autocommit=True) as db:
        db.execute("ALTER TABLE event_types RENAME TO event_types_gone")
        try:
            for _ in range(30):
                assert customer.api.call("GET", "/event-type").status >= 500
                time.sleep(0.2)
        finally:
            db.execute("ALTER TABLE event_types_gone RENAME TO event_types")


def silent(prometheus: Prometheus, panels: list[tuple[str, Panel]]) -> list[tuple[str, Panel]]:
    """Those that have nothing to show."""
    return [(uid, panel) for uid, panel in panels if not prometheus.shows(panel)]


def is_answered(prometheus: Prometheus, rule: dict[str, str]) -> bool:
    """Whether what is recorded has values, and each series that an alert looks at is there."""
    if rule["type"] == "recording":
        return prometheus.has(rule["query"])
    query = re.sub(r'"[^"]*"', '""', rule["query"])
    names = set(re.findall(r"\b(?:postrider[_:]|pg_|process_)[\w:]+", query))
    return all(prometheus.has(name) for name in names)


def tell(rules: int, calm: list[tuple[str, Panel]], left: list[tuple[str, Panel]], unanswered: list[str]) -> None:
    """Writes the closing line, and before it what it counts."""
    TOLD.extend(f"only with a fault ({panel.fault or 'UNNAMED'}): {uid}: {panel.title}" for uid, panel in calm)
    TOLD.extend(f"without data: {uid}: {panel.title}" for uid, panel in left)
    TOLD.extend(f"without data: {name}" for name in unanswered)
    without, apart = len(left) + len(unanswered), len(PANELS) - len(OURS)
    TOLD.append(f"panels {len(OURS)}, rules {rules}, without data {without} (kubernetes {apart} apart)")
