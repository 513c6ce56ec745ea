"""What a release is judged by says of a good canary that it is good, of a bad one that it is bad, of silence nothing.

promtool evaluates the queries on series that are written down here; the conditions are Argo Rollouts' own words.
"""

import math
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart.helm import Key, Manifest, by_key, render, values_of

MINUTES = 10
API = 'job="postrider-api",route="/api/v1/app/{app_id}/msg"'
WORKER = 'job="postrider-worker",lane="first"'


@dataclass(frozen=True, slots=True)
class Case:
    """A judgement, series by the number that they grow by each minute, and the value that has to come of it."""

    template: str
    judgement: str
    series: Mapping[str, int]
    value: float | None
    verdict: str


def requests(version: str, good: int, bad: int) -> dict[str, int]:
    """Requests each minute, with those of the probes, which must not count."""
    name = "postrider_http_requests_total"
    probes = f'{name}{{version="{version}",job="postrider-api",route="/readyz",status="200"}}'
    counted = {f'{name}{{version="{version}",{API},status="{status}"}}': n for status, n in ((202, good), (500, bad))}
    return {probes: 100_000, **counted}


def latency(version: str, fast: int, slow: int) -> dict[str, int]:
    """Requests each minute that took at most a half and at most four seconds."""
    name = f'postrider_http_request_seconds_bucket{{version="{version}",{API}'
    return {f'{name},le="{le}"}}': n for le, n in (("0.5", fast), ("4", fast + slow), ("+Inf", fast + slow))}


def attempts(version: str, delivered: int, failed: int) -> dict[str, int]:
    """Attempts each minute."""
    name = f'postrider_attempts_total{{version="{version}",{WORKER}'
    return {f'{name},result="2xx"}}': delivered, f'{name},result="5xx"}}': failed}


def failures(version: str, cycles: int, tasks: int) -> dict[str, int]:
    """Failures each minute."""
    return {
        f'postrider_cycle_failures_total{{version="{version}"}}': cycles,
        f'postrider_tasks_total{{version="{version}",task="mail",outcome="failed"}}': tasks,
    }


OBJECTIVE, STABLE = "against-the-objective", "against-the-stable-version"
NAMES = {"api-success-rate": "success", "api-latency": "latency", "worker-delivery": "delivery"}
CASES = [
    Case("api-success-rate", OBJECTIVE, requests("new", 100, 0), 1, "good"),
    Case("api-success-rate", OBJECTIVE, requests("new", 95, 5), 0.95, "bad"),
    Case("api-success-rate", OBJECTIVE, requests("old", 100, 0), None, "silent"),
    Case("api-success-rate", OBJECTIVE, requests("new", 0, 0), None, "silent"),
    Case("api-success-rate", STABLE, requests("new", 95, 5) | requests("old", 95, 5), 0, "good"),
    Case("api-success-rate", STABLE, requests("new", 75, 25) | requests("old", 100, 0), 0.25, "bad"),
    Case("api-success-rate", STABLE, requests("new", 100, 0), None, "silent"),
    Case("api-latency", OBJECTIVE, latency("new", 100, 0), 0.495, "good"),
    Case("api-latency", OBJECTIVE, latency("new", 50, 50), 3.93, "bad"),
    Case("api-latency", OBJECTIVE, {}, None, "silent"),
    Case("api-latency", STABLE, latency("new", 50, 50) | latency("old", 50, 50), 1, "good"),
    Case("api-latency", STABLE, latency("new", 50, 50) | latency("old", 100, 0), 3.93 / 0.495, "bad"),
    Case("worker-delivery", STABLE, attempts("new", 50, 50) | attempts("old", 50, 50), 0, "good"),
    Case("worker-delivery", STABLE, attempts("new", 50, 50) | attempts("old", 100, 0), 0.5, "bad"),
    Case("worker-delivery", STABLE, attempts("old", 100, 0), None, "silent"),
    Case("worker-failures", "failures", failures("new", 0, 0), 0, "good"),
    Case("worker-failures", "failures", failures("new", 6, 6), 0.2, "bad"),
    Case("worker-failures", "failures", failures("old", 6, 6), None, "silent"),
]


@pytest.fixture(scope="module")
def templates() -> dict[Key, Manifest]:
    return by_key(render(values_of("full")))


@pytest.mark.parametrize("case", CASES, ids=lambda one: f"{one.template}: {one.judgement}: {one.verdict}")
def test_a_canary_is_judged_by_what_it_did(templates: dict[Key, Manifest], tmp_path: Path, case: Case) -> None:
    metrics = templates[Key("AnalysisTemplate", f"postrider-{case.template}")]["spec"]["metrics"]
    name = f"{NAMES[case.template]}-{case.judgement}" if case.template in NAMES else case.judgement
    (judgement,) = (one for one in metrics if one["name"] == name)
    _expect(tmp_path, judgement["provider"]["prometheus"]["query"], case)
    result = [] if case.value is None else [case.value]
    said = {name: _holds(judgement[f"{name}Condition"], result) for name in ("success", "failure")}
    assert said == {"success": case.verdict == "good", "failure": case.verdict == "bad"}


def _expect(folder: Path, query: str, case: Case) -> None:
    """Fails unless Prometheus finds the case's value."""
    for word, version in (("latest", "new"), ("stable", "old")):
        query = query.replace(f"{{{{args.{word}}}}}", version)
    samples = [] if case.value is None else [{"labels": "{}", "value": case.value}]
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": f"0+{step}x{MINUTES}" if step else f"0x{MINUTES}"}
            for name, step in case.series.items()
        ],
        "promql_expr_test": [{"expr": query, "eval_time": f"{MINUTES}m", "exp_samples": samples}],
    }
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _holds(condition: str, result: list[float]) -> bool:
    """What Argo Rollouts, whose words are nearly Python's, would say."""
    words = condition.replace("&&", "and").replace("!isNaN", "not isnan").replace("!(", "not (")
    return bool(eval(words, {"__builtins__": {}}, {"result": result, "len": len, "isnan": math.isnan}))  # noqa: S307 of our own chart
