"""How a new version comes, is judged, and is taken back."""

import json
import re
from typing import Any

import pytest

from tests.deploy.chart.catalogue import told
from tests.deploy.chart.helm import Key, Manifest, by_key, of_kind, pod_templates, render, values_of

ROLLOUTS = "argoproj.io/v1alpha1"


@pytest.fixture(scope="module")
def full() -> dict[Key, Manifest]:
    return by_key(render(values_of("full")))


def test_a_release_that_is_late_is_taken_back(full: dict[Key, Manifest]) -> None:
    rollouts = of_kind(list(full.values()), "Rollout")
    assert len(rollouts) == 5
    for one in rollouts:
        assert one["spec"]["progressDeadlineAbort"] is True
        assert one["spec"]["rollbackWindow"] == {"revisions": 3}


def test_a_pod_that_crashes_again_and_again_never_counts(full: dict[Key, Manifest]) -> None:
    deployed = render(values_of("full"), sets=["rollouts.enabled=false"])
    served = {one["metadata"]["name"] for one in of_kind(list(full.values()), "Rollout")}
    heads = [one for one in (*full.values(), *deployed) if one["kind"] in {"Rollout", "Deployment"}]
    assert {one["spec"]["minReadySeconds"] for one in heads if one["metadata"]["name"] in served} == {10}


def test_the_api_is_a_canary_by_the_weights_of_its_route(full: dict[Key, Manifest]) -> None:
    canary = _canary(full, "postrider-api")
    assert canary["trafficRouting"] == {
        "plugins": {"argoproj-labs/gatewayAPI": {"namespace": "postrider", "httpRoute": "postrider"}}
    }
    backends = full[Key("HTTPRoute", "postrider")]["spec"]["rules"][0]["backendRefs"]
    assert [(one["name"], one["weight"]) for one in backends] == [
        (canary["stableService"], 100),
        (canary["canaryService"], 0),
    ]
    # So that everybody can be sent back at once.
    # Not even as false: Argo Rollouts writes itself back without, and Argo CD would take that for a difference.
    assert "dynamicStableScale" not in canary
    assert [one["setWeight"] for one in canary["steps"] if "setWeight" in one] == [5, 10, 25, 50]


def test_workers_are_a_canary_by_the_number_of_pods_judged_on_what_they_deliver(full: dict[Key, Manifest]) -> None:
    canary = _canary(full, "postrider-worker-first")
    assert "trafficRouting" not in canary
    assert [one["templateName"] for one in canary["analysis"]["templates"]] == [
        "postrider-worker-delivery",
        "postrider-worker-failures",
    ]
    maintenance = _canary(full, "postrider-worker-maintenance")["analysis"]["templates"]
    assert [one["templateName"] for one in maintenance] == ["postrider-worker-failures"]


def test_versions_are_told_apart_by_the_hash_of_their_pods(full: dict[Key, Manifest]) -> None:
    for one in of_kind(list(full.values()), "Rollout"):
        args = one["spec"]["strategy"]["canary"]["analysis"]["args"]
        assert [(arg["name"], arg["valueFrom"]["podTemplateHashValue"]) for arg in args] == [
            ("latest", "Latest"),
            ("stable", "Stable"),
        ]
    for name, query in _queries(full):
        assert 'version="{{args.latest}}"' in query, name
        assert set(re.findall(r"args\.(\w+)", query)) <= {"latest", "stable"}, name


def test_what_a_canary_is_held_to_is_the_objective_and_the_stable_version(full: dict[Key, Manifest]) -> None:
    for template, word in (("postrider-api-success-rate", "success"), ("postrider-api-latency", "latency")):
        judgements = full[Key("AnalysisTemplate", template)]["spec"]["metrics"]
        wanted = [f"{word}-against-the-objective", f"{word}-against-the-stable-version"]
        assert [one["name"] for one in judgements] == wanted
        assert ["stable" in one["provider"]["prometheus"]["query"] for one in judgements] == [False, True]
        # As long as the release takes.
        assert all("count" not in one for one in judgements)


def test_judgements_of_one_release_have_names_of_their_own(full: dict[Key, Manifest]) -> None:
    names = [name.split(": ")[1] for name, _ in _queries(full)]
    assert len(set(names)) == len(names) > 0


def test_one_failed_smoke_test_is_enough(full: dict[Key, Manifest]) -> None:
    (metric,) = full[Key("AnalysisTemplate", "postrider-smoke")]["spec"]["metrics"]
    assert "failureLimit" not in metric


