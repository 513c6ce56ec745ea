"""The server that judges manifests is a real one: it refuses what a cluster would refuse, and says where."""

import pytest

from tests.cluster.kube import NotServedError, RefusedError
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.manifests import Manifest
from tests.deploy.tally import count
from tests.deploy.tools import KUBERNETES

ROOT_POD = {"containers": [{"name": "one", "image": "example.com/one:1"}]}
LABELS = {"app": "one"}


def manifest(version: str, kind: str, **rest: object) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "one", "namespace": "postrider"}, **rest}


def test_it_is_the_kubernetes_that_we_name(api_server: ApiServer) -> None:
    assert api_server.ask("GET", "/version").body["gitVersion"] == f"v{KUBERNETES}"


def test_what_is_right_is_taken_and_forgotten(api_server: ApiServer) -> None:
    assert api_server.dry_run(manifest("v1", "ConfigMap", data={"a": "b"})) == []
    assert api_server.ask("GET", "/api/v1/namespaces/postrider/configmaps/one").status == 404


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (manifest("v1", "ConfigMap", dta={"a": "b"}), ".dta: field not declared in schema"),
        (manifest("argoproj.io/v1alpha1", "Rollout", spec={"strategie": {}}), ".spec.strategie: field not declared"),
        (
            manifest("gateway.networking.k8s.io/v1", "HTTPRoute", spec={"rules": [{"filters": [{"type": "Other"}]}]}),
            'Unsupported value: "Other"',
        ),
        (
            manifest("gateway.nginx.org/v1alpha1", "ClientSettingsPolicy", spec={"body": {"maxSize": "1 MB"}}),
            "spec.body.maxSize",
        ),
        (manifest("postgresql.cnpg.io/v1", "Cluster", spec={"instances": 0}), "spec.instances"),
        (manifest("v1", "Pod", spec=ROOT_POD), 'violates PodSecurity "restricted:latest"'),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(api_server: ApiServer, wrong: Manifest, where: str) -> None:
    with pytest.raises(RefusedError) as refused:
        api_server.dry_run(wrong)
    assert where in str(refused.value)
    count("refusals")


def test_a_kind_that_nobody_brought_is_told_from_one_that_is_wrong(api_server: ApiServer) -> None:
    with pytest.raises(NotServedError):
        api_server.dry_run(manifest("example.com/v1", "Thing"))


def test_a_pod_that_breaks_the_level_is_warned_of_inside_a_deployment_and_not_inside_a_rollout(
    api_server: ApiServer,
) -> None:
    spec = {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": ROOT_POD}}
    (warning,) = api_server.dry_run(manifest("apps/v1", "Deployment", spec=spec))
    assert "would violate PodSecurity" in warning
    assert api_server.dry_run(manifest("argoproj.io/v1alpha1", "Rollout", spec=spec)) == []
