"""The chart with values, as Helm renders it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tally import count
from tests.deploy.tools import KUBERNETES, program
from tests.servers import ROOT

CHART = ROOT / "charts" / "postrider"
# Combinations of values that the chart brings for its own tests.
EXAMPLES = sorted((CHART / "ci").glob("*-values.yaml"))

RELEASE = ("--namespace=postrider", f"--kube-version={KUBERNETES}")


def rendered(values: Sequence[Path], *options: str, helm: str = "helm") -> list[Manifest]:
    """The manifests of a release called postrider in a namespace of that name."""
    files = [f"--values={file}" for file in values]
    command = [str(program(helm)), "template", "postrider", str(CHART), *RELEASE]
    done = subprocess.run([*command, *files, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    count("renders")
    return manifests(done.stdout)
