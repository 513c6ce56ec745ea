"""The chart and what stands beside it make one installation: what each names is there, and what they ask for fits."""

import math
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.deploy.gitops.applicationsets import Tree
from tests.deploy.gitops.rendered import ENVIRONMENTS, components, documents, manifests, of
from tests.deploy.gitops.test_environments import config, one, pods, restored, values
from tests.deploy.tools import program
from tests.observe.exported import recorded, samples
from tests.observe.test_dashboards import SHIPPED, names_in
from tests.servers import ROOT

each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS)
UNITS = {"m": 0.001, "Mi": 2**20, "Gi": 2**30, "": 1}
# What NGINX Gateway Fabric makes of the Gateway: at most so many pods, which ask for the namespace's default.
GATEWAY_PODS = 3
# The processors of the machine that GitHub rehearses on, and what others ask for there: kind's own pods 0.95,
# Kyverno's 0.4, KEDA's 0.3, the rest of the platform nothing.
RUNNER, OTHERS = 4, 1.65


def app(environment: str) -> list[Tree]:
    return manifests(of("app", environment))


def everything(environment: str) -> list[Tree]:
    """All objects in the namespace that we write."""
    return [*config(environment), *app(environment)]


@each_environment
def test_pods_find_each_key_of_the_secret_that_they_need(environment: str) -> None:
    secret = one(config(environment), "ExternalSecret", values(environment)["secrets"]["existingSecret"])["spec"]
    held = set(secret["target"]["template"]["data"])
    asked = {
        (wanted["name"], wanted["key"])
        for _, pod in pods(app(environment))
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
        for variable in container.get("env", [])
        for wanted in [variable.get("valueFrom", {}).get("secretKeyRef", {"optional": True})]
        if not wanted.get("optional")
    }
    asked |= {
        (each["name"], each["key"])
        for scaler in app(environment)
        if scaler["kind"] == "TriggerAuthentication"
        for each in scaler["spec"]["secretTargetRef"]
    }
    assert {name for name, _ in asked} == {secret["target"]["name"]}
    assert {key for _, key in asked} <= held


@each_environment
def test_all_that_pods_may_be_told_in_secret_can_come_from_the_store(environment: str) -> None:
    secret = one(config(environment), "ExternalSecret", values(environment)["secrets"]["existingSecret"])["spec"]
    asked = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for _, pod in pods(app(environment))
        for container in pod["spec"]["containers"]
        for variable in container.get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    # The collector beside them asks nobody who he is.
    assert asked - set(secret["target"]["template"]["data"]) == {"OTEL_EXPORTER_OTLP_HEADERS"}


@each_environment
def test_priorities_accounts_and_configurations_that_pods_name_are_there(environment: str) -> None:
    objects = everything(environment)
    there = {kind: {each["metadata"]["name"] for each in objects if each["kind"] == kind} for kind in kinds(objects)}
    for name, pod in pods(objects):
        spec = pod["spec"]
        assert spec.get("priorityClassName") in {None, "", *there["PriorityClass"]}, name
        assert spec.get("serviceAccountName", "default") in {"default", *there["ServiceAccount"]}, name
        for volume in spec.get("volumes", []):
            if "configMap" in volume:
                assert volume["configMap"]["name"] in there["ConfigMap"], name


def kinds(objects: list[Tree]) -> set[str]:
    return {each["kind"] for each in objects}


@each_environment
def test_the_routes_name_the_gateway_and_its_listeners(environment: str) -> None:
    objects = everything(environment)
    listeners = {each["name"] for each in one(objects, "Gateway", "postrider")["spec"]["listeners"]}
    named = {
        (parent["name"], parent["sectionName"])
        for route in objects
        if route["kind"] == "HTTPRoute"
        for parent in route["spec"]["parentRefs"]
    }
    assert named == {("postrider", listener) for listener in listeners}


@each_environment
def test_policies_admit_pods_that_there_are(environment: str) -> None:
    """A peer in this namespace is the label of a pod of ours, of an operator's pods, or of the gateway's."""
    objects = everything(environment)
    labels = [pod["metadata"]["labels"] for _, pod in pods(objects)]
    labels += [each["metadata"]["labels"] for each in objects if each["kind"] == "Pod"]
    labels += [{"cnpg.io/cluster": each["metadata"]["name"]} for each in objects if each["kind"] == "Cluster"]
    labels += [{"cnpg.io/poolerName": each["metadata"]["name"]} for each in objects if each["kind"] == "Pooler"]
    labels += [{"gateway.networking.k8s.io/gateway-name": "postrider"}, {"acme.cert-manager.io/http01-solver": "true"}]
    # Releases judge by a pod of theirs, which only Argo Rollouts makes.
    labels += [{**each, "app.kubernetes.io/component": "probe"} for each in labels if "helm.sh/chart" in each]
    for policy in objects:
        if policy["kind"] == "NetworkPolicy":
            for wanted in peers(policy["spec"]):
                assert any(wanted.items() <= each.items() for each in labels), (policy["metadata"]["name"], wanted)


