"""Environments are what Git says: whole, pinned, within the rights of their projects, and of one piece."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.deploy.gitops.applicationsets import OURS, Tree, filled_in
from tests.deploy.gitops.rendered import (
    ARGOCD,
    ENVIRONMENTS,
    by_hand,
    components,
    documents,
    every_application,
    generated,
    manifests,
    of,
    projects,
    said_to_chart,
    sources,
)
from tests.servers import ROOT, Servers

each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS)
each_application = pytest.mark.parametrize("application", every_application(), ids=lambda one: one["metadata"]["name"])
COMPONENTS = ROOT / "k8s" / "components"
# Kinds that belong to no namespace, of those that we make ourselves.
OF_THE_CLUSTER = {"ClusterIssuer", "ImageValidatingPolicy", "Namespace", "PriorityClass"}


def values(environment: str) -> Tree:
    found: Tree = yaml.safe_load((ARGOCD / "envs" / environment / "values.yaml").read_text())
    return found


def config(environment: str) -> list[Tree]:
    return manifests(of("config", environment))


def one(objects: list[Tree], kind: str, name: str) -> Tree:
    """The one object of a kind and a name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def test_there_are_three_environments_and_each_has_the_same_files() -> None:
    assert ENVIRONMENTS == ["dev", "prod", "staging"]
    for environment in ENVIRONMENTS:
        files = sorted(file.name for file in (ARGOCD / "envs" / environment).iterdir())
        assert files == ["config.yaml", "image.yaml", "platform.yaml", "values.yaml"]


def test_each_environment_has_its_platform_what_is_ours_and_postrider() -> None:
    names = sorted(application["metadata"]["name"] for application in generated())
    assert names == sorted(f"{kind}-{each}" for kind in ("app", "config", "platform") for each in ENVIRONMENTS)


def test_no_two_applications_have_one_name() -> None:
    names = [application["metadata"]["name"] for application in every_application()]
    assert len(set(names)) == len(names)


def test_the_root_holds_what_is_written_down_and_nothing_else() -> None:
    root = one(by_hand(), "Application", "root")
    held = {(each["kind"], each["metadata"]["name"]) for each in manifests(root)}
    written = {(each["kind"], each["metadata"]["name"]) for each in by_hand()}
    assert held - written == {("ApplicationSet", "app"), ("ApplicationSet", "config"), ("ApplicationSet", "platform")}
    assert written - held == {("AppProject", "root"), ("Application", "root")}


@each_application
def test_an_application_keeps_to_its_project(application: Tree) -> None:
    project = projects()[application["spec"]["project"]]
    assert {source["repoURL"] for source in sources(application)} <= set(project["sourceRepos"])
    where = application["spec"]["destination"]
    allowed = [(each["name"], each["namespace"]) for each in project["destinations"]]
    assert (where["name"], where["namespace"]) in allowed or ("*", where["namespace"]) in allowed


@pytest.mark.parametrize("application", generated(), ids=lambda one: one["metadata"]["name"])
def test_a_project_lets_in_what_its_applications_hold(application: Tree) -> None:
    project = projects()[application["spec"]["project"]]
    for each in manifests(application):
        group = each["apiVersion"].rpartition("/")[0]
        kinds = "clusterResourceWhitelist" if each["kind"] in OF_THE_CLUSTER else "namespaceResourceWhitelist"
        assert {"group": group, "kind": each["kind"]} in project[kinds], each["metadata"]["name"]
        assert each["metadata"].get("namespace", "postrider") == application["spec"]["destination"]["namespace"]


@each_application
def test_what_is_not_ours_is_pinned_and_what_is_ours_follows_main_or_a_commit(application: Tree) -> None:
    for source in sources(application):
        version = source["targetRevision"]
        wanted = r"main|[0-9a-f]{40}" if source["repoURL"] == OURS else r"v?\d+\.\d+\.\d+"
        assert re.fullmatch(wanted, version), f"{source['repoURL']} {version}"


@each_application
def test_an_application_repairs_itself_and_tries_again(application: Tree) -> None:
    policy = application["spec"]["syncPolicy"]
    assert policy["automated"]["selfHeal"] is True
    assert "ServerSideApply=true" in policy["syncOptions"]
    # One that names a version or an image itself has to give up, or what is proposed instead would never begin.
    names = any(one["targetRevision"] != "main" or "values" in one.get("helm", {}) for one in sources(application))
    assert (policy["retry"]["limit"] > 0) is names


