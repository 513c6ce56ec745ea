"""What a rehearsal installs is what staging says, but for what needs the outside, and a strict server takes it all."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cluster.addresses import NODE
from tests.cluster.images import Image
from tests.cluster.install import STORES, VALUES, chart, overlay, staging
from tests.cluster.place import Place
from tests.cluster.stand_ins import made
from tests.deploy.apiserver.server import ApiServer, running_api_server
from tests.deploy.chart.helm import render
from tests.deploy.crds import definitions
from tests.deploy.manifests import Manifest, named
from tests.deploy.pods import as_pods

DIGEST = f"sha256:{'5' * 64}"
IMAGES = {
    part: Image(f"localhost/rehearsal/{part}", "", Path("nowhere"), DIGEST) for part in (*STORES.values(), "postrider")
}
# By whom they are replaced is said beside each in the overlay's kustomization.yaml.
OUTSIDE = {"ExternalSecret", "SecretStore", "ClusterIssuer", "ImageValidatingPolicy", "Cluster", "Pooler"}
TELEMETRY = {
    *("Deployment collector", "Deployment jaeger", "ServiceAccount collector", "ServiceAccount jaeger"),
    *("Service jaeger", "NetworkPolicy collector", "NetworkPolicy jaeger"),
}
# Where the two differ in what both have.
CHANGED = {"Service collector", "StatefulSet redis", "Job postgres-autoscaler"}
POOLS = {"Cluster", "Pooler"}
WORKLOADS = {"StatefulSet", "Deployment"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Kubernetes without nodes, with all kinds, a restricted namespace, and the priorities that pods name."""
    with running_api_server(tmp_path_factory.mktemp("kubernetes")) as one:
        one.install(definitions())
        one.namespace("postrider")
        for manifest in overlay(IMAGES):
            if manifest["kind"] in {"PriorityClass", "LimitRange"}:
                one.apply(manifest)
        yield one


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """What operators would make."""
    return made(Place(tmp_path_factory.mktemp("place")), staging())


@pytest.mark.timeout(900)
def test_a_strict_server_takes_all_of_it(server: ApiServer, drawn: list[Manifest]) -> None:
    objects = [*overlay(IMAGES), *drawn, *chart(IMAGES["postrider"])]
    pods = [*as_pods(objects)]
    assert [warning for one in [*objects, *pods] for warning in server.dry_run(one)] == []
    assert len(pods) > 10


def test_only_what_needs_the_outside_is_left_out() -> None:
    before, after = named_ones(staging()), named_ones(overlay(IMAGES))
    gone = {name for name in before if name not in after}
    assert {name for name in gone if before[name]["kind"] not in OUTSIDE} == {
        *TELEMETRY,
        "ServiceAccount postrider-secrets",
        *(name for name in before if name.startswith(("ConfigMap collector-", "ConfigMap jaeger-"))),
    }
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == CHANGED


def test_every_image_was_made_here() -> None:
    for pod in as_pods([*overlay(IMAGES), *chart(IMAGES["postrider"])]):
        spec = pod["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            assert container["image"].endswith(f"@{DIGEST}"), container["image"]


def test_the_secrets_have_the_names_and_keys_of_staging(drawn: list[Manifest]) -> None:
    made_here = {one["metadata"]["name"]: one for one in drawn if one["kind"] == "Secret"}
    for one in staging():
        if one["kind"] == "ExternalSecret":
            target = one["spec"]["target"]
            assert made_here[target["name"]]["stringData"].keys() == target["template"]["data"].keys()
    worker, password = (made_here["postgres-worker"]["stringData"][key] for key in ("username", "password"))
    url = made_here["postrider-1"]["stringData"]["POSTRIDER_DATABASE__WORKER_URL"]
    assert url == f"postgresql://{worker}:{password}@postgres-rw:5432/postrider"


def test_there_are_as_many_instances_as_staging_asks_for() -> None:
    asked = {one["metadata"]["name"]: one["spec"]["instances"] for one in staging() if one["kind"] in POOLS}
    got = {one["metadata"]["name"]: one["spec"]["replicas"] for one in overlay(IMAGES) if one["kind"] in WORKLOADS}
    assert {name: got[name] for name in asked} == asked


def test_the_chart_is_that_of_staging_but_for_requests_and_image() -> None:
    rehearsed, of_staging = chart(IMAGES["postrider"]), render(VALUES)
    assert without(rehearsed, "requests", "image") == without(of_staging, "requests", "image")
    assert without(rehearsed, "image") != without(of_staging, "image")


def test_spans_go_to_the_node() -> None:
    (slice_,) = [one for one in overlay(IMAGES) if one["kind"] == "EndpointSlice"]
    (service,) = [one for one in overlay(IMAGES) if named(one) == "Service collector"]
    assert slice_["endpoints"][0]["addresses"] == [NODE]
    assert [one["name"] for one in slice_["ports"]] == [one["name"] for one in service["spec"]["ports"]]
    assert "selector" not in service["spec"]


def named_ones(manifests: list[Manifest]) -> Mapping[str, Manifest]:
    """By kind and name."""
    return {named(one): one for one in manifests}


def without(tree: object, *keys: str) -> object:
    """A tree without whatever stands by these keys in it."""
    if isinstance(tree, Mapping):
        return {key: without(one, *keys) for key, one in tree.items() if key not in keys}
    return [without(one, *keys) for one in tree] if isinstance(tree, list) else tree
