"""What the Prometheus operator makes of a cluster's PodMonitors and PrometheusRules, and of its pods for them.

Where the operator has Prometheus look for pods itself, they are written into a file here, each with the labels that
Prometheus would give it: what selects and names targets are the rules that the operator writes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.mirror import Kind
from tests.deploy.manifests import Manifest

MONITORING = "monitoring.coreos.com/v1"
KINDS: Sequence[Kind] = ((MONITORING, "PodMonitor"), (MONITORING, "PrometheusRule"), ("v1", "Pod"))
Tree = Mapping[str, Any]
Rule = dict[str, Any]
_POD = "__meta_kubernetes_pod"
# What a monitor and its endpoints may say; more than that is refused, not left out.
_MONITOR = {"selector", "podMetricsEndpoints", "jobLabel", "podTargetLabels"}
_ENDPOINT = {
    "port": "",
    "filterRunning": "",
    "relabelings": "",
    "path": "metrics_path",
    "scheme": "scheme",
    "interval": "scrape_interval",
    "scrapeTimeout": "scrape_timeout",
    "honorLabels": "honor_labels",
    "honorTimestamps": "honor_timestamps",
    "params": "params",
}
_RUNNING = {"source_labels": [f"{_POD}_phase"], "action": "drop", "regex": "(Failed|Succeeded)"}


def configuration(jobs: Sequence[Tree], rules: Iterable[Path], evaluate: str) -> Tree:
    """The file; JSON is YAML."""
    return {
        "global": {"evaluation_interval": evaluate, "scrape_interval": evaluate},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": jobs,
    }


def jobs_of(monitor: Manifest, targets: Path) -> list[Tree]:
    """A job for each of its endpoints; ValueError where it says what is not understood here."""
    spec, meta = monitor["spec"], monitor["metadata"]
    if unknown := spec.keys() - _MONITOR:
        raise ValueError(f"{meta['name']}: {', '.join(sorted(unknown))} is not understood here")
    return [
        _job(f"podMonitor/{meta['namespace']}/{meta['name']}/{number}", monitor, endpoint, targets)
        for number, endpoint in enumerate(spec["podMetricsEndpoints"])
    ]


def _job(name: str, monitor: Manifest, endpoint: Tree, targets: Path) -> Tree:
    if unknown := endpoint.keys() - _ENDPOINT.keys():
        raise ValueError(f"{name}: {', '.join(sorted(unknown))} is not understood here")
    plain = {theirs: endpoint[ours] for ours, theirs in _ENDPOINT.items() if theirs and ours in endpoint}
    return {
        "job_name": name,
        **plain,
        "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
        "relabel_configs": list(_relabelings(monitor, endpoint)),
    }


def _relabelings(monitor: Manifest, endpoint: Tree) -> Iterator[Rule]:
    """The operator's own, and then those of the endpoint as they stand."""
    spec, meta, port = monitor["spec"], monitor["metadata"], endpoint["port"]
    yield {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}
    if endpoint.get("filterRunning", True):
        yield _RUNNING
    yield from _selected(spec["selector"])
    yield {"source_labels": [f"{_POD}_container_port_name"], "action": "keep", "regex": port}
    yield {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"}
    yield {"source_labels": [f"{_POD}_container_name"], "target_label": "container"}
    yield {"source_labels": [f"{_POD}_name"], "target_label": "pod"}
    for label in spec.get("podTargetLabels", ()):
        yield {"source_labels": [_label(label)], "target_label": _safe(label), "regex": "(.+)"}
    yield {"target_label": "job", "replacement": f"{meta['namespace']}/{meta['name']}"}
    if "jobLabel" in spec:
        yield {"source_labels": [_label(spec["jobLabel"])], "target_label": "job", "regex": "(.+)"}
    yield {"target_label": "endpoint", "replacement": port}
    yield from (_in_snakes(one) for one in endpoint.get("relabelings", ()))


def _selected(selector: Tree) -> Iterator[Rule]:
    for label, value in sorted(selector.get("matchLabels", {}).items()):
        yield _keep(label, re.escape(value))
    for one in selector.get("matchExpressions", ()):
        values = "|".join(re.escape(value) for value in one.get("values", ()))
        match one["operator"]:
            case "In":
                yield _keep(one["key"], values)
            case "NotIn":
                yield {**_keep(one["key"], values), "action": "drop"}
            case "Exists":
                yield {"source_labels": [_present(one["key"])], "action": "keep", "regex": "true"}
            case "DoesNotExist":
                yield {"source_labels": [_present(one["key"])], "action": "drop", "regex": "true"}


def _keep(label: str, values: str) -> Rule:
    return {"source_labels": [_label(label), _present(label)], "action": "keep", "regex": f"({values});true"}


def _in_snakes(relabeling: Tree) -> Rule:
    """The same with the names that Prometheus has for its fields."""
    found = {re.sub(r"([A-Z])", lambda big: f"_{big[1].lower()}", name): value for name, value in relabeling.items()}
    return {**found, "action": found["action"].lower()} if "action" in found else found


def targets_of(pods: Iterable[Manifest]) -> list[Tree]:
    """Each port of each container of the pods that have an address."""
    return [one for pod in pods if pod.get("status", {}).get("podIP") for one in _targets(pod)]


def _targets(pod: Manifest) -> Iterator[Tree]:
    about, address = dict(_about(pod)), pod["status"]["podIP"]
    for kind in ("initContainers", "containers"):
        for container in pod["spec"].get(kind, ()):
            own = {f"{_POD}_container_name": container["name"], f"{_POD}_container_image": container["image"]}
            own[f"{_POD}_container_init"] = str(kind == "initContainers").lower()
            for port in container.get("ports", ()):
                said = {
                    "name": port.get("name", ""),
                    "number": str(port["containerPort"]),
                    "protocol": port["protocol"],
                }
                labels = {f"{_POD}_container_port_{name}": value for name, value in said.items()}
                yield {"targets": [f"{address}:{port['containerPort']}"], "labels": {**about, **own, **labels}}


def _about(pod: Manifest) -> Iterator[tuple[str, str]]:
    meta, status = pod["metadata"], pod["status"]
    ready = next((one["status"] for one in status.get("conditions", ()) if one["type"] == "Ready"), "unknown")
    yield "__meta_kubernetes_namespace", meta["namespace"]
    yield f"{_POD}_name", meta["name"]
    yield f"{_POD}_uid", meta["uid"]
    yield f"{_POD}_ip", status["podIP"]
    yield f"{_POD}_host_ip", status.get("hostIP", "")
    yield f"{_POD}_node_name", pod["spec"].get("nodeName", "")
    yield f"{_POD}_phase", status.get("phase", "")
    yield f"{_POD}_ready", ready.lower()
    for owner in meta.get("ownerReferences", ()):
        if owner.get("controller"):
            yield f"{_POD}_controller_kind", owner["kind"]
            yield f"{_POD}_controller_name", owner["name"]
    for label, value in meta.get("labels", {}).items():
        yield _label(label), value
        yield _present(label), "true"


def _label(name: str) -> str:
    return f"{_POD}_label_{_safe(name)}"


def _present(name: str) -> str:
    return f"{_POD}_labelpresent_{_safe(name)}"


def _safe(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)