@each_application
def test_what_fails_is_tried_again_with_what_git_says_by_then(application: Tree) -> None:
    """Argo CD keeps to the commit that it began with otherwise, for ever where that cannot be applied."""
    assert application["spec"]["syncPolicy"]["retry"]["refresh"] is True


@each_application
def test_a_retry_applies_everything_again(application: Tree) -> None:
    """What is taken away last goes once all is healthy, which Argo CD asks only of what it applied in the same try: the
    configuration of pods that a release fell back to would go."""
    assert "ApplyOutOfSyncOnly=true" not in application["spec"]["syncPolicy"]["syncOptions"]


def test_production_loses_nothing_by_a_commit() -> None:
    pruned = {each["metadata"]["name"]: each["spec"]["syncPolicy"]["automated"]["prune"] for each in generated()}
    assert {name for name, prunes in pruned.items() if not prunes} == {"app-prod", "config-prod", "platform-prod"}


@each_environment
def test_each_environment_is_changed_in_one_window_of_its_own(environment: str) -> None:
    found = windows_of(of("app", environment))
    assert len(found) == 1
    assert [window for window in found if window in windows_of(of("app", "prod"))] == (
        found if environment == "prod" else []
    )


def windows_of(application: Tree) -> list[Tree]:
    """The windows that Argo CD holds an Application to: any of their lists names it, or with `andOperator` each."""
    destination = application["spec"]["destination"]
    told = {
        "applications": application["metadata"]["name"],
        "clusters": destination["name"],
        "namespaces": destination["namespace"],
    }
    return [
        window
        for window in projects()[application["spec"]["project"]]["syncWindows"]
        for named in [[any(fnmatch(told[key], each) for each in window[key]) for key in told if window.get(key)]]
        if named and (all if window.get("andOperator") else any)(named)
    ]


def test_a_release_is_the_chart_and_the_image_of_one_commit_with_the_values_of_today() -> None:
    for environment in ENVIRONMENTS:
        (chart,) = sources(of("app", environment))
        folder = ARGOCD / "envs" / environment
        release = yaml.safe_load((folder / "image.yaml").read_text())["release"]
        assert chart["targetRevision"] == release["revision"]
        assert said_to_chart(chart["helm"]) == {**values(environment), "image": {"digest": release["digest"]}}


def test_no_application_is_made_of_two_commits_of_one_repository() -> None:
    for application in every_application():
        revisions: dict[str, set[str]] = {}
        for source in sources(application):
            revisions.setdefault(source["repoURL"], set()).add(source["targetRevision"])
        assert all(len(found) == 1 for found in revisions.values()), application["metadata"]["name"]


