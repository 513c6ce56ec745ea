"""Prometheus as a program of the node: who it is, what it may, where it is asked, and how it is started."""

import sys

from tests.cluster.addresses import NODE
from tests.cluster.place import NodeProgram, Place
from tests.cluster.prometheus.configuration import MONITORING
from tests.cluster.services import kubeconfig_of_account, namespace, service_of_the_node
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

_NAMESPACE, _NAME = "monitoring", "kube-prometheus-stack-prometheus"
_PORT = 9090
_RBAC = "rbac.authorization.k8s.io"
_MAY = ["get", "list", "watch"]


def prometheus_objects() -> list[Manifest]:
    """What the program stands on; the Service has the name by which releases ask it."""
    rules = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": _MAY},
        {"apiGroups": [MONITORING.rpartition("/")[0]], "resources": ["podmonitors", "prometheusrules"], "verbs": _MAY},
    ]
    return [
        namespace(_NAMESPACE),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": _NAME, "namespace": _NAMESPACE}},
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": _NAME}, "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": _NAME},
            "subjects": [{"kind": "ServiceAccount", "name": _NAME, "namespace": _NAMESPACE}],
        },
        *service_of_the_node(_NAME, _NAMESPACE, [(_PORT, _PORT)]),
    ]


def prometheus(place: Place) -> list[NodeProgram]:
    """The program; Prometheus itself is its child."""
    kubeconfig = kubeconfig_of_account(place, _NAME, _NAMESPACE)
    listen = f"{NODE}:{_PORT}"
    words = [f"--kubeconfig={kubeconfig}", f"--folder={place.file('prometheus')}", f"--listen={listen}"]
    argv = [sys.executable, "-m", "tests.cluster.prometheus", *words]
    environment = {"PYTHONPATH": str(ROOT)}
    return [NodeProgram("prometheus", argv, environment, ready=lambda: place.answers(f"http://{listen}/-/ready"))]
