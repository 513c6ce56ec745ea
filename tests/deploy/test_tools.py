"""The programs are those that are pinned, and a name that is none of theirs gets an answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.crds import pins
from tests.deploy.tools import KUBERNETES, MODULES, NAMES, PROGRAMS, SETS, go, program
from tests.servers import ROOT

GO_MODULES = sorted({made.module for made in PROGRAMS.values()})
# Those whose programs share next to nothing with the others.
APART = {"actionlint", "score"}


def test_helm_is_the_fourth_and_knows_the_kubernetes_that_is_tested_against(helm: Path) -> None:
    said = subprocess.run([helm, "version"], capture_output=True, text=True, check=True).stdout
    assert 'Version:"v4.2"' in said
    assert 'KubeClientVersion:"v1.36"' in said


def test_a_name_that_is_no_program_is_answered_by_those_that_are() -> None:
    command = [sys.executable, "-m", "tests.deploy.tools", "hlem"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not known: hlem; there are helm, kustomize, ")


def test_a_set_holds_programs_and_none_has_the_name_of_one() -> None:
    assert {name for names in SETS.values() for name in names} <= set(PROGRAMS)
    assert set(SETS).isdisjoint(NAMES)


@pytest.mark.parametrize("module", GO_MODULES)
def test_a_program_is_of_the_version_whose_definitions_the_server_knows(module: str) -> None:
    wanted = json.loads(go(["mod", "edit", "-json"], MODULES / module))["Require"]
    versions = {one["Path"]: one["Version"] for one in wanted}
    of_both = [pin for pin in pins() if pin.path in versions]
    assert [(pin.path, pin.version) for pin in of_both] == [(pin.path, versions[pin.path]) for pin in of_both]


def test_what_modules_share_is_of_one_version_and_so_compiled_once() -> None:
    """A library of two versions is compiled twice, with all that is above it: Kubernetes' alone take minutes."""
    versions: dict[str, dict[str, list[str]]] = {}
    for module in sorted(set(GO_MODULES) - APART):
        for path, version in _versions(module).items():
            versions.setdefault(path, {}).setdefault(version, []).append(module)
    assert len(versions["k8s.io/client-go"]["v0.36.2"]) > 1
    several = {path: found for path, found in versions.items() if len(found) > 1}
    assert several.keys() == {"github.com/prometheus/prometheus"}, several


def _versions(module: str) -> dict[str, str]:
    """What a module is compiled of, as far as it says so itself."""
    said = json.loads(go(["mod", "edit", "-json"], MODULES / module))
    replaced = {one["Old"]["Path"]: one["New"]["Version"] for one in said["Replace"] or ()}
    return {one["Path"]: one["Version"] for one in said["Require"]} | replaced


def test_kubernetes_is_what_the_name_says_that_it_is_called_by() -> None:
    said = subprocess.run([program("kubelet"), "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"Kubernetes v{KUBERNETES}\n"
    first = [str(program("kubernetes")), "kubectl", "version", "--client", "-o", "json"]
    client = json.loads(subprocess.run(first, capture_output=True, text=True, check=True).stdout)
    assert client["clientVersion"]["gitVersion"] == f"v{KUBERNETES}"


def test_kubernetes_says_what_it_can_be_when_it_is_told_nothing() -> None:
    done = subprocess.run([program("kubernetes")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("call it, or name first, one of kube-apiserver, ")