def test_silence_judges_nothing(full: dict[Key, Manifest]) -> None:
    for template in of_kind(list(full.values()), "AnalysisTemplate"):
        for one in template["spec"]["metrics"]:
            if "prometheus" not in one["provider"]:
                continue
            for condition in (one["successCondition"], one["failureCondition"]):
                assert condition.startswith("len(result) > 0 && !isNaN(result[0]) && "), condition
            good = one["successCondition"].rsplit(" && ", 1)[1]
            assert one["failureCondition"].rsplit(" && ", 1)[1] == f"!({good})"
            assert one["inconclusiveLimit"] > 0
            assert one["consecutiveErrorLimit"] > 0


def test_every_metric_that_judges_is_one_that_the_product_tells(full: dict[Key, Manifest]) -> None:
    asked = {name for _, query in _queries(full) for name in re.findall(r"postrider_\w+", query)}
    assert asked
    assert asked <= told()


def test_every_template_that_a_release_names_is_there(full: dict[Key, Manifest]) -> None:
    for variant in ("full", "bluegreen"):
        manifests = by_key(render(values_of(variant)))
        named = set(_found("templateName", of_kind(list(manifests.values()), "Rollout")))
        assert named
        assert {name for name in named if Key("AnalysisTemplate", name) not in manifests} == set()


def test_an_event_goes_through_the_canary_before_callers_do(full: dict[Key, Manifest]) -> None:
    steps = _canary(full, "postrider-api")["steps"]
    assert steps[0] == {"setCanaryScale": {"replicas": 1}}
    smoke = steps[1]["analysis"]
    assert steps[2:4] == [{"setCanaryScale": {"matchTrafficWeight": True}}, {"setWeight": 5}]
    # From the step behind the first weight on.
    assert _canary(full, "postrider-api")["analysis"]["startingStep"] == 4
    assert smoke["templates"] == [{"templateName": "postrider-smoke"}]
    assert smoke["args"] == [{"name": "service", "value": "postrider-api-canary"}]
    container = pod_templates(list(full.values()))["postrider-smoke (analysis)"]["spec"]["containers"][0]
    assert container["args"][:4] == ["probe", "send", "--url", "http://{{args.service}}"]


def test_blue_and_green_is_one_value() -> None:
    manifests = by_key(render(values_of("bluegreen")))
    strategy = manifests[Key("Rollout", "postrider-api")]["spec"]["strategy"]["blueGreen"]
    assert (strategy["activeService"], strategy["previewService"]) == ("postrider-api", "postrider-api-preview")
    assert strategy["prePromotionAnalysis"]["args"] == [{"name": "service", "value": "postrider-api-preview"}]
    # Argo Rollouts refuses a judgement after the switch that has no end.
    assert [name for name, _ in _queries(manifests) if "api" in name] == [
        "postrider-api-latency: latency-against-the-objective",
        "postrider-api-success-rate: success-against-the-objective",
    ]
    for template in ("postrider-api-latency", "postrider-api-success-rate"):
        assert [one["count"] for one in manifests[Key("AnalysisTemplate", template)]["spec"]["metrics"]] == [5]
    (rule,) = manifests[Key("HTTPRoute", "postrider")]["spec"]["rules"]
    assert [one["name"] for one in rule["backendRefs"]] == ["postrider-api"]


def test_an_autoscaler_and_the_values_never_fight_about_the_number_of_pods(full: dict[Key, Manifest]) -> None:
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one
        for one in of_kind(list(full.values()), "HorizontalPodAutoscaler", "ScaledObject")
    }
    for one in of_kind(list(full.values()), "Rollout"):
        assert ("replicas" in one["spec"]) != (one["metadata"]["name"] in scaled)
    assert {one["spec"]["scaleTargetRef"]["apiVersion"] for one in scaled.values()} == {ROLLOUTS}


def test_keda_follows_what_may_be_sent_now_and_falls_back_to_a_number(full: dict[Key, Manifest]) -> None:
    scaled = full[Key("ScaledObject", "postrider-worker-retry")]["spec"]
    assert scaled["fallback"] == {"failureThreshold": 3, "replicas": 3}
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "postgresql"
    assert "'retry'" in trigger["metadata"]["query"]
    authentication = full[Key("TriggerAuthentication", trigger["authenticationRef"]["name"])]["spec"]
    assert [one["parameter"] for one in authentication["secretTargetRef"]] == ["connection"]


