"""Installs Postrider on a cluster as argocd/envs/staging says, with the one overlay of the rehearsals."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.cluster.images import POSTRIDER, Image
from tests.cluster.kube import Kube
from tests.cluster.place import ClusterError, Place
from tests.cluster.releases import Installation, NotSyncedError, Release, phase
from tests.cluster.stand_ins import CLAIMS, NAMESPACE, made, make_folders
from tests.deploy.manifests import Manifest, manifests, named
from tests.deploy.tools import program
from tests.servers import ROOT

OVERLAY = ROOT / "tests" / "cluster" / "overlay"
STAGING = ROOT / "k8s" / "overlays" / "staging"
CHART = ROOT / "charts" / "postrider"
VALUES = ROOT / "argocd" / "envs" / "staging" / "values.yaml"
READY_SECONDS = 300.0
# By what names the overlay calls the images that are made here.
STORES = {
    "ghcr.io/cloudnative-pg/postgresql": "postgres",
    "ghcr.io/cloudnative-pg/pgbouncer": "pgbouncer",
    "docker.io/valkey/valkey": "redis",
}


def install(place: Place, images: Mapping[str, Image]) -> Installation:
    """From an empty cluster to one whose pods are all ready, and whose smoke test has passed."""
    ours, installation = overlay(images), Installation(place.kube())
    first = Release("first", chart(images["postrider"]))
    apply(place, (one for one in ours if one["kind"] in {"Namespace", "PriorityClass"}))
    make_folders(place, *CLAIMS)
    apply(place, made(place, staging()))
    # Among them the job that lets the autoscaler ask: it waits for the schema, which comes with the chart.
    apply(place, ours)
    wait_for(place, (one for one in ours if one["kind"] in {"StatefulSet", "Deployment"}))
    try:
        installation.release(first)
        wait_for(place, (one for one in first.manifests if one["kind"] in {"Deployment", "Rollout"}))
        installation.smoke(first)
    except (NotSyncedError, AssertionError) as error:
        raise ClusterError(f"{error}\n{troubles(place.kube())}") from error
    wait_for(place, (one for one in ours if one["kind"] == "Job"))
    return installation


def staging() -> list[Manifest]:
    """What staging has outside of the chart."""
    return manifests(_said([program("kustomize"), "build", STAGING]))


def overlay(images: Mapping[str, Image]) -> list[Manifest]:
    """The same with what the overlay of the rehearsals replaces, in the order in which it is applied."""
    return manifests(kustomized(OVERLAY, images))


def kustomized(folder: Path, images: Mapping[str, Image]) -> str:
    """A folder of kustomize, with the images that were made here by their digests."""
    with TemporaryDirectory() as place:
        named_here = [
            {"name": name, "newName": images[part].name, "digest": images[part].digest} for name, part in STORES.items()
        ]
        whole = {"resources": [os.path.relpath(folder, Path(place).resolve())], "images": named_here}
        Path(place, "kustomization.yaml").write_text(yaml.safe_dump(whole))
        return _said([program("kustomize"), "build", place])


def chart(image: Image, *said: Mapping[str, Any]) -> list[Manifest]:
    """The manifests of a release of this image, with what else is said over the values of staging; later ones count."""
    own = [{"image": {"repository": POSTRIDER, "digest": image.digest}}, *said]
    with TemporaryDirectory() as place:
        files = [VALUES, OVERLAY / "values.yaml"]
        for number, one in enumerate(own):
            files.append(Path(place) / f"{number}.json")
            files[-1].write_text(json.dumps(one))
        options = [word for file in files for word in ("--values", file)]
        command = [program("helm"), "template", "postrider", CHART, "--namespace", NAMESPACE, *options]
        return manifests(_said(command))


def apply(place: Place, wanted: Iterable[Manifest]) -> None:
    """Stores manifests in the order in which they come."""
    kube = place.kube()
    for one in wanted:
        kube.apply(one)


def wait_for(place: Place, wanted: Iterable[Manifest], seconds: float = READY_SECONDS) -> None:
    """Waits until each has all pods of its newest version ready, or has ended well if it is a Job.

    ClusterError, which says what lacks and why, when one fails or it takes too long.
    """
    kube, deadline = place.kube(), time.monotonic() + seconds
    left = list(wanted)
    while lacking := [(one, said) for one in left if (said := lacks(_now(kube, one)))]:
        left = [one for one, _ in lacking]
        if time.monotonic() > deadline:
            said = ", ".join(said for _, said in lacking)
            raise ClusterError(f"{said} (after {seconds:.0f} s)\n{troubles(kube)}")
        time.sleep(0.5)


def lacks(one: Manifest) -> str:
    """What keeps a workload from being as it is to be; empty where nothing does. ClusterError where it has failed."""
    status: Mapping[str, Any] = one.get("status", {})
    if one["kind"] == "Job":
        if _holds(status, "Failed"):
            raise ClusterError(f"{named(one)} failed")
        return "" if _holds(status, "Complete") else f"{named(one)} has not ended"
    if one["kind"] == "Rollout":
        now = phase(one)
        return "" if now.name == "Healthy" else f"{named(one)} is {now.name} {now.why}"
    pods = one["spec"]["replicas"]
    ready = min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0))
    seen = status.get("observedGeneration") == one["metadata"]["generation"]
    return "" if seen and ready == pods == status["replicas"] else f"{named(one)} has {ready} of {pods} pods ready"


def troubles(kube: Kube) -> str:
    """Pods that are not ready, with what Kubernetes says of them and the end of what they said themselves."""
    pods = kube.list("v1", "Pod", NAMESPACE)
    return "\n".join(_trouble(kube, pod) for pod in pods if not _is_well(pod["status"])) or "all pods are well"


def _is_well(status: Mapping[str, Any]) -> bool:
    return status.get("phase") == "Succeeded" or _holds(status, "Ready")


def _trouble(kube: Kube, pod: Manifest) -> str:
    status, name = pod["status"], pod["metadata"]["name"]
    states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    waiting = [f"{one['name']} {json.dumps(one['state'])}" for one in states if not one["ready"]]
    notes = [str(one["message"]) for one in status.get("conditions", []) if one.get("message")]
    said = [_said_last(kube, name, one["name"]) for one in states if not one["ready"]]
    return "\n".join([f"{name} is {status.get('phase')}", *notes, *waiting, *said])


def _said_last(kube: Kube, pod: str, container: str) -> str:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log?container={container}&tailLines=20"
    return str(kube.ask("GET", path).body.get("message", ""))


def _holds(status: Mapping[str, Any], condition: str) -> bool:
    return any(one["type"] == condition and one["status"] == "True" for one in status.get("conditions", []))


def _now(kube: Kube, one: Manifest) -> Manifest:
    return kube.get(one["apiVersion"], one["kind"], one["metadata"]["name"], NAMESPACE)


def _said(command: Sequence[Any]) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{Path(command[0]).name} refuses: {done.stderr.strip()}")
    return done.stdout
