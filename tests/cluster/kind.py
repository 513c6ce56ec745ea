"""The node as a container of Docker, by kind: Kubernetes as kubeadm sets it up, with our images and network."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.addresses import API_SERVER, NODE, PODS, SERVICES
from tests.cluster.control_plane import KUBELET, network_of_pods, node_is_ready
from tests.cluster.identity import NODE_NAME, kubeconfig_of, make_github_identity
from tests.cluster.images import Image
from tests.cluster.place import ClusterError, Place, wait_until
from tests.deploy.tools import cache, program

NAME = "postrider"
_ADMIN = "rehearsals"
_PATCHES = "kubeadm"
_ADMIN_FILE = "/etc/kubernetes/admin.conf"
_READY_SECONDS = 90.0


def docker_answers() -> bool:
    """Whether there is a Docker engine that this user may ask."""
    return shutil.which("docker") is not None and _run(["docker", "info"]).returncode == 0


def load_node(node: Image) -> None:
    """Gives Docker the image of the node, unless it has it."""
    if _run(["docker", "image", "inspect", node.tagged]).returncode:
        _asked(["docker", "load", "--input", node.archive])


def begin_node(place: Place, node: Image) -> None:
    """From nothing to a node that runs pods, whose network programs of the node share."""
    place.make()
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        # Two processors carry both versions of everything, and kubeadm sets a third of them aside.
        small = {"spec": {"containers": [{"name": name, "resources": {"requests": {"cpu": "10m"}}}]}}
        place.file(_PATCHES, f"{name}.json").write_text(json.dumps(small))
    configuration = place.file("kind.yaml")
    configuration.write_text(yaml.safe_dump(_cluster(place, node)))
    # Whoever calls has a configuration of their own for kubectl.
    words: list[str | Path] = ["--config", configuration, "--kubeconfig", place.kubeconfig("kind")]
    _asked([program("kind"), "create", "cluster", "--name", NAME, *words])
    container = json.loads(_asked(["docker", "inspect", NODE_NAME]))[0]
    place.begin_in(container["State"]["Pid"])
    place.inside(["tee", "/etc/cni/net.d/10-pods.conflist"], network_of_pods())


def know_each_other(place: Place) -> None:
    """Lets us ask the API server as its administrator, at the address of the node that all programs know."""
    place.file("pki", "ca.crt").write_text(place.inside(["cat", "/etc/kubernetes/pki/ca.crt"]))
    make_github_identity(place)
    kubectl = ["kubectl", f"--kubeconfig={_ADMIN_FILE}", "--namespace=kube-system"]
    place.inside([*kubectl, "create", "serviceaccount", _ADMIN])
    binding = ["clusterrolebinding", _ADMIN, "--clusterrole=cluster-admin", f"--serviceaccount=kube-system:{_ADMIN}"]
    place.inside([*kubectl, "create", *binding])
    kubeconfig_of(place, "admin", place.inside([*kubectl, "create", "token", _ADMIN, "--duration=24h"]).strip())


def wait_ready(place: Place) -> None:
    """Waits until pods can run."""
    wait_until(lambda: node_is_ready(place), _READY_SECONDS, lambda: "the node is not ready")


def end_node(place: Place) -> None:
    """Takes the container away, if there is one."""
    if (place.folder / "kind.yaml").exists():
        _asked([program("kind"), "delete", "cluster", "--name", NAME, "--kubeconfig", place.kubeconfig("kind")])


def _cluster(place: Place, node: Image) -> Mapping[str, Any]:
    # Volumes and archives of images have the same paths on both sides.
    seen = [{"hostPath": str(one), "containerPath": str(one)} for one in (place.folder, cache() / "images")]
    local = [{"name": "unsafe-no-fsync", "value": "true"}]
    patches: Sequence[Mapping[str, Any]] = [
        # Kind names localhost alone.
        {"kind": "ClusterConfiguration", "apiServer": {"certSANs": ["localhost", "127.0.0.1", NODE, API_SERVER]}},
        # What is stored lives for an hour, so no write waits for the disk.
        {"kind": "ClusterConfiguration", "etcd": {"local": {"extraArgs": local}}},
        # Names are ours to tell.
        {
            "kind": "InitConfiguration",
            "skipPhases": ["preflight", "addon/coredns"],
            "patches": {"directory": str(place.folder / _PATCHES)},
        },
        KUBELET,
    ]
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {"disableDefaultCNI": True, "podSubnet": PODS, "serviceSubnet": SERVICES},
        "nodes": [
            {
                "role": "control-plane",
                "image": node.tagged,
                "labels": {"topology.kubernetes.io/zone": "one"},
                "extraMounts": seen,
            }
        ],
        "kubeadmConfigPatches": [yaml.safe_dump(dict(one)) for one in patches],
    }


def _asked(words: Sequence[str | Path]) -> str:
    done = _run(words)
    if done.returncode:
        raise ClusterError(f"{' '.join(map(str, words[:3]))} failed:\n{(done.stderr or done.stdout)[-3000:]}")
    return done.stdout


def _run(words: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
