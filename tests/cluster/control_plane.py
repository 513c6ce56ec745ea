"""What makes a machine a cluster of one node: Kubernetes' own programs, etcd, and containerd."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.addresses import API_PORT, DOMAIN, NAMES, NODE, PODS, PODS_OF_THE_NODE, SERVICES
from tests.cluster.identity import NODE_NAME
from tests.cluster.images import Image
from tests.cluster.kube import NotFoundError
from tests.cluster.place import CGROUPS, ClusterError, NodeProgram, Place
from tests.deploy.tools import program

_ETCD = "http://127.0.0.1:2379"
_ETCD_PEERS = "http://127.0.0.1:2380"


def control_plane(place: Place) -> list[NodeProgram]:
    """Those without which nothing else runs."""
    return [_etcd(place), _api_server(place), *_controllers(place)]


def containers(place: Place, pause: str) -> list[NodeProgram]:
    """What runs containers, those of each pod around one of the image `pause`."""
    return [_containerd(place, pause)]


def node_programs(place: Place) -> list[NodeProgram]:
    """Those that have pods run."""
    return [_kubelet(place), _kube_proxy(place)]


def make_cgroups(place: Place) -> None:
    """The group that every pod's is below."""
    for controller in sorted(CGROUPS.iterdir()) if not (CGROUPS / "cgroup.controllers").exists() else [CGROUPS]:
        if controller.is_symlink() or not (controller / "cgroup.procs").exists():
            continue
        group = controller / place.cgroup
        group.mkdir(exist_ok=True)
        # A new group of this controller has neither processors nor memory, and takes no process before it has.
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists() and (controller / name).exists():
                (group / name).write_text((controller / name).read_text())
        # All pods together count as as many programs as they are, and not as one.
        for name, weight in (("cpu.shares", 8192), ("cpu.weight", 800)):
            if (group / name).exists():
                (group / name).write_text(str(weight))


def node_is_ready(place: Place) -> bool:
    """Whether pods can run."""
    try:
        found = place.kube().get("v1", "Node", NODE_NAME)
    except NotFoundError:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in found["status"]["conditions"])


def _etcd(place: Place) -> NodeProgram:
    """What is stored lives for an hour, so no write waits for the disk."""
    argv = [
        *(program("etcd"), f"--data-dir={place.file('etcd')}", "--unsafe-no-fsync", "--log-level=warn"),
        *(f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}"),
        *(f"--listen-peer-urls={_ETCD_PEERS}", f"--initial-advertise-peer-urls={_ETCD_PEERS}"),
        f"--initial-cluster=default={_ETCD_PEERS}",
    ]
    return NodeProgram("etcd", argv)


