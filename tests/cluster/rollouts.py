"""Argo Rollouts, with the plugin that writes a canary's weight into routes."""

import yaml

from tests.cluster.identity import GITHUB_AUTHORITY
from tests.cluster.place import NodeProgram, Place
from tests.cluster.services import kubeconfig_of_account, namespace
from tests.deploy.crds import fetched, pin
from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tools import program

_MODULE = "github.com/argoproj/argo-rollouts"
_NAME = _NAMESPACE = "argo-rollouts"
# What its own manifests say of whom it is and what it may; what its plugin may is said in k8s/base.
_OWN = (
    "base/argo-rollouts-sa.yaml",
    "role/argo-rollouts-clusterrole.yaml",
    "cluster-install/argo-rollouts-clusterrolebinding.yaml",
)


def rollouts_objects() -> list[Manifest]:
    """What the controller stands on."""
    folder = fetched(pin(_MODULE)) / "manifests"
    own = [one for name in _OWN for one in manifests((folder / name).read_bytes())]
    plugin = {"name": "argoproj-labs/gatewayAPI", "location": f"file://{program('gateway-plugin')}"}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argo-rollouts-config", "namespace": _NAMESPACE},
        "data": {"trafficRouterPlugins": yaml.safe_dump([plugin])},
    }
    return [namespace(_NAMESPACE), *(_placed(one) for one in own), config]


def rollouts(place: Place) -> list[NodeProgram]:
    """The controller, in the name of its service account."""
    kubeconfig = kubeconfig_of_account(place, _NAME, _NAMESPACE)
    argv = [
        *(program("rollouts-controller"), f"--kubeconfig={kubeconfig}", "--leader-elect=false"),
        *("--healthzPort=8092", "--metricsPort=8090", "--logformat=json"),
    ]
    # The plugin is a process below it, and finds its way to the API by the environment.
    # GitHub, to whom it tells what was aborted, is known by an authority of the rehearsal.
    trusted = str(place.file("pki", f"{GITHUB_AUTHORITY}.crt"))
    env = {"KUBECONFIG": str(kubeconfig), "POD_NAMESPACE": _NAMESPACE, "SSL_CERT_FILE": trusted}
    return [NodeProgram(_NAME, argv, env, ready=lambda: place.answers("http://127.0.0.1:8092/healthz"))]


def _placed(one: Manifest) -> Manifest:
    if one["kind"] == "ClusterRoleBinding":
        return {**one, "subjects": [{**subject, "namespace": _NAMESPACE} for subject in one["subjects"]]}
    return one if one["kind"] == "ClusterRole" else {**one, "metadata": {**one["metadata"], "namespace": _NAMESPACE}}