def test_migrations_go_before_the_pods_by_whoever_applies_them(full: dict[Key, Manifest]) -> None:
    argocd = full[Key("Job", "postrider-migrations")]["metadata"]["annotations"]
    assert argocd["argocd.argoproj.io/hook"] == "Sync"
    needed = [Key("ServiceAccount", "postrider-migrations"), Key("NetworkPolicy", "postrider")]
    needed += [key for key in full if key.kind == "ExternalSecret"]
    for key in needed:
        assert _wave(full[key]) < _wave(full[Key("Job", "postrider-migrations")]) < 0
    helm = by_key(render(values_of("ingress")))
    assert (
        helm[Key("Job", "postrider-migrations")]["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    )
    account = helm[Key("ServiceAccount", "postrider-migrations")]["metadata"]["annotations"]
    assert account["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert int(account["helm.sh/hook-weight"]) < 0


def test_migrations_need_no_object_that_comes_with_the_pods(full: dict[Key, Manifest]) -> None:
    (container,) = pod_templates(list(full.values()))["postrider-migrations"]["spec"]["containers"]
    assert "envFrom" not in container
    assert {"name": "POSTRIDER_PUBLIC_URL", "value": "https://hooks.example.com"} in container["env"]


def test_a_job_without_a_hook_has_a_new_name_whenever_it_is_another() -> None:
    (before,) = of_kind(render(values_of("minimal")), "Job")
    (same,) = of_kind(render(values_of("minimal"), sets=["api.replicas=3"]), "Job")
    (after,) = of_kind(render(values_of("minimal"), sets=['image.tag="0.2.0"']), "Job")
    assert before["metadata"]["name"] == same["metadata"]["name"] != after["metadata"]["name"]


def test_whoever_goes_back_finds_the_configuration_and_the_secret_of_then(full: dict[Key, Manifest]) -> None:
    for sets in (
        ['config.POSTRIDER_TELEMETRY__LOG_LEVEL="DEBUG"'],
        ['secrets.external.version="4"'],
    ):
        changed = by_key(render(values_of("full"), sets=sets))
        (before,), (after,) = _hashed(full) - _hashed(changed), _hashed(changed) - _hashed(full)
        assert before != after
        assert before in str(full[Key("Rollout", "postrider-api")])
        assert after in str(changed[Key("Rollout", "postrider-api")])
    for key, one in full.items():
        if key.name in _hashed(full):
            assert one["metadata"]["annotations"]["argocd.argoproj.io/sync-options"] == "PruneLast=true"


@pytest.mark.parametrize("surge", ["1", '"50%"'])
def test_a_surge_is_a_number_or_a_share(surge: str) -> None:
    for variant in ("full", "deployment-mode"):
        rendered = render(values_of(variant), sets=[f"rollouts.maxSurge={surge}", "database.maxConnections=0"])
        surges = set(_found("maxSurge", rendered))
        assert surges == {json.loads(surge)}


def test_a_node_can_always_be_emptied(full: dict[Key, Manifest]) -> None:
    budgets = of_kind(list(full.values()), "PodDisruptionBudget")
    assert len(budgets) == 5
    for one in budgets:
        assert one["spec"]["maxUnavailable"] == 1
        assert one["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def _canary(manifests: dict[Key, Manifest], name: str) -> Any:  # noqa: ANN401 a manifest's part
    return manifests[Key("Rollout", name)]["spec"]["strategy"]["canary"]


def _hashed(manifests: dict[Key, Manifest]) -> set[str]:
    return {key.name for key in manifests if key.name.startswith(("postrider-config-", "postrider-secrets-"))}


def _queries(manifests: dict[Key, Manifest]) -> list[tuple[str, str]]:
    return [
        (f"{key.name}: {metric['name']}", metric["provider"]["prometheus"]["query"])
        for key, one in manifests.items()
        if key.kind == "AnalysisTemplate"
        for metric in one["spec"]["metrics"]
        if "prometheus" in metric["provider"]
    ]


def _found(key: str, node: object) -> list[Any]:
    """Every value under a key, however deep."""
    if isinstance(node, list):
        return [name for one in node for name in _found(key, one)]
    if not isinstance(node, dict):
        return []
    here = [node[key]] if key in node else []
    return here + [name for one in node.values() for name in _found(key, one)]


def _wave(manifest: Manifest) -> int:
    return int(manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])
