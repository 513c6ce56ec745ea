"""The renders that reviews see change: `python -m tests.deploy.chart.goldens` writes them anew.

Rules and dashboards stand in files of their own, so that here is said only that they are there.
"""

import sys
from pathlib import Path

import yaml

from tests.deploy.chart.helm import VARIANTS, Manifest, render, values_of

GOLDEN = Path(__file__).parent / "golden"


def path_of(variant: str) -> Path:
    """Where the golden render of a variant lies."""
    return GOLDEN / f"{variant}.yaml"


def golden(variant: str) -> str:
    """What the golden render should be: the manifests by kind and name."""
    manifests = sorted((_shown(one) for one in render(values_of(variant))), key=_order)
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)


def _order(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _shown(manifest: Manifest) -> Manifest:
    if manifest["kind"] == "PrometheusRule":
        return {**manifest, "spec": {"groups": [group["name"] for group in manifest["spec"]["groups"]]}}
    if "-dashboard-" in manifest["metadata"]["name"]:
        return {**manifest, "data": sorted(manifest["data"])}
    return manifest


if __name__ == "__main__":
    for name in VARIANTS:
        path_of(name).write_text(golden(name))
        sys.stdout.write(f"{path_of(name)}\n")