def _api_server(place: Place) -> NodeProgram:
    pki = place.file("pki", "ca.crt").parent
    argv = [
        *(program("kube-apiserver"), f"--etcd-servers={_ETCD}", f"--secure-port={API_PORT}"),
        *(f"--bind-address={NODE}", f"--advertise-address={NODE}", f"--service-cluster-ip-range={SERVICES}"),
        *(f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key"),
        *(f"--client-ca-file={pki}/ca.crt", f"--token-auth-file={pki}/tokens.csv", "--authorization-mode=Node,RBAC"),
        *("--allow-privileged=true", "--enable-admission-plugins=NodeRestriction", "--enable-aggregator-routing=true"),
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        *(f"--service-account-key-file={pki}/accounts.key", f"--service-account-signing-key-file={pki}/accounts.key"),
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        # The node's name is known to nobody who is asked for names.
        "--kubelet-preferred-address-types=InternalIP",
        *("--requestheader-allowed-names=front-proxy-client", "--requestheader-username-headers=X-Remote-User"),
        *("--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-"),
        *(f"--proxy-client-cert-file={pki}/front-proxy-client.crt",),
        f"--proxy-client-key-file={pki}/front-proxy-client.key",
    ]
    return NodeProgram("kube-apiserver", argv, ready=lambda: place.serves("/readyz"))


def _controllers(place: Place) -> Iterator[NodeProgram]:
    pki = place.file("pki", "ca.crt").parent
    manager = [
        *(program("kube-controller-manager"), f"--kubeconfig={place.kubeconfig('kube-controller-manager')}"),
        # As where there are several: one that has lost the API server ends, and looks at everything anew. Else it would
        # take the silence for the node's, and call no pod ready.
        *("--leader-elect=true", "--use-service-account-credentials=true", "--allocate-node-cidrs=true"),
        *(f"--cluster-cidr={PODS}", f"--service-cluster-ip-range={SERVICES}", f"--root-ca-file={pki}/ca.crt"),
        *(f"--service-account-private-key-file={pki}/accounts.key", "--bind-address=127.0.0.1"),
        *(f"--authentication-kubeconfig={place.kubeconfig('kube-controller-manager')}",),
        f"--authorization-kubeconfig={place.kubeconfig('kube-controller-manager')}",
    ]
    yield NodeProgram("kube-controller-manager", manager)
    scheduler = [
        *(program("kube-scheduler"), f"--kubeconfig={place.kubeconfig('kube-scheduler')}"),
        *("--leader-elect=false", "--bind-address=127.0.0.1"),
    ]
    yield NodeProgram("kube-scheduler", scheduler)


def network_of_pods() -> str:
    """What the plugins of containerd are told."""
    # Each pod has a cable of its own to the node: what goes from pod to pod is routed, so that answers come back the
    # way that kube-proxy sent the request.
    addresses = {"type": "host-local", "ranges": [[{"subnet": PODS_OF_THE_NODE}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})


def _containerd(place: Place, pause: str) -> NodeProgram:
    home = place.file("containerd", "config.toml")
    network = place.file("cni", "10-pods.conflist")
    network.write_text(network_of_pods())
    home.write_text(_CONTAINERD.format(home=home.parent, pause=pause, cni=network.parent))
    return NodeProgram("containerd", ["containerd", f"--config={home}"], ready=lambda: _containerd_answers(place))


def containerd_socket(place: Place) -> Path:
    """Where containerd listens."""
    return (
        Path("/run/containerd/containerd.sock") if place.is_container else place.file("containerd", "containerd.sock")
    )


def take_image(place: Place, image: Image) -> None:
    """Gives containerd an image that it does not have yet, which pods name by its digest."""
    images = [*_ctr(place), "--namespace=k8s.io", "images"]
    if not place.inside([*images, "list", "--quiet", f"name=={image.reference}"]).strip():
        place.inside([*images, "import", "--digests", "--base-name", image.name, image.archive])


def _ctr(place: Place) -> list[str]:
    return ["ctr", f"--address={containerd_socket(place)}"]


def _containerd_answers(place: Place) -> bool:
    try:
        place.inside([*_ctr(place), "version"])
    except ClusterError:
        return False
    return True


_CONTAINERD = """\
version = 2
root = "{home}/root"
state = "{home}/state"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


# The kubelet's settings for a machine without systemd, on which nobody may raise limits.
KUBELET: Mapping[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "cgroupDriver": "cgroupfs",
    "enforceNodeAllocatable": [],
    "failCgroupV1": False,
    "failSwapOn": False,
    "oomScoreAdj": 0,
    "maxOpenFiles": 20000,
    "evictionHard": {"memory.available": "100Mi"},
    "imageGCHighThresholdPercent": 100,
    "localStorageCapacityIsolation": False,
    "makeIPTablesUtilChains": False,
}


def _kubelet(place: Place) -> NodeProgram:
    names = place.file("kubelet", "resolv.conf")
    # Nobody outside is asked for names.
    names.write_text(f"nameserver {NAMES}\n")
    said: dict[str, Any] = {
        **KUBELET,
        "address": NODE,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupRoot": f"/{place.cgroup}",
        "containerRuntimeEndpoint": f"unix://{containerd_socket(place)}",
        "podLogsDir": str(place.folder / "pod-logs"),
        "volumePluginDir": str(place.folder / "kubelet" / "plugins"),
        "resolvConf": str(names),
        "clusterDNS": [NAMES],
        "clusterDomain": DOMAIN,
    }
    file = place.file("kubelet", "config.yaml")
    file.write_text(yaml.safe_dump(said))
    argv = [
        *(program("kubelet"), f"--config={file}", f"--kubeconfig={place.kubeconfig('kubelet')}"),
        *(f"--root-dir={place.folder}/kubelet/root", f"--cert-dir={place.folder}/kubelet/certificates"),
        *(f"--hostname-override={NODE_NAME}", f"--node-ip={NODE}", "--node-labels=topology.kubernetes.io/zone=one"),
    ]
    return NodeProgram("kubelet", argv, ready=lambda: node_is_ready(place))


def _kube_proxy(place: Place) -> NodeProgram:
    said: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": NODE,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": str(place.kubeconfig("kube-proxy"))},
        "clusterCIDR": PODS,
        "mode": "iptables",
        "conntrack": {"maxPerCore": 0},
        "hostnameOverride": NODE_NAME,
    }
    file = place.file("kube-proxy", "config.yaml")
    file.write_text(yaml.safe_dump(said))
    return NodeProgram("kube-proxy", [program("kube-proxy"), f"--config={file}"])
