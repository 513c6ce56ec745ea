"""Installs Postrider on a cluster as argocd/envs/staging says, with the one overlay of the rehearsals."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.cluster.images import POSTRIDER, Image
from tests.cluster.place import ClusterError, Place
from tests.cluster.stand_ins import NAMESPACE, made
from tests.deploy.manifests import Manifest, manifests, named
from tests.deploy.tools import program
from tests.servers import ROOT

OVERLAY = ROOT / "tests" / "cluster" / "overlay"
STAGING = ROOT / "k8s" / "overlays" / "staging"
CHART = ROOT / "charts" / "postrider"
VALUES = ROOT / "argocd" / "envs" / "staging" / "values.yaml"
HOOK = "argocd.argoproj.io/hook"
WAVE = "argocd.argoproj.io/sync-wave"
READY_SECONDS = 300.0
# By what names the overlay calls the images that are made here.
STORES = {
    "ghcr.io/cloudnative-pg/postgresql": "postgres",
    "ghcr.io/cloudnative-pg/pgbouncer": "pgbouncer",
    "docker.io/valkey/valkey": "redis",
}


def install(place: Place, images: Mapping[str, Image]) -> None:
    """From an empty cluster to one whose pods are all ready and whose smoke test has passed."""
    ours = overlay(images)
    place.apply(one for one in ours if one["kind"] in {"Namespace", "PriorityClass"})
    place.apply(made(place, staging()))
    # The job that lets the autoscaler ask waits for the schema, which comes with the chart.
    place.apply(ours)
    wait_for(place, ["statefulset/postgres", "statefulset/redis", "deployment/postgres-pooler"])
    wanted = chart(images["postrider"])
    release(place, wanted)
    wait_for(place, [named_as_kubectl(one) for one in wanted if one["kind"] in {"Deployment", "Rollout"}])
    run_hook(place, *(one for one in wanted if phase(one) == "PostSync"))
    ended(place, "job/postgres-autoscaler")


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


def release(place: Place, wanted: Sequence[Manifest]) -> None:
    """Applies a chart as Argo CD does until all is stored: by waves, in which hooks of the sync run to their end."""
    ours = [one for one in wanted if phase(one) == "Sync"]
    for number in sorted({wave(one) for one in ours}):
        those = [one for one in ours if wave(one) == number]
        place.apply(one for one in those if not is_hook(one))
        run_hook(place, *(one for one in those if is_hook(one)))


def run_hook(place: Place, *hooks: Manifest) -> None:
    """Runs them anew, one after the other; ClusterError with what it said when one fails."""
    for one in hooks:
        name = named_as_kubectl(one)
        place.kubectl("delete", name, f"--namespace={NAMESPACE}", "--ignore-not-found", "--wait")
        place.apply([one])
        ended(place, name)


def ended(place: Place, name: str, seconds: float = READY_SECONDS) -> None:
    """Waits until a `job/…` or `pod/…` has ended well; ClusterError when it fails or takes too long."""

    def so() -> str:
        status = _object(place, name).get("status", {})
        if status.get("phase") == "Failed" or _holds(status, "Failed"):
            raise ClusterError(f"{name} failed: {said_by(place, name)}")
        return "" if status.get("phase") == "Succeeded" or _holds(status, "Complete") else f"{name} has not ended"

    _until(so, seconds, lambda: said_by(place, name))


def wait_for(place: Place, names: Iterable[str], seconds: float = READY_SECONDS) -> None:
    """Waits until each `kind/name` has all pods of its newest version ready; ClusterError says which has not, why."""
    wanted = list(names)

    def so() -> str:
        return ", ".join(filter(None, (_lacks(_object(place, name)) for name in wanted)))

    _until(so, seconds, lambda: troubles(place))


def troubles(place: Place) -> str:
    """Pods that are not ready, with what Kubernetes says of them."""
    items = json.loads(place.kubectl("get", "pods", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    return "\n".join(filter(None, map(_trouble, items))) or "no pod says why"


def said_by(place: Place, name: str) -> str:
    """The end of what its pods wrote, and whatever keeps them from starting."""
    try:
        said = place.kubectl("logs", name, f"--namespace={NAMESPACE}", "--tail=30", "--all-containers")
    except ClusterError as error:
        said = str(error)
    return f"{said}\n{troubles(place)}"


def phase(one: Manifest) -> str:
    """When Argo CD applies it."""
    return str(one["metadata"].get("annotations", {}).get(HOOK, "Sync"))


def is_hook(one: Manifest) -> bool:
    """Whether it is run and not kept."""
    return HOOK in one["metadata"].get("annotations", {})


def wave(one: Manifest) -> int:
    """In which wave of its phase Argo CD applies it."""
    return int(one["metadata"].get("annotations", {}).get(WAVE, "0"))


def named_as_kubectl(one: Manifest) -> str:
    """`kind/name`."""
    return "/".join(named(one).split()).lower()


def _lacks(one: Manifest) -> str:
    """What is not as it is to be; empty when it is."""
    name, status = named_as_kubectl(one), one.get("status", {})
    # Argo Rollouts writes it as text.
    if str(status.get("observedGeneration")) != str(one["metadata"]["generation"]):
        return f"{name} is not looked at yet"
    if one["kind"] == "Rollout":
        return (
            "" if status.get("phase") == "Healthy" else f"{name} is {status.get('phase')}: {status.get('message', '')}"
        )
    wanted = one["spec"]["replicas"]
    ready = min(status.get("readyReplicas", 0), status.get("updatedReplicas", 0))
    return "" if ready == wanted == status.get("replicas") else f"{name} has {ready} of {wanted} pods ready"


def _trouble(pod: Manifest) -> str:
    status = pod["status"]
    if status.get("phase") == "Succeeded" or _holds(status, "Ready"):
        return ""
    states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    waiting = [f"{one['name']}: {json.dumps(one['state'])}" for one in states if not one["ready"]]
    conditions = [str(one["message"]) for one in status.get("conditions", []) if one.get("message")]
    return f"{pod['metadata']['name']} {status.get('phase')}: {'; '.join([*conditions, *waiting])}"


def _holds(status: Mapping[str, Any], condition: str) -> bool:
    return any(one["type"] == condition and one["status"] == "True" for one in status.get("conditions", []))


def _object(place: Place, name: str) -> Manifest:
    kind, _, rest = name.partition("/")
    return place.get(kind, rest, NAMESPACE)


def _until(so: Callable[[], str], seconds: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while lacking := so():
        if time.monotonic() > deadline:
            raise ClusterError(f"{lacking} after {seconds:.0f} s:\n{why()}")
        time.sleep(0.5)


def _said(command: Sequence[Any]) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"{Path(command[0]).name} refuses: {done.stderr.strip()}")
    return done.stdout
