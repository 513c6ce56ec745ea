"""metrics-server: what pods really use, for the autoscaler of Kubernetes."""

from tests.cluster.place import NodeProgram, Place
from tests.cluster.services import kubeconfig_of_account, service_of_the_node
from tests.deploy.crds import fetched, pin
from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tools import program

_MODULE = "sigs.k8s.io/metrics-server"
_NAMESPACE, _NAME = "kube-system", "metrics-server"
_PORT = 9671
_SECONDS_BETWEEN = 10


def metrics_server_objects() -> list[Manifest]:
    """What it stands on: who it is and what it may by its own manifests, and where it is asked."""
    folder = fetched(pin(_MODULE)) / "manifests" / "base"
    (registration,) = manifests((folder / "apiservice.yaml").read_bytes())
    return [
        *manifests((folder / "rbac.yaml").read_bytes()),
        *service_of_the_node(_NAME, _NAMESPACE, [(443, _PORT)]),
        registration,
    ]


def metrics_server(place: Place) -> list[NodeProgram]:
    """The program; kubelets show certificates here that nobody signed."""
    kubeconfig = kubeconfig_of_account(place, _NAME, _NAMESPACE)
    argv = [
        *(program("metrics-server"), f"--kubeconfig={kubeconfig}", f"--secure-port={_PORT}"),
        *(f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}"),
        *("--kubelet-insecure-tls", "--kubelet-preferred-address-types=InternalIP"),
        *(f"--metric-resolution={_SECONDS_BETWEEN}s", f"--kubelet-request-timeout={_SECONDS_BETWEEN // 2}s"),
        f"--cert-dir={place.file('metrics-server')}",
    ]
    return [NodeProgram(_NAME, argv, ready=lambda: place.serves("/apis/metrics.k8s.io/v1beta1/nodes"))]
