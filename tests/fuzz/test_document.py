"""schemathesis holds the running system to its own OpenAPI document: every check, every phase, every operation."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.domain.ids import encode
from tests.e2e.customer import Caller
from tests.fuzz.world import Known, known
from tests.receiver import Receiver
from tests.sdk.environments import python_with
from tests.servers import ROOT
from tests.ssrf.names import NameServer
from tests.system import System

HERE = Path(__file__).parent
# What is at the bounds of every field takes most of the time: the short form leaves it to the tests of the API.
PHASES = {True: ("examples", "fuzzing", "stateful"), False: ("examples", "coverage", "fuzzing", "stateful")}
PEERS = ("ours", "another")
CONFIG = f"""
continue-on-failure = true
request-timeout = 30
hooks = '{HERE / "hooks.py"}'
generation.database = "none"
cache.enabled = false
phases.examples.fill-missing = true
warnings.fail-on = true
auth.wfc.path = "peers.json"
auth.wfc.peers = {json.dumps(PEERS)}
"""
pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Fuzzer:
    """schemathesis beside a system, in a folder of its own."""

    system: System
    names: NameServer
    folder: Path

    def run(self, known: Known, credentials: Sequence[str], *options: str) -> tuple[str, dict[str, Any]]:
        """What it prints, and its report. The credentials are those of two who must not see each other's things."""
        (self.folder / "schemathesis.toml").write_text(CONFIG)
        (self.folder / "peers.json").write_text(_peers(credentials))
        report = self.folder / "report.json"
        done = subprocess.run(
            [
                *(str(python_with(HERE / "schemathesis-4.32.5.txt")), "-m", "schemathesis.cli"),
                *("run", f"{self.system.url}/openapi.json", f"--report-json-path={report}", *options),
            ],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "FUZZ_KNOWN": json.dumps(known)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert report.exists(), done.stdout
        return done.stdout, json.loads(report.read_text())


@pytest.fixture
def fuzzer(system: System, names: NameServer, tmp_path: Path) -> Fuzzer:
    return Fuzzer(system, names, tmp_path)


def test_the_api_is_as_its_document_says(fuzzer: Fuzzer, receiver: Receiver, bounded: bool) -> None:  # noqa: FBT001  # a fixture
    callers = [fuzzer.system.new_tenant() for _ in PEERS]
    ours, another = (one.key for one in callers)
    extent = ["--max-examples=8", "--seed=1"] if bounded else ["--max-examples=80"]
    # Whoever calls must not end his own key, nor the organisation.
    there = known(fuzzer.system, fuzzer.names, receiver, ours) | {
        "callers": [encode("key", one.key_id) for one in callers]
    }
    left_out = ["--exclude-operation-id=v1.organisation.delete"]
    said, report = fuzzer.run(
        there, [ours, another], "--checks=all", f"--phases={','.join(PHASES[bounded])}", *left_out, *extent
    )
    assert report["exit_code"] == 0, said
    assert report["operations"]["tested"] == report["operations"]["total"] - len(left_out) >= 50, said
    assert all(report["phases"][name]["status"] == "success" for name in PHASES[bounded]), said
    assert not _never_accepted(report), said


def test_who_sees_what_another_made_is_found_out(fuzzer: Fuzzer, receiver: Receiver) -> None:
    ours = fuzzer.system.new_tenant().key
    there = known(fuzzer.system, fuzzer.names, receiver, ours)
    # Its holder reads an application that it cannot list, as after a missing check of the owner.
    token = Caller(fuzzer.system.url, ours).post(f"/auth/app-portal-access/{there['app_id']}", {}, 200)["token"]
    only = ["--include-path=/api/v1/app", "--include-path=/api/v1/app/{app_id}", "--phases=fuzzing", "--warnings=off"]
    said, report = fuzzer.run(there, [ours, token], "--checks=object_level_authorization", "--seed=1", *only)
    assert {one["code"] for one in report["failures"]} == {"ST402"}, said


def _peers(credentials: Sequence[str]) -> str:
    headers = [[{"name": "Authorization", "value": f"Bearer {one}"}] for one in credentials]
    users = [{"name": name, "fixedHeaders": one} for name, one in zip(PEERS, headers, strict=True)]
    return json.dumps({"auth": users})


def _never_accepted(report: dict[str, Any]) -> list[str]:
    """Operations of which nothing was tested but how they refuse."""
    rates: dict[str, dict[str, dict[str, int]]] = report["valid_rates"]
    return [name for name, phases in rates.items() if not sum(phase["accepted"] for phase in phases.values())]
