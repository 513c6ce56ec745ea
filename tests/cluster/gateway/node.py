"""The gateway as a program of the node: who it is, what it may, and how it is started."""

import sys

from tests.cluster.addresses import NODE
from tests.cluster.gateway.status import CONTROLLER
from tests.cluster.gateway.wanted import CLASS, GATEWAY, KINDS
from tests.cluster.place import NodeProgram, Place
from tests.cluster.services import kubeconfig_of_account, namespace
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

_NAME = _NAMESPACE = "nginx-gateway"
_RBAC = "rbac.authorization.k8s.io"
# The names of the kinds that it reads, as rules have them.
_READ = {
    "Gateway": "gateways",
    "HTTPRoute": "httproutes",
    "ClientSettingsPolicy": "clientsettingspolicies",
    "RateLimitPolicy": "ratelimitpolicies",
    "SnippetsFilter": "snippetsfilters",
    "Secret": "secrets",
    "Service": "services",
    "EndpointSlice": "endpointslices",
}


def gateway_objects() -> list[Manifest]:
    """What the program stands on; the class is what Gateways name."""
    reads = [
        {"apiGroups": [_group(version)], "resources": [_READ[kind]], "verbs": ["get", "list", "watch"]}
        for version, kind in KINDS
    ]
    tells = {"apiGroups": [_group(GATEWAY)], "resources": ["gateways/status", "httproutes/status"], "verbs": ["patch"]}
    return [
        namespace(_NAMESPACE),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _NAME, "namespace": _NAMESPACE}},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": _NAME},
            "rules": [*reads, tells],
        },
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _NAME},
            "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": _NAMESPACE}],
        },
        {
            "apiVersion": GATEWAY,
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": CONTROLLER},
        },
    ]


def gateway(place: Place) -> list[NodeProgram]:
    """The program; NGINX is its child, and starts when there is a Gateway."""
    kubeconfig = kubeconfig_of_account(place, _NAME, _NAMESPACE)
    words = [f"--kubeconfig={kubeconfig}", f"--folder={place.file('gateway')}", f"--address={NODE}"]
    return [NodeProgram("gateway", [sys.executable, "-m", "tests.cluster.gateway", *words], {"PYTHONPATH": str(ROOT)})]


def _group(version: str) -> str:
    return version.rpartition("/")[0]
