"""Names of the cluster, by CoreDNS."""

from tests.cluster.addresses import DOMAIN, GITHUB, NAMES, NODE, PUBLIC_HOST
from tests.cluster.github import HOSTS
from tests.cluster.place import NodeProgram, Place
from tests.cluster.services import kubeconfig_of_account, service_of_the_node
from tests.deploy.manifests import Manifest
from tests.deploy.tools import program

_ACCOUNT, _NAMESPACE = "coredns", "kube-system"
_RULES = [
    {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]


def names_objects() -> list[Manifest]:
    """What the program stands on: who it is, what it may see, and the address at which pods ask it."""
    rbac = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": _NAMESPACE}
    role = {"apiGroup": rbac, "kind": "ClusterRole", "name": "coredns"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _ACCOUNT, "namespace": _NAMESPACE}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "coredns"}, "rules": _RULES},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": role,
            "subjects": [subject],
        },
        *service_of_the_node("kube-dns", _NAMESPACE, [(53, 53)], udp=True, address=NAMES),
    ]


def names(place: Place) -> list[NodeProgram]:
    """The program; what is outside of the cluster it does not know, but for the host that callers use, and GitHub."""
    file = place.file("coredns", "Corefile")
    file.write_text(
        f"""\
.:53 {{
    errors
    ready 127.0.0.1:8181
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig_of_account(place, _ACCOUNT, _NAMESPACE)}
    }}
    hosts {{
        {NODE} {PUBLIC_HOST}
        {GITHUB} {" ".join(HOSTS)}
        fallthrough
    }}
    cache 5
}}
"""
    )
    argv = [program("coredns"), f"-conf={file}"]
    return [NodeProgram("coredns", argv, ready=lambda: place.answers("http://127.0.0.1:8181/ready"))]
