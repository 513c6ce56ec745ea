"""Pods as their node sees them: the processes of each, and what is asked to go."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from tests.cluster.kube import Kube
from tests.deploy.manifests import Manifest

_PAUSE = "pause"


def name_of(pod: Manifest) -> str:
    """Its name."""
    return str(pod["metadata"]["name"])


def is_ready(pod: Manifest) -> bool:
    """Whether it is one that requests are sent to."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def processes(pod: Manifest) -> list[int]:
    """The pids, as this process sees them, of what runs in a pod's containers."""
    return [pid for pid in _of_group(f"pod{pod['metadata']['uid']}") if _command(pid) != _PAUSE]


def kill(pod: Manifest) -> int:
    """Sends SIGKILL to everything that runs in a pod at once, so that it gives back nothing; how many that were."""
    found = processes(pod)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def evict(kube: Kube, pod: Manifest) -> bool:
    """Asks a pod to go, as who empties a node does; whether its budget lets it."""
    meta = pod["metadata"]
    wanted = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
    }
    answer = kube.ask("POST", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/eviction", wanted)
    if answer.status not in {HTTPStatus.CREATED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.NOT_FOUND}:
        raise AssertionError(answer.body)
    return answer.status != HTTPStatus.TOO_MANY_REQUESTS


def _of_group(name: str) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if f"/{name}/" in (entry / "cgroup").read_text():
                    yield int(entry.name)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
