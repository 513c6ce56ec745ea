"""Programs of the node as the cluster's pods know them, and accounts of their own for those that ask its API."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from tests.cluster.addresses import NODE
from tests.cluster.identity import kubeconfig_of
from tests.cluster.place import ClusterError, Place
from tests.deploy.manifests import Manifest

_TOKEN_LIFE = 24 * 3600


def namespace(name: str) -> Manifest:
    """A namespace without rules."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service_of_the_node(
    name: str, inside: str, ports: Sequence[tuple[int, int]], *, udp: bool = False, address: str = ""
) -> list[Manifest]:
    """A Service and what is behind it: for each port that pods call, the one at which a program of the node listens."""
    protocols = ("UDP", "TCP") if udp else ("TCP",)
    said = [(f"{protocol.lower()}-{port}", protocol, port, target) for port, target in ports for protocol in protocols]
    meta = {"name": name, "namespace": inside}
    spec = {
        **({"clusterIP": address} if address else {}),
        "ports": [{"name": one, "protocol": protocol, "port": port} for one, protocol, port, _ in said],
    }
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "name": f"{name}-node", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": one, "protocol": protocol, "port": target} for one, protocol, _, target in said],
            "endpoints": [{"addresses": [NODE], "conditions": {"ready": True}}],
        },
    ]


def kubeconfig_of_account(place: Place, name: str, inside: str) -> Path:
    """The file by which a program of the node asks the API in the name of a service account that is there."""
    return kubeconfig_of(place, f"{inside}-{name}", token_of_account(place, name, inside))


def token_of_account(place: Place, name: str, inside: str) -> str:
    """What shows that somebody is a service account that is there."""
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_LIFE},
    }
    answer = place.kube().ask("POST", f"/api/v1/namespaces/{inside}/serviceaccounts/{name}/token", asked)
    if answer.status != HTTPStatus.CREATED:
        raise ClusterError(f"no token for {inside}/{name}: {answer.body}")
    token: str = answer.body["status"]["token"]
    return token
