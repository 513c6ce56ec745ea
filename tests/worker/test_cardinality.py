"""What is exported does not grow with those who use it."""

import time

from prometheus_client import REGISTRY

from app.kit.telemetry import requests
from tests.worker.house import House, sent
from worker.delivery.measures import measure_attempt, measure_cycle

TENANTS = 1000


def test_a_thousand_tenants_make_no_more_series_than_one(house: House) -> None:
    _deliver(house, 1)
    _ask(1)
    with_one, messages = _series(), _deliveries()

    _deliver(house, TENANTS)
    _ask(TENANTS)

    assert _deliveries() - messages == TENANTS
    assert _series() == with_one


def _deliver(house: House, tenants: int) -> None:
    """Sends one message of each to an endpoint of its own."""
    for app in [house.app() for _ in range(tenants)]:
        house.endpoint(app)
        house.send(app)
    while (claimed := house.claim()).jobs:
        results = [sent(job) for job in claimed.jobs]
        for one in results:
            measure_attempt(one)
        measure_cycle(claimed, house.record(*results), 0.01)


def _ask(callers: int) -> None:
    """Asks for what there is not, by a path and a method of each caller's own."""
    for number in range(callers):
        requests.arrived()
        requests.served({"method": f"BREW{number}", "path": f"/app/{number}/msg"}, 404, time.perf_counter())


def _series() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    families = [one for one in REGISTRY.collect() if one.name.startswith("postrider_")]
    return {(one.name, tuple(sorted(one.labels.items()))) for family in families for one in family.samples}


def _deliveries() -> float:
    return REGISTRY.get_sample_value("postrider_deliveries_total", {"outcome": "delivered"}) or 0.0
