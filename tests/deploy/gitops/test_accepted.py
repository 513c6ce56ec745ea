"""A real API server, which knows the kinds of every component, takes all that Git says, as strictly as it can."""

import pytest

from tests.deploy.apiserver.server import ApiServer
from tests.deploy.crds import fetched, pins
from tests.deploy.gitops.applicationsets import Tree
from tests.deploy.gitops.rendered import (
    ARGOCD,
    by_hand,
    components,
    documents,
    generated,
    manifests,
    of,
    packaged,
    paths,
)
from tests.deploy.pods import as_pods
from tests.deploy.tally import count, leave_to_kind
from tests.servers import ROOT

# The server is compiled first where it never was.
pytestmark = pytest.mark.timeout(900)
# Components whose chart lies in their Go module: what is pinned there is rendered. Of the others the rehearsal on
# kind has to tell, and the closing line names them.
IN_MODULES = {"cert-manager": ("github.com/cert-manager/cert-manager", "deploy/charts/cert-manager")}


def taken(server: ApiServer, manifest: Tree) -> None:
    """The server takes a manifest and has nothing to warn of."""
    assert server.dry_run(manifest) == []
    count("manifests")


@pytest.mark.parametrize("application", generated(), ids=lambda one: one["metadata"]["name"])
def test_what_an_application_holds_is_taken(api_server: ApiServer, application: Tree) -> None:
    if "platform" in paths(application):
        # Applications are Argo CD's, in its own namespace, where it has no say.
        api_server.namespace("argocd", "privileged")
    for manifest in manifests(application):
        taken(api_server, manifest)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_pods_of_ours_are_taken_where_nothing_is_allowed(api_server: ApiServer, environment: str) -> None:
    objects = [*manifests(of("config", environment)), *manifests(of("app", environment))]
    # Pods that name a priority need it to be there, and not only to be takeable.
    for each in objects:
        if each["kind"] == "PriorityClass":
            api_server.apply(each)
    for pod in as_pods(objects):
        assert api_server.dry_run(pod) == []
        count("pod templates")


def test_argo_cds_own_objects_are_taken(api_server: ApiServer) -> None:
    api_server.namespace("argocd", "privileged")
    files = [*sorted(ARGOCD.glob("appsets/*.yaml")), *sorted(ARGOCD.glob("examples/*.yaml"))]
    sets = [one for file in files for one in documents(file.read_text())]
    for manifest in [*by_hand(), *generated(), *sets]:
        taken(api_server, manifest)


def test_the_example_of_a_restore_is_taken(api_server: ApiServer) -> None:
    text = (ROOT / "k8s" / "components" / "postgres-backup" / "restore-example.yaml").read_text()
    for manifest in documents(text):
        taken(api_server, {**manifest, "metadata": {**manifest["metadata"], "namespace": "postrider"}})


def test_components_whose_charts_are_at_hand_render_with_our_values_and_are_taken(api_server: ApiServer) -> None:
    for application in components():
        name = component(application)
        if name not in IN_MODULES:
            leave_to_kind(name)
            continue
        module, folder = IN_MODULES[name]
        (pin,) = [pin for pin in pins() if pin.path == module]
        assert application["spec"]["source"]["targetRevision"] == pin.version
        api_server.namespace(name, "baseline")
        for manifest in packaged(application, fetched(pin) / folder):
            if manifest["kind"] != "CustomResourceDefinition":
                taken(api_server, manifest)


def test_kind_renders_the_components_of_dev_and_those_are_all() -> None:
    assert "< <(components dev)" in (ROOT / ".ci" / "cluster").read_text()
    assert {component(one) for one in manifests(of("platform", "dev"))} == {component(one) for one in components()}


def component(application: Tree) -> str:
    """Which component of the platform it is that an Application installs in its environment."""
    return str(application["metadata"]["name"].rpartition("-")[0])
