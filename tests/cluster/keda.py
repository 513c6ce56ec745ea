"""KEDA: it reads what is due, and has the autoscaler of Kubernetes follow that."""

import base64
import shutil

from tests.cluster.addresses import DOMAIN, NODE
from tests.cluster.identity import Authority
from tests.cluster.place import NodeProgram, Place
from tests.cluster.services import kubeconfig_of_account, namespace, service_of_the_node
from tests.deploy.crds import fetched, pin
from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tools import program

_MODULE = "github.com/kedacore/keda/v2"
_NAMESPACE, _ACCOUNT = "keda", "keda-operator"
_OPERATOR, _ADAPTER = "keda-operator", "keda-metrics-apiserver"
# What KEDA's own manifests say of whom it is and what it may.
_OWN = (
    "service_account/service_account.yaml",
    "rbac/role.yaml",
    "rbac/role_binding.yaml",
    "metrics-server/role.yaml",
    "metrics-server/role_binding.yaml",
)
_GRPC_PORT, _ADAPTER_PORT = 9666, 9667


def keda_objects(place: Place) -> list[Manifest]:
    """What the two programs stand on, and certificates by which they and the API server know each other."""
    folder = fetched(pin(_MODULE)) / "config"
    own = [one for name in _OWN for one in manifests((folder / name).read_bytes())]
    (registration,) = manifests((folder / "metrics-server" / "api_service.yaml").read_bytes())
    authority = Authority(place, "keda-ca")
    hosts = [f"{one}.{_NAMESPACE}.{end}" for one in (_OPERATOR, _ADAPTER) for end in ("svc", f"svc.{DOMAIN}")]
    certificate, key = authority.issue("keda", hosts)
    for source, name in ((authority.certificate, "ca.crt"), (certificate, "tls.crt"), (key, "tls.key")):
        shutil.copy(source, place.file("keda", name))
    trust = base64.b64encode(authority.certificate.read_bytes()).decode()
    return [
        namespace(_NAMESPACE),
        *own,
        *service_of_the_node(_ADAPTER, _NAMESPACE, [(443, _ADAPTER_PORT)]),
        {**registration, "spec": {**registration["spec"], "caBundle": trust}},
    ]


def keda(place: Place) -> list[NodeProgram]:
    """The operator, and the adapter that the API server asks for metrics."""
    kubeconfig = kubeconfig_of_account(place, _ACCOUNT, _NAMESPACE)
    home = place.file("keda", "tls.crt").parent
    env = {"POD_NAMESPACE": _NAMESPACE, "KEDA_CLUSTER_OBJECT_NAMESPACE": _NAMESPACE, "WATCH_NAMESPACE": ""}
    operator = [
        *(program("keda-operator"), f"--kubeconfig={kubeconfig}", f"--cert-dir={home}"),
        *("--metrics-bind-address=127.0.0.1:9668", "--health-probe-bind-address=127.0.0.1:9669"),
        *(f"--metrics-service-bind-address={NODE}:{_GRPC_PORT}", "--zap-log-level=info"),
    ]
    adapter = [
        *(program("keda-adapter"), f"--lister-kubeconfig={kubeconfig}", f"--secure-port={_ADAPTER_PORT}"),
        *(f"--authentication-kubeconfig={kubeconfig}", f"--authorization-kubeconfig={kubeconfig}", "--port=9670"),
        *(f"--tls-cert-file={home}/tls.crt", f"--tls-private-key-file={home}/tls.key", f"--cert-dir={home}"),
        *(f"--metrics-service-address={NODE}:{_GRPC_PORT}", f"--client-ca-file={home}/ca.crt"),
        f"--metrics-service-grpc-authority={_OPERATOR}.{_NAMESPACE}.svc.{DOMAIN}",
    ]
    served = "/apis/external.metrics.k8s.io/v1beta1"
    return [
        NodeProgram("keda-operator", operator, env, ready=lambda: place.answers("http://127.0.0.1:9669/readyz")),
        NodeProgram(
            "keda-adapter", adapter, {**env, "KUBECONFIG": str(kubeconfig)}, ready=lambda: place.serves(served)
        ),
    ]
