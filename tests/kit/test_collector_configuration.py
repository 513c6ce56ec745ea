"""The shipped configurations of collector and Jaeger, as far as can be told without either."""

import re
from typing import Any

import pytest
import yaml

from app.settings import Egress
from tests.servers import ROOT

FOLDER = ROOT / "k8s" / "telemetry"
FILES = ("collector.yaml", "jaeger.yaml")


def read(name: str) -> dict[str, Any]:
    text = re.sub(r"\$\{env:\w+:-([^}]*)\}", r"\1", (FOLDER / name).read_text())
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.mark.parametrize("name", FILES)
def test_whatever_is_used_is_defined_and_whatever_is_defined_is_used(name: str) -> None:
    config = read(name)
    pipeline = config["service"]["pipelines"]["traces"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(pipeline[kind]) == set(config[kind]), kind
    assert set(config["service"]["extensions"]) == set(config["extensions"])


def test_traces_are_stored_where_they_are_looked_for() -> None:
    config = read("jaeger.yaml")
    store = config["exporters"]["jaeger_storage_exporter"]["trace_storage"]
    assert config["extensions"]["jaeger_query"]["storage"]["traces"] == store
    assert store in config["extensions"]["jaeger_storage"]["backends"]


def test_every_error_and_every_slow_trace_is_kept_whatever_the_share_of_the_rest() -> None:
    policies = {one["type"]: one for one in read("collector.yaml")["processors"]["tail_sampling"]["policies"]}
    assert policies["status_code"]["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["latency"]["latency"] == {"threshold_ms": 1000}
    assert 0 < policies["probabilistic"]["probabilistic"]["sampling_percentage"] < 100
    assert len(policies) == 3


def test_a_trace_is_judged_when_its_first_attempt_is_over_and_before_it_is_split_into_batches() -> None:
    config = read("collector.yaml")
    waits = config["processors"]["tail_sampling"]["decision_wait"]
    assert float(waits.removesuffix("s")) > Egress().timeout_seconds
    processors = config["service"]["pipelines"]["traces"]["processors"]
    assert processors == ["memory_limiter", "tail_sampling", "batch"]
