"""What Git says is what a cluster takes: manifests as they are, and pods where only restricted ones may be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import pytest

from tests.cluster.kube import RefusedError
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.chart.helm import VARIANTS, template, values_of
from tests.deploy.gitops import rendered as gitops
from tests.deploy.manifests import Manifest, manifests, named
from tests.deploy.pods import as_deployments, as_pods
from tests.deploy.tally import count


def of_the_chart(variant: str) -> list[Manifest]:
    return manifests(template(values_of(variant)))


def of_an_environment(kind: str, environment: str) -> list[Manifest]:
    return [*gitops.manifests(gitops.of(kind, environment))]


RENDERS: Mapping[str, Callable[[], Sequence[Manifest]]] = {
    **{f"chart {variant}": partial(of_the_chart, variant) for variant in VARIANTS},
    **{
        f"{kind} {environment}": partial(of_an_environment, kind, environment)
        for kind in ("platform", "config", "app")
        for environment in gitops.ENVIRONMENTS
    },
    "argocd by hand": gitops.by_hand,
    "argocd generated": gitops.generated,
}


@pytest.fixture(scope="module", params=RENDERS)
def render(request: pytest.FixtureRequest) -> Sequence[Manifest]:
    found = RENDERS[request.param]()
    count("renders")
    return found


def test_a_cluster_takes_each_manifest(api_server: ApiServer, render: Sequence[Manifest]) -> None:
    assert objections(api_server, render) == []
    count("manifests", len(render))


def test_no_manifest_stands_there_twice(render: Sequence[Manifest]) -> None:
    names = [named(one) for one in render]
    assert sorted(names) == sorted(set(names))


def test_pods_are_taken_where_only_restricted_ones_are(api_server: ApiServer, render: Sequence[Manifest]) -> None:
    pods = [*as_pods(render), *as_deployments(render)]
    assert objections(api_server, pods) == []
    count("pod templates", len(pods))


@pytest.fixture(scope="module", autouse=True)
def _surroundings(api_server: ApiServer) -> None:
    """What is in production before Postrider comes: priorities that pods name, limits, and addresses of Services."""
    api_server.serve_addresses("172.20.0.0/16")
    for manifest in of_an_environment("config", "prod"):
        if manifest["kind"] in {"PriorityClass", "LimitRange"}:
            api_server.apply(manifest)


def objections(api_server: ApiServer, given: Iterable[Manifest]) -> list[str]:
    """What the server refuses, and what it warns of."""
    found = []
    for manifest in given:
        api_server.namespace(manifest["metadata"].get("namespace", "postrider"))
        try:
            found += [f"{named(manifest)}: {warning}" for warning in api_server.dry_run(manifest)]
        except RefusedError as error:
            found.append(str(error))
    return found
