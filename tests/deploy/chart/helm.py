"""Has Helm render the chart, and takes apart what comes out."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tally import count
from tests.deploy.tools import program

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/postrider"
VARIANTS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
Manifest = Mapping[str, Any]


class RefusedError(Exception):
    """What Helm says of values that it does not take."""


@dataclass(frozen=True, slots=True)
class Key:
    """A manifest's kind and name, unique in a render."""

    kind: str
    name: str


def values_of(variant: str) -> Path:
    """The file of values that shows one way to install."""
    return CHART / "ci" / f"{variant}-values.yaml"


def render(*files: Path, sets: Sequence[str] = (), chart: Path = CHART) -> list[Manifest]:
    """The manifests of these values; RefusedError with what Helm says."""
    return list(_documents(template(*files, sets=sets, chart=chart)))


def template(*files: Path, sets: Sequence[str] = (), chart: Path = CHART) -> str:
    """The text of a render, as `helm install` would send it; RefusedError with what Helm says."""
    return _template(files, tuple(sets), chart)


@cache
def _template(files: Sequence[Path], sets: Sequence[str], chart: Path) -> str:
    said = [f"--values={file}" for file in files] + [f"--set-json={one}" for one in sets]
    done = subprocess.run(
        [program("helm"), "template", "postrider", chart, "--namespace=postrider", *said],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        count("refusals")
        raise RefusedError(done.stderr)
    return done.stdout


def by_key(manifests: Sequence[Manifest]) -> dict[Key, Manifest]:
    """The manifests by kind and name; ValueError where two are the same."""
    found: dict[Key, Manifest] = {}
    for one in manifests:
        key = Key(one["kind"], one["metadata"]["name"])
        if key in found:
            raise ValueError(f"two manifests are {key}")
        found[key] = one
    return found


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Those of one of these kinds."""
    return [one for one in manifests if one["kind"] in kinds]


def pod_templates(manifests: Sequence[Manifest]) -> dict[str, Manifest]:
    """The template of every pod that would run, by the name of what makes it."""
    found = {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in of_kind(manifests, "Rollout", "Deployment", "Job", "StatefulSet")
    }
    found |= {f"{one['metadata']['name']} (pod)": one for one in of_kind(manifests, "Pod")}
    for one in of_kind(manifests, "AnalysisTemplate"):
        for metric in one["spec"]["metrics"]:
            job = metric["provider"].get("job")
            if job:
                found[f"{one['metadata']['name']} (analysis)"] = job["spec"]["template"]
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """Every container of a pod's template, those that run first included."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def _documents(text: str) -> Iterator[Manifest]:
    return (one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one)