@each_environment
def test_components_come_in_waves_what_others_need_first(environment: str) -> None:
    waves = {
        each["metadata"]["name"].removesuffix(f"-{environment}"): int(
            each["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
        )
        for each in manifests(of("platform", environment))
    }
    assert waves["gateway-api"] < waves["cert-manager"] <= waves["external-secrets"]
    assert waves["cert-manager"] < waves["nginx-gateway-fabric"] < waves["argo-rollouts"]
    assert waves["kube-prometheus-stack"] <= waves["keda"]


def test_every_component_is_in_every_environment_in_the_same_version() -> None:
    versions: dict[str, set[str]] = {}
    for each in components():
        name = each["metadata"]["name"].rpartition("-")[0]
        versions.setdefault(name, set()).add(each["spec"]["source"]["targetRevision"])
    assert len(components()) == len(versions) * len(ENVIRONMENTS)
    assert [name for name, found in versions.items() if len(found) != 1] == []


def test_a_component_without_a_version_or_with_a_word_too_many_is_refused() -> None:
    application = of("platform", "dev")
    said = application["spec"]["source"]["helm"]
    for wrong, message in (
        ({"keda": {"version": ""}}, "components.keda.version is missing: nothing runs that is not pinned"),
        ({"keda": {"revision": "1"}}, "components.keda.revision means nothing"),
    ):
        helm = {**said, "valuesObject": {**said["valuesObject"], "components": wrong}}
        spec = {**application["spec"], "source": {**application["spec"]["source"], "helm": helm}}
        with pytest.raises(ValueError, match=message):
            manifests({**application, "spec": spec})


def test_what_was_aborted_is_told_with_its_image_and_its_environment() -> None:
    for environment in ENVIRONMENTS:
        rollouts = one(components(), "Application", f"argo-rollouts-{environment}")
        told = rollouts["spec"]["source"]["helm"]["valuesObject"]["notifications"]
        body = told["templates"]["template.rollout-aborted"]
        assert f'"environment": "{environment}"' in body
        assert '"image": "{{(index .rollout.spec.template.spec.containers 0).image}}"' in body
        event = re.findall(r'"event_type": "([\w-]+)"', body)
        workflow = (ROOT / ".github" / "workflows" / "rollback.yml").read_text()
        assert event == re.findall(r"types: \[(.+)\]", workflow) == ["rollout-aborted"]
        assert told["subscriptions"] == [{"recipients": ["github"], "triggers": ["on-rollout-aborted"]}]


def test_what_is_deployed_is_told_to_the_workflow_that_promotes() -> None:
    told = yaml.safe_load((ARGOCD / "bootstrap" / "values.yaml").read_text())["notifications"]
    workflow = (ROOT / ".github" / "workflows" / "promote.yml").read_text()
    event = re.findall(r'"event_type": "([\w-]+)"', told["templates"]["template.deployed"])
    assert event == re.findall(r"types: \[(.+)\]", workflow) == ["deployed"]
    for environment in ENVIRONMENTS:
        metadata = of("app", environment)["metadata"]
        assert "notifications.argoproj.io/subscribe.on-deployed.github" in metadata["annotations"]
        assert metadata["labels"] == {"postrider.dev/environment": environment}


@each_environment
def test_argo_cd_sends_an_event_before_it_tells_what_is_deployed(environment: str) -> None:
    """It runs hooks of its own, and none of Helm's tests."""
    smoke = one(manifests(of("app", environment)), "Pod", "postrider-smoke")["metadata"]["annotations"]
    assert smoke["argocd.argoproj.io/hook"] == "PostSync"
    assert smoke["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_renovate_finds_every_version_that_is_pinned() -> None:
    renovate = yaml.safe_load((ROOT / ".github" / "renovate.json").read_text())
    texts = {
        name: (ROOT / name).read_text() for name in ("argocd/platform/values.yaml", "argocd/bootstrap/argocd.yaml")
    }
    found = [
        match.groupdict()["currentValue"]
        for manager in renovate["customManagers"]
        for name, text in texts.items()
        if any(re.search(pattern.strip("/"), name) for pattern in manager["managerFilePatterns"])
        # Renovate names groups as JavaScript does.
        for wanted in manager["matchStrings"]
        for match in re.finditer(wanted.replace("(?<", "(?P<"), text)
    ]
    pinned = {
        source["targetRevision"]
        for each in every_application()
        for source in sources(each)
        if source["repoURL"] != OURS
    }
    assert sorted(found) == sorted(set(found)) == sorted(pinned)


@each_environment
def test_every_container_of_a_pod_is_asked_who_signed_its_image(environment: str) -> None:
    """Kyverno reads the images of each kind of container into a list of its own."""
    policy = one(config(environment), "ImageValidatingPolicy", "postrider-images")["spec"]
    (validation,) = policy["validations"]
    judged, verified = validation["expression"].split(")", 1)
    assert set(judged.strip("(").split(" + ")) == {
        "images.containers",
        "images.initContainers",
        "images.ephemeralContainers",
    }
    assert "verifyImageSignatures(image, [attestors.release])).all(count, count > 0)" in verified


@each_environment
def test_the_namespace_is_restricted_and_stays(environment: str) -> None:
    metadata = one(config(environment), "Namespace", "postrider")["metadata"]
    assert {metadata["labels"][f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {
        "restricted"
    }
    assert "Delete=false" in metadata["annotations"]["argocd.argoproj.io/sync-options"]


@each_environment
def test_the_gateway_answers_to_the_name_that_the_chart_is_told(environment: str) -> None:
    told = values(environment)
    gateway = one(config(environment), "Gateway", "postrider")
    hosts = {listener["name"]: listener["hostname"] for listener in gateway["spec"]["listeners"]}
    (host,) = told["gateway"]["hostnames"]
    assert hosts == {"http": host, "https": host}
    assert told["config"]["POSTRIDER_PUBLIC_URL"] == f"https://{host}"


@each_environment
def test_the_chart_is_told_how_many_connections_the_database_takes(environment: str) -> None:
    cluster = one(config(environment), "Cluster", "postgres")
    most = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"])
    assert values(environment)["database"]["maxConnections"] == most


def test_a_failover_keeps_what_was_accepted_where_there_is_a_second_instance() -> None:
    clusters = {each: one(config(each), "Cluster", "postgres")["spec"] for each in ENVIRONMENTS}
    assert {each: spec["instances"] for each, spec in clusters.items()} == {"dev": 1, "staging": 2, "prod": 3}
    for each, spec in clusters.items():
        wanted = None if each == "dev" else {"method": "any", "number": 1, "dataDurability": "required"}
        assert spec["postgresql"].get("synchronous") == wanted


def test_a_restored_cluster_is_productions_in_all_but_where_it_comes_from() -> None:
    (cluster, policy) = restored()
    production = one(config("prod"), "Cluster", "postgres")["spec"]
    others = {key for key in {*production, *cluster["spec"]} if production.get(key) != cluster["spec"].get(key)}
    assert others == {"bootstrap", "externalClusters", "backup"}
    recovery, begun = cluster["spec"]["bootstrap"]["recovery"], production["bootstrap"]["initdb"]
    assert {key: recovery[key] for key in ("database", "owner", "secret")} == {
        key: begun[key] for key in ("database", "owner", "secret")
    }
    store, saved = production["backup"]["barmanObjectStore"], cluster["spec"]["backup"]["barmanObjectStore"]
    assert saved == {**store, "serverName": cluster["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == {"cnpg.io/cluster": cluster["metadata"]["name"]}


def test_a_restored_cluster_may_call_whom_the_old_one_may_and_is_called_by_the_same() -> None:
    (_, policy) = restored()
    old = [
        yaml.safe_load(
            re.sub(r"cnpg.io/cluster: postgres\b", "cnpg.io/cluster: postgres-restored", yaml.safe_dump(each))
        )
        for each in config("prod")
        if each["kind"] == "NetworkPolicy"
        and each["spec"]["podSelector"].get("matchLabels") == {"cnpg.io/cluster": "postgres"}
    ]
    assert len(old) == 3
    for way, end in (("ingress", "from"), ("egress", "to")):
        wanted = [rule for each in old for rule in each["spec"].get(way, [])]
        assert pairs(policy["spec"][way], end) == pairs(wanted, end)


def restored() -> list[Tree]:
    return list(documents((COMPONENTS / "postgres-backup" / "restore-example.yaml").read_text()))


def pairs(rules: list[Tree], end: str) -> set[str]:
    """Each peer with each port that rules of a policy let it have."""
    return {
        json.dumps([peer, port], sort_keys=True)
        for rule in rules
        for peer in rule.get(end, [{}])
        for port in rule["ports"]
    }


def test_only_production_has_backups_and_refuses_images_that_nobody_signed() -> None:
    backed = {each for each in ENVIRONMENTS if "backup" in one(config(each), "Cluster", "postgres")["spec"]}
    assert backed == {"prod"}
    actions = {
        each: one(config(each), "ImageValidatingPolicy", "postrider-images")["spec"]["validationActions"]
        for each in ENVIRONMENTS
    }
    assert actions == {"dev": ["Audit"], "staging": ["Audit"], "prod": ["Deny"]}


def pods(objects: list[Tree]) -> Iterator[tuple[str, Tree]]:
    """The pod templates among objects, with the name of what holds them."""
    for each in objects:
        template = each.get("spec", {}).get("template")
        if each["kind"] in {"Deployment", "StatefulSet", "Rollout", "Job"} and template:
            yield each["metadata"]["name"], template


@each_environment
def test_pods_of_ours_may_nothing_and_hold_no_token(environment: str) -> None:
    checked = 0
    for name, pod in pods(config(environment)):
        spec = pod["spec"]
        assert (spec["automountServiceAccountToken"], spec["securityContext"]["runAsNonRoot"]) == (False, True), name
        for container in spec["containers"]:
            context: dict[str, Any] = container["securityContext"]
            assert context == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "resources" in container
            # What runs to its end is asked for nothing before.
            probed = spec.get("restartPolicy") != "Never"
            assert ({"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)) is probed, name
        checked += 1
    assert checked == (3 if environment == "dev" else 4)


@each_environment
def test_nobody_in_the_namespace_speaks_with_anybody_unless_a_policy_says_so(environment: str) -> None:
    policies = [each["spec"] for each in config(environment) if each["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    for name, pod in pods(config(environment)):
        chosen = [
            policy
            for policy in policies
            if policy["podSelector"]
            and policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ]
        assert chosen, name


@each_environment
def test_the_secret_is_put_together_from_what_the_store_holds(environment: str) -> None:
    objects = config(environment)
    secret = one(objects, "ExternalSecret", values(environment)["secrets"]["existingSecret"])["spec"]
    store = secret["secretStoreRef"]
    assert one(objects, store["kind"], store["name"])
    (taken,) = secret["dataFrom"]
    asked = set(re.findall(r"{{ \.(\w+) }}", str(secret["target"]["template"]["data"])))
    assert taken == {"extract": {"key": "postrider"}}
    if environment == "dev":
        drawn = one(objects, "ExternalSecret", "postrider")["spec"]
        assert asked == set(drawn["target"]["template"]["data"])
        names = {each["rewrite"][0]["regexp"]["target"] for each in drawn["dataFrom"]}
        assert set(re.findall(r"{{ \.(\w+)", str(drawn["target"]["template"]["data"]))) == names


@each_environment
def test_secrets_are_asked_for_after_the_store_that_they_are_in(environment: str) -> None:
    """One whose store or source is not there is degraded, and Argo CD gives up its wave."""
    objects = config(environment)
    asked = [each for each in objects if each["kind"] == "ExternalSecret"]
    made = {each["spec"]["target"]["name"]: each for each in asked}
    assert len(asked) > 4
    for each in asked:
        for needed in sources_of(each, objects, made):
            assert wave(needed) < wave(each), (each["metadata"]["name"], needed["kind"])


def sources_of(secret: Tree, objects: list[Tree], made: dict[str, Tree]) -> Iterator[Tree]:
    """What must be there before an ExternalSecret: its store with account and rights, what that holds, generators."""
    if "secretStoreRef" in secret["spec"]:
        store = secret["spec"]["secretStoreRef"]
        yield one(objects, store["kind"], store["name"])
        yield from (each for each in objects if each["metadata"]["name"] in {"secrets-reader", "postrider-secrets"})
        yield from (made[key] for each in secret["spec"]["dataFrom"] if (key := each["extract"]["key"]) in made)
        return
    for each in secret["spec"]["dataFrom"]:
        generator = each["sourceRef"]["generatorRef"]
        yield one(objects, generator["kind"], generator["name"])


def wave(manifest: Tree) -> int:
    return int(manifest["metadata"].get("annotations", {}).get("argocd.argoproj.io/sync-wave", "0"))


def test_what_is_encrypted_by_sops_is_what_the_secret_is_put_together_from() -> None:
    example = yaml.safe_load((COMPONENTS / "secrets-sops" / "postrider.example.yaml").read_text())
    drawn = one(config("dev"), "ExternalSecret", "postrider")["spec"]["target"]["template"]["data"]
    secret = one(config("staging"), "ExternalSecret", "postrider-1")["spec"]["target"]["template"]["data"]
    may_be_left_out = set(re.findall(r'{{ index \. "([\w-]+)" \| default "" }}', str(secret)))
    assert may_be_left_out == {"mail-url", "egress-proxy", "sentry-dsn"}
    assert set(example["stringData"]) == {*drawn, *may_be_left_out, "redis-before"}
    vault = (COMPONENTS / "secrets-vault" / "kustomization.yaml").read_text()
    assert [name for name in example["stringData"] if name not in vault] == []
    rules = yaml.safe_load((COMPONENTS / "secrets-sops" / ".sops.yaml").read_text())["creation_rules"]
    (rule,) = rules
    assert re.search(rule["path_regex"], "k8s/overlays/staging/postrider.enc.yaml")
    assert re.search(rule["encrypted_regex"], "stringData")


@each_environment
def test_a_secret_that_is_made_once_has_a_number_and_outlives_the_next_one(environment: str) -> None:
    """Else what is written into the store never reaches anybody, or is taken from pods that still run with it."""
    asked = [each for each in config(environment) if each["kind"] == "ExternalSecret"]
    once = [
        each
        for each in asked
        if each["spec"].get("refreshPolicy") == "CreatedOnce" and "secretStoreRef" in each["spec"]
    ]
    assert {re.sub(r"\d+$", "N", each["metadata"]["name"]) for each in once} == {"postrider-N", "redis-N"}
    for each in once:
        target = each["spec"]["target"]
        assert (target["name"], target["creationPolicy"]) == (each["metadata"]["name"], "Orphan")


@each_environment
def test_pods_beside_the_chart_name_secrets_that_are_made(environment: str) -> None:
    objects = config(environment)
    made = {each["spec"]["target"]["name"] for each in objects if each["kind"] == "ExternalSecret"}
    named = {
        name
        for _, pod in pods(objects)
        for name in re.findall(r"'secretKeyRef': {'name': '([\w-]+)'|'secretName': '([\w-]+)'", str(pod))
        for name in name
        if name
    }
    assert named <= made
    assert {"redis-1"} <= named


def test_whatever_the_number_of_the_secret_the_api_goes_by_the_pooler() -> None:
    patches = yaml.safe_load((COMPONENTS / "postgres-pooler" / "kustomization.yaml").read_text())["patches"]
    (patch,) = [each for each in patches if each["target"]["kind"] == "ExternalSecret"]
    assert [
        bool(re.fullmatch(patch["target"]["name"], name)) for name in ("postrider-1", "postrider-27", "postrider")
    ] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("before", ["", "the-old-one"])
def test_redis_takes_the_old_password_too_while_it_changes(servers: Servers, before: str) -> None:
    """What the rendered list says, of a user of the test's own on a real server."""
    template = one(config("prod"), "ExternalSecret", "redis-1")["spec"]["target"]["template"]["data"]
    values = {"redis": "the-new-one", **({"redis-before": before} if before else {})}
    (made,) = filled_in([(template, values)], [])
    user, name, *rules = made["users.acl"].split()
    assert (user, name, made["password"]) == ("user", "default", "the-new-one")
    with Redis.from_url(servers.redis_url) as operator:
        operator.execute_command("ACL", "SETUSER", "rotated", *rules)
        try:
            for password, taken in (("the-new-one", True), ("the-old-one", bool(before)), ("another", False)):
                assert lets_in(servers.redis_url, password) is taken
        finally:
            operator.execute_command("ACL", "DELUSER", "rotated")


def lets_in(url: str, password: str) -> bool:
    place = urlsplit(url)
    with Redis(host=str(place.hostname), port=int(place.port or 6379), username="rotated", password=password) as client:
        try:
            return bool(client.ping())
        except AuthenticationError:
            return False


def test_the_roles_of_the_database_are_those_that_the_urls_log_in_with() -> None:
    objects = config("prod")
    cluster = one(objects, "Cluster", "postgres")["spec"]
    roles = {each["name"]: each["passwordSecret"]["name"] for each in cluster["managed"]["roles"]}
    roles[cluster["bootstrap"]["initdb"]["owner"]] = cluster["bootstrap"]["initdb"]["secret"]["name"]
    secret = one(objects, "ExternalSecret", "postrider-1")["spec"]["target"]["template"]["data"]
    urls = re.findall(r"postgresql://(\w+):{{ \.(\w+) }}@", str(secret))
    assert {role: f"postgres-{password}" for role, password in urls} == roles
    for name, password in roles.items():
        made = one(objects, "ExternalSecret", password)["spec"]["target"]["template"]
        assert (made["type"], made["data"]["username"]) == ("kubernetes.io/basic-auth", name)


def seconds(text: str) -> int:
    """What Kubernetes writes as `1m30s`."""
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


@each_environment
def test_a_canary_lasts_until_it_is_judged(environment: str) -> None:
    """One that fails, and one of which nothing is known, are found out while the steps still last."""
    objects = manifests(of("app", environment))
    judges = {
        each["metadata"]["name"]: each["spec"]["metrics"] for each in objects if each["kind"] == "AnalysisTemplate"
    }
    for rollout in (each for each in objects if each["kind"] == "Rollout"):
        canary = rollout["spec"]["strategy"]["canary"]
        pauses = [seconds(step["pause"]["duration"]) for step in canary["steps"] if "pause" in step]
        for template in canary["analysis"]["templates"]:
            for metric in judges[template["templateName"]]:
                answers = max(metric["failureLimit"], metric["inconclusiveLimit"])
                verdict = seconds(metric["initialDelay"]) + answers * seconds(metric["interval"])
                assert verdict < sum(pauses), (rollout["metadata"]["name"], metric["name"])
