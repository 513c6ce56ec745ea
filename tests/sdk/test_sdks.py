"""The official SDKs, each in an environment of its own, must understand every answer of the contract."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.receiver import Receiver
from tests.sdk.contract_calls import CALLS
from tests.sdk.environments import HERE, javascript_judge, node, python_judge
from tests.system import System

RUN_SECONDS = 90
Said = Mapping[str, Mapping[str, Any]]
pytestmark = pytest.mark.timeout(420)  # the first test of a judge installs it


def python(version: str) -> Callable[[], list[str | Path]]:
    """The command of a version's judge."""
    return lambda: [python_judge(version), HERE / "python_calls.py"]


def javascript() -> list[str | Path]:
    """The command of the JavaScript judge."""
    return [node(), javascript_judge() / "calls.mjs"]


JUDGES = {
    "svix-2.9.1": python("2.9.1"),
    "svix-2.0.0": python("2.0.0"),
    "svix-1.99.1": python("1.99.1"),
    "npm-svix-2.5.0": javascript,
}


@pytest.fixture(scope="module", params=JUDGES)
def said(request: pytest.FixtureRequest, system: System, receiver: Receiver) -> Said:
    """What a judge says of each call."""
    command = JUDGES[request.param]()
    done = subprocess.run(
        [*command, system.url, system.new_tenant().key, f"{receiver.base}{receiver.path()}"],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {line["call"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("call", CALLS)
def test_the_sdk_understands_the_answer(said: Said, call: str) -> None:
    assert call in said, "the judge does not make this call"
    assert said[call]["ok"], said[call]["error"]


def test_every_call_that_is_made_is_judged(said: Said) -> None:
    assert set(said) == set(CALLS)
