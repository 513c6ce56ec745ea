"""The dashboards, as data: one module for each question that somebody comes with."""

import json

from app.cli.observe.dashboards.delivery import DELIVERY
from app.cli.observe.dashboards.endpoint import ENDPOINT
from app.cli.observe.dashboards.overview import OVERVIEW
from app.cli.observe.dashboards.panels import as_json
from app.cli.observe.dashboards.rollout import ROLLOUT
from app.cli.observe.dashboards.security import SECURITY
from app.cli.observe.dashboards.stores import STORES
from app.cli.observe.dashboards.workers import WORKERS

DASHBOARDS = (OVERVIEW, DELIVERY, ENDPOINT, WORKERS, STORES, ROLLOUT, SECURITY)


def dashboard_files() -> dict[str, str]:
    """The files by name, as Grafana imports them."""
    return {f"{one.uid}.json": json.dumps(as_json(one), indent=1, ensure_ascii=False) + "\n" for one in DASHBOARDS}
