"""The bench's instruments: a clock of other processes' CPU time, and processes whose signals are off or on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.bench.signals import ALL, EVERY, OFF, Signals
from app.cli.bench.tools import Receiver
from app.cli.bench.usage import Usage
from app.settings import Telemetry
from tests.servers import ROOT

PREFIX = "POSTRIDER_TELEMETRY__"
WORK = """
import sys, time
while time.process_time() < 0.2:
    sum(range(1000))
print(time.process_time(), flush=True)
sys.stdin.read()
"""
COUNTS = """
from app.kit.telemetry.metrics import COMMIT_BATCH, HTTP_IN_FLIGHT, MESSAGES
from prometheus_client import REGISTRY
MESSAGES.labels("accepted").inc()
COMMIT_BATCH.observe(3)
HTTP_IN_FLIGHT.set(2)
accepted = REGISTRY.get_sample_value("postrider_messages_total", {"outcome": "accepted"})
names = "postrider_commit_batch_messages_count", "postrider_http_requests_in_flight"
print(accepted, *map(REGISTRY.get_sample_value, names))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is known of other processes")
def test_the_cpu_time_of_a_process_is_known_to_the_millisecond() -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = float(child.stdout.readline())
        usage = Usage()
        usage.add("child", child.pid)
        assert said <= usage.cpu_seconds("child") < said + 0.005
        child.communicate()


@pytest.mark.parametrize("chosen", EVERY, ids=lambda one: one.name)
def test_what_switches_signals_is_a_setting_of_the_product(chosen: Signals) -> None:
    switched = {name for name in chosen.environment(Receiver(1), chosen.ports(1)) if name.startswith("POSTRIDER_")}
    assert switched <= {PREFIX + name.upper() for name in Telemetry.model_fields}


def test_what_is_on_has_the_products_defaults() -> None:
    on = {name.removeprefix(PREFIX) for name in ALL.environment(Receiver(1), ALL.ports(1)) if name.startswith(PREFIX)}
    assert on == {"PORT", "PORTS", "SENTRY_DSN"}
    assert ALL.sampled == Telemetry().sample
    assert OFF.sampled == 0


@pytest.mark.parametrize(("words", "counted"), [([], "1.0 1.0 2.0"), (["app.cli.bench.silent"], "None 0.0 0.0")])
def test_a_silent_process_counts_nothing(words: list[str], counted: str, tmp_path: Path) -> None:
    (tmp_path / "counts.py").write_text(COUNTS)
    done = subprocess.run(
        [sys.executable, "-m", *words, "counts"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == counted
