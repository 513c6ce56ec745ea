"""The chart passes its own suites, which are read and extended without Python; one that is wrong does not."""

import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.deploy.chart.helm import CHART
from tests.deploy.tally import count
from tests.deploy.tools import program

# The program is compiled first where it never was.
pytestmark = pytest.mark.timeout(600)
SUITES = sorted(path.name.removesuffix("_test.yaml") for path in (CHART / "tests").glob("*_test.yaml"))


@dataclass(frozen=True, slots=True)
class Mistake:
    """Words of a template, what somebody writes in their place, and the test of a suite that says so."""

    template: str
    right: str
    wrong: str
    suite: str
    test: str


MISTAKES = (
    Mistake(
        "api/workload.yaml",
        "$drain.requestSeconds 10)",
        "$drain.requestSeconds)",
        "pods",
        "releases the API by a Rollout",
    ),
    Mistake(
        "api/workload.yaml",
        '"waits" true',
        '"waits" .Values.rollouts.enabled',
        "pods",
        "releases the API by a Deployment with the same pods where there is no Argo Rollouts",
    ),
    Mistake("worker/workload.yaml", "$pool.lanes | default", "(list) | default", "pods", "gives each pool its lanes"),
    Mistake(
        "_security.tpl",
        "runAsNonRoot: true",
        "runAsNonRoot: false",
        "security",
        "holds pods to no user but ours, and to no system call beyond the usual",
    ),
    Mistake(
        "_security.tpl",
        "drop: [ALL]",
        "drop: []",
        "security",
        "holds containers that run first to the same",
    ),
    Mistake(
        "api/httproute.yaml",
        "            set:\n",
        "            add:\n",
        "entry",
        "sets HSTS once on the route over TLS, and adds it nowhere",
    ),
    Mistake(
        "api/httproute.yaml",
        "{{- if .nginx.enabled }}\n      filters:\n        - type: ExtensionRef",
        "{{- if .nginx.enabled }}\n      filters:\n"
        "        - type: ResponseHeaderModifier\n"
        "          responseHeaderModifier: {set: [{name: Strict-Transport-Security, value: max-age=1}]}\n"
        "        - type: ExtensionRef",
        "entry",
        "says nothing of it on the plain route",
    ),
    Mistake(
        "autoscaling.yaml",
        'eq $scaling.kind "keda"',
        'ne $scaling.kind "none"',
        "autoscaling",
        "scales all pools by CPU where there is no KEDA",
    ),
    Mistake(
        "_env.tpl",
        '(include "postrider.config" .))',
        '(omit (include "postrider.config" . | fromJson) "POSTRIDER_DELIVERY__DRAIN_SECONDS" | toJson))',
        "configuration",
        "gives it another name when a setting is another",
    ),
    Mistake(
        "migrations/job.yaml",
        '"BeforeHookCreation"',
        '"HookSucceeded"',
        "migrations",
        "has Argo CD run it in front of the pods, and remove the last one",
    ),
    Mistake(
        "validate.yaml",
        "gateway.enabled lets callers in already",
        "callers come in already",
        "refusals",
        "wants one way in",
    ),
    Mistake("validate.yaml", "if gt (int $sum)", "if lt (int $sum)", "refusals", "takes what can work"),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """How many tests there were, which of them failed, and what was said."""

    tests: int
    failed: set[str]
    said: str


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A copy of the chart: helm-unittest makes a folder beside the suites."""
    return Path(shutil.copytree(CHART, tmp_path / "postrider"))


def run(chart: Path, suite: str = "*") -> Ran:
    """Has helm-unittest run suites of a chart."""
    report = chart.with_suffix(".xml")
    options = ("--strict", f"--file=tests/{suite}_test.yaml", "--output-type=JUnit", f"--output-file={report}")
    done = subprocess.run([program("helm-unittest"), *options, chart], capture_output=True, text=True, check=False)
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 written by our own program
    failed = {case.attrib["name"] for case in cases if len(case)}
    assert done.returncode == bool(failed), done.stdout + done.stderr
    return Ran(len(cases), failed, done.stdout)


def test_the_chart_is_what_its_suites_say(chart: Path) -> None:
    ran = run(chart)
    assert ran.failed == set(), ran.said
    assert ran.tests > 40
    count("tests in the chart", ran.tests)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda one: f"{one.suite}: {one.test}")
def test_a_mistake_fails_the_test_that_is_about_it(chart: Path, mistake: Mistake) -> None:
    template = chart / "templates" / mistake.template
    text = template.read_text()
    assert mistake.right in text
    template.write_text(text.replace(mistake.right, mistake.wrong))
    assert mistake.test in run(chart, mistake.suite).failed


def test_each_suite_is_shown_to_notice_a_mistake() -> None:
    assert sorted({one.suite for one in MISTAKES}) == SUITES


def test_who_installs_the_chart_does_not_get_its_suites(helm: Path, tmp_path: Path) -> None:
    subprocess.run([helm, "package", CHART, f"--destination={tmp_path}"], check=True, capture_output=True)
    (package,) = tmp_path.iterdir()
    with tarfile.open(package) as archive:
        names = archive.getnames()
    assert "postrider/templates/tests/smoke.yaml" in names
    assert [name for name in names if name.endswith("_test.yaml")] == []
