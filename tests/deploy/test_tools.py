"""The programs are those that are pinned, and a name that is none of theirs gets an answer."""

import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT


def test_helm_is_the_fourth_and_knows_the_kubernetes_that_is_tested_against(helm: Path) -> None:
    said = subprocess.run([helm, "version"], capture_output=True, text=True, check=True).stdout
    assert 'Version:"v4.2"' in said
    assert 'KubeClientVersion:"v1.36"' in said


def test_a_name_that_is_no_program_is_answered_by_those_that_are() -> None:
    command = [sys.executable, "-m", "tests.deploy.tools", "hlem"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not known: hlem; there are helm, kustomize, ")