def peers(spec: Tree) -> Iterator[dict[str, str]]:
    """The labels of pods of the same namespace that a policy chooses or admits."""
    yield spec["podSelector"].get("matchLabels", {})
    for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
        for peer in [*rule.get("from", []), *rule.get("to", [])]:
            if "podSelector" in peer and "namespaceSelector" not in peer:
                yield peer["podSelector"]["matchLabels"]


@each_environment
def test_all_pods_fit_into_the_quota_in_the_middle_of_a_release(environment: str) -> None:
    objects = everything(environment)
    asked, room = asked_and_room(objects)
    assert {name: (asked[name], room[name]) for name in asked if asked[name] > room[name]} == {}
    # A quota that nothing comes near holds back nothing either.
    assert asked["requests.cpu"] > room["requests.cpu"] / 2


def test_a_rehearsal_fits_into_the_quota_and_that_onto_githubs_machine() -> None:
    asked, room = asked_and_room([*config("dev"), *rehearsed()])
    assert {name: (asked[name], room[name]) for name in asked if asked[name] > room[name]} == {}
    assert room["requests.cpu"] + OTHERS <= RUNNER
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"Kubernetes 1\.31 or newer with (\d+) CPUs", readme) == [str(RUNNER)]


def test_a_restored_cluster_fits_into_the_quota_beside_the_old_one() -> None:
    objects = [*everything("prod"), *restored()]
    asked, room = asked_and_room(objects)
    assert {name: (asked[name], room[name]) for name in asked if asked[name] > room[name]} == {}
    # Each instance has a disk for its data and one for its log.
    disks = 2 * sum(each["spec"]["instances"] for each in objects if each["kind"] == "Cluster")
    assert disks <= amount(one(objects, "ResourceQuota", "postrider")["spec"]["hard"]["persistentvolumeclaims"])


def rehearsed() -> list[Tree]:
    """What .ci/cluster releases: dev's values, and others that it sets."""
    options = re.findall(r"""(--set(?:-json)?) ('[^']+'|[^\s"'$]+)(?=\s)""", (ROOT / ".ci" / "cluster").read_text())
    assert ("--set", "api.replicas=2") in options
    words = [word.strip("'") for option in options for word in option]
    command = [
        program("helm"),
        "template",
        "postrider",
        "charts/postrider",
        "--values",
        "argocd/envs/dev/values.yaml",
        *words,
    ]
    return list(documents(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout))


def asked_and_room(objects: list[Tree]) -> tuple[dict[str, float], dict[str, float]]:
    """What all pods ask for in the middle of a release, and the quota for it."""
    quota = one(objects, "ResourceQuota", "postrider")["spec"]["hard"]
    (default,) = [each for each in one(objects, "LimitRange", "postrider")["spec"]["limits"] if "default" in each]
    asked = dict.fromkeys(("pods", "requests.cpu", "requests.memory", "limits.memory"), 0.0)
    for count, containers in demands(objects):
        asked["pods"] += count
        for resources in containers:
            requests = {**default["defaultRequest"], **resources.get("requests", {})}
            asked["requests.cpu"] += count * amount(requests["cpu"])
            asked["requests.memory"] += count * amount(requests["memory"])
            asked["limits.memory"] += count * amount({**default["default"], **resources.get("limits", {})}["memory"])
    return asked, {name: amount(quota[name]) for name in asked}


def demands(objects: list[Tree]) -> Iterator[tuple[float, list[Tree]]]:
    """How many pods of a kind there can be at once, and what each of their containers asks for."""
    most = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"].get("maxReplicas") or each["spec"]["maxReplicaCount"]
        for each in objects
        if each["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}
    }
    for each in objects:
        spec, name = each.get("spec", {}), each["metadata"]["name"]
        if each["kind"] in {"Deployment", "Rollout", "StatefulSet", "Job"}:
            count = most.get(name, spec.get("replicas", 1))
            yield count + surge(spec, count), [one["resources"] for one in spec["template"]["spec"]["containers"]]
        elif each["kind"] == "Cluster":
            yield spec["instances"], [spec["resources"]]
        elif each["kind"] == "Pooler":
            yield spec["instances"], [one["resources"] for one in spec["template"]["spec"]["containers"]]
    yield GATEWAY_PODS, [{}]


