"""The pods that workloads would make, as kinds that are looked into: linters and Pod Security pass by a Rollout."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from tests.deploy.manifests import Manifest

# Where a pod's template lies in a manifest of each kind.
TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Rollout": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}


def as_pods(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """Each workload's pod by itself."""
    for manifest, template in _templates(manifests):
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": _head(manifest, template), "spec": template["spec"]}
    yield from _of_jobs_in_analyses(manifests)


def as_deployments(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """Each workload's pod in a Deployment, where it is one that may run for ever."""
    for manifest, template in _templates(manifests):
        if template["spec"].get("restartPolicy", "Always") == "Always":
            head = _head(manifest, template)
            spec = {"selector": {"matchLabels": head["labels"]}, "template": template}
            yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": spec}


def _templates(manifests: Iterable[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    for manifest in manifests:
        if manifest["kind"] in TEMPLATES:
            template: Any = manifest
            for key in TEMPLATES[manifest["kind"]]:
                template = template[key]
            template = deepcopy(template)
            # Each pod of a StatefulSet gets volumes by claims of its own.
            for claim in manifest["spec"].get("volumeClaimTemplates", []):
                name = claim["metadata"]["name"]
                volume = {"name": name, "persistentVolumeClaim": {"claimName": name}}
                template["spec"].setdefault("volumes", []).append(volume)
            yield manifest, template


def _of_jobs_in_analyses(manifests: Iterable[Manifest]) -> Iterator[Manifest]:
    """What an analysis starts as a job of its own."""
    for manifest in manifests:
        if manifest["kind"] == "AnalysisTemplate":
            for metric in manifest["spec"]["metrics"]:
                if job := metric["provider"].get("job"):
                    name = f"{manifest['metadata']['name']}-{metric['name']}"
                    meta = {**manifest["metadata"], "name": name}
                    yield from as_pods([{"kind": "Job", "metadata": meta, "spec": job["spec"]}])


def _head(manifest: Manifest, template: Manifest) -> dict[str, Any]:
    meta = manifest["metadata"]
    labels = template["metadata"].get("labels", {})
    return {"name": meta["name"], "namespace": meta.get("namespace", "postrider"), "labels": labels}