def surge(spec: Tree, count: int) -> int:
    """How many pods a release adds for a while."""
    if "trafficRouting" in spec.get("strategy", {}).get("canary", {}):
        return count
    strategy = spec.get("strategy", {})
    told = strategy.get("canary") or strategy.get("rollingUpdate") or {}
    if strategy.get("type") == "Recreate" or ("replicas" not in spec and "strategy" not in spec):
        return 0
    return math.ceil(count * int(str(told.get("maxSurge", "25%")).removesuffix("%")) / 100)


def amount(text: str) -> float:
    """A quantity as Kubernetes writes it: cores, or bytes."""
    found = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", text)
    assert found, text
    return float(found[1]) * UNITS[found[2]]


@each_environment
def test_releases_are_judged_by_metrics_that_there_are(environment: str) -> None:
    templates = [each for each in app(environment) if each["kind"] == "AnalysisTemplate"]
    queries = [
        metric["provider"]["prometheus"]["query"]
        for each in templates
        for metric in each["spec"]["metrics"]
        if "prometheus" in metric["provider"]
    ]
    asked = {name for query in queries for name in names_in(query)}
    assert asked - samples() - recorded() == set()
    assert bool(asked) == (environment != "dev")


@each_environment
def test_prometheus_stands_where_releases_and_grafana_look_for_it(environment: str) -> None:
    stack = one(components(), "Application", f"kube-prometheus-stack-{environment}")["spec"]
    told = stack["source"]["helm"]["valuesObject"]
    address = f"http://{told['fullnameOverride']}-prometheus.{stack['destination']['namespace']}.svc:9090"
    asked = set(re.findall(r"address: (http\S+)", str(app(environment)).replace("'", "")))
    assert {each.rstrip(",}") for each in asked} <= {address}
    assert told["grafana"]["env"]["PROMETHEUS_URL"] == address
    jaeger = one(config(environment), "Service", "jaeger")
    assert told["grafana"]["env"]["JAEGER_URL"] == "http://jaeger.postrider.svc:16686"
    assert 16686 in {port["port"] for port in jaeger["spec"]["ports"]}


@each_environment
def test_spans_go_where_a_collector_listens(environment: str) -> None:
    collector = one(config(environment), "Service", "collector")
    (port,) = [each["port"] for each in collector["spec"]["ports"]]
    assert values(environment)["monitoring"]["traces"]["endpoint"] == f"http://collector:{port}"


@each_environment
def test_every_alert_leads_to_a_runbook_and_a_dashboard_that_there_are(environment: str) -> None:
    alerts = [
        rule
        for each in app(environment)
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    boards = {file.stem for file in SHIPPED.glob("*.json")}
    grafana = values(environment)["monitoring"]["rules"].get("grafana", "")
    assert len(alerts) > 30
    for alert in alerts:
        runbook = alert["annotations"]["runbook_url"]
        assert runbook.startswith("https://github.com/postrider/postrider/blob/main/k8s/runbooks/"), alert["alert"]
        assert (ROOT / runbook.partition("/blob/main/")[2].partition("#")[0]).exists()
        assert alert["annotations"]["dashboard_url"].removeprefix(f"{grafana}/d/").partition("/")[0] in boards


def test_the_collector_keeps_its_promises_by_the_files_beside_it() -> None:
    for name in ("collector", "jaeger"):
        (deployment,) = [
            each for each in config("prod") if (each["kind"], each["metadata"]["name"]) == ("Deployment", name)
        ]
        (volume,) = deployment["spec"]["template"]["spec"]["volumes"]
        held = one(config("prod"), "ConfigMap", volume["configMap"]["name"])["data"]
        assert held == {f"{name}.yaml": (ROOT / "k8s" / "telemetry" / f"{name}.yaml").read_text()}


def test_the_autoscaler_may_what_the_readme_says_and_no_more() -> None:
    (job,) = [each for each in config("prod") if each["kind"] == "Job"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    granted = re.findall(r"GRANT [^';]+ TO postrider_autoscaler", " ".join(container["command"]))
    told = re.findall(r"^(GRANT .+ TO postrider_autoscaler);$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert granted == told
    assert len(told) == 3
