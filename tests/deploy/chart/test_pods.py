"""The one pod template, as every part renders it."""

import click
import pytest

from app.cli.main import main
from tests.deploy.chart.helm import (
    VARIANTS,
    Key,
    Manifest,
    by_key,
    containers,
    of_kind,
    pod_templates,
    render,
    values_of,
)
from tests.deploy.chart.settings_names import every_setting

SECRETS = "POSTRIDER_DATABASE__URL", "POSTRIDER_DATABASE__WORKER_URL", "POSTRIDER_DATABASE__MIGRATOR_URL"


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(values_of(request.param))


@pytest.fixture(scope="module")
def full() -> list[Manifest]:
    return render(values_of("full"))


def test_every_pod_may_do_nothing_that_it_need_not(manifests: list[Manifest]) -> None:
    for name, pod in pod_templates(manifests).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"], name  # noqa: S108 the pod's
            assert container["resources"]["limits"]["memory"], name


def test_every_pod_has_a_service_account_of_its_own_without_a_token(manifests: list[Manifest]) -> None:
    accounts = {one["metadata"]["name"]: one for one in of_kind(manifests, "ServiceAccount")}
    for name, pod in pod_templates(manifests).items():
        account = accounts[pod["spec"]["serviceAccountName"]]
        assert account["automountServiceAccountToken"] is False, name
        component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
        assert account["metadata"]["labels"]["app.kubernetes.io/component"] == component, name


def test_each_part_knows_only_the_database_role_that_it_needs(full: list[Manifest]) -> None:
    pods = pod_templates(full)
    api, worker, beat = SECRETS[0], SECRETS[1], SECRETS[1]
    assert _roles(pods["postrider-api"]) == {api}
    assert _roles(pods["postrider-worker-first"]) == {worker}
    assert _roles(pods["postrider-beat"]) == {beat}
    assert _roles(pods["postrider-migrations"]) == set(SECRETS)
    assert _roles(pods["postrider-receiver"]) == set()


def test_every_container_is_a_command_that_there_is(manifests: list[Manifest]) -> None:
    for name, pod in pod_templates(manifests).items():
        for container in containers(pod):
            _parse(name, main, container["args"])


def test_every_setting_is_one_that_the_product_reads(manifests: list[Manifest]) -> None:
    names = {name for pod in pod_templates(manifests).values() for one in containers(pod) for name in _variables(one)}
    for config in of_kind(manifests, "ConfigMap"):
        names |= {name for name in config["data"] if name.startswith("POSTRIDER_")}
    known = set(every_setting())
    # What the launcher reads by itself, before there are settings.
    assert {name for name in names if name.startswith("POSTRIDER_")} - known <= {"POSTRIDER_GRACE_SECONDS"}


def test_pods_wait_for_their_schema_before_they_start(full: list[Manifest]) -> None:
    waiting = {name: [one["args"] for one in pod["spec"].get("initContainers", [])] for name, pod in _serving(full)}
    assert set(map(str, waiting.values())) == {"[['migrate', '--wait']]"}, waiting


def test_probes_ask_the_part_itself_and_workers_their_main_process(full: list[Manifest]) -> None:
    for name, pod in _serving(full):
        container = pod["spec"]["containers"][0]
        port = "http" if name.endswith("-api") else "metrics-0"
        asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
        assert asked == {
            "startup": {"path": "/startupz", "port": port},
            "readiness": {"path": "/readyz", "port": port},
            "liveness": {"path": "/livez", "port": port},
        }, name
        assert {one["name"]: one["containerPort"] for one in container["ports"]}["metrics-0"] == 9464, name


def test_a_part_may_take_as_long_to_start_as_is_said() -> None:
    sets = ["api.startSeconds=90", "workers.first.startSeconds=200"]
    pods = pod_templates(render(values_of("full"), sets=sets))
    patient = {
        name: probe["periodSeconds"] * probe["failureThreshold"]
        for name in ("postrider-api", "postrider-worker-first", "postrider-worker-retry", "postrider-beat")
        for probe in [pods[name]["spec"]["containers"][0]["startupProbe"]]
    }
    assert patient == {
        "postrider-api": 90,
        "postrider-worker-first": 200,
        "postrider-worker-retry": 120,
        "postrider-beat": 60,
    }


def test_the_api_is_taken_out_of_balancers_before_it_ends_and_has_time_for_what_it_serves(full: list[Manifest]) -> None:
    spec = pod_templates(full)["postrider-api"]["spec"]
    container = spec["containers"][0]
    asleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = int(container["args"][container["args"].index("--drain-seconds") + 1])
    assert asleep > 0
    assert spec["terminationGracePeriodSeconds"] >= asleep + drain + 10


def test_a_worker_is_told_how_long_it_has(full: list[Manifest]) -> None:
    for name, pod in _serving(full):
        if "worker" in name:
            told = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
            assert int(told["POSTRIDER_GRACE_SECONDS"] or 0) == pod["spec"]["terminationGracePeriodSeconds"], name


def test_each_pool_sends_its_lanes() -> None:
    pods = pod_templates(render(values_of("full")))
    lanes = {
        name: _variables(pod["spec"]["containers"][0]).get("POSTRIDER_DELIVERY__LANES") for name, pod in pods.items()
    }
    assert {name: said for name, said in lanes.items() if said is not None} == {
        "postrider-worker-first": "first",
        "postrider-worker-retry": "retry",
        "postrider-worker-bulk": "replay",
        "postrider-worker-maintenance": "none",
    }


def test_one_template_serves_rollouts_and_deployments(full: list[Manifest]) -> None:
    deployed = pod_templates(render(values_of("full"), sets=["rollouts.enabled=false"]))
    for name, pod in pod_templates(full).items():
        if name in deployed:
            as_deployment = str(deployed[name]).replace("pod-template-hash", "rollouts-pod-template-hash")
            assert str(pod) == as_deployment, name


def test_what_is_said_of_a_pool_wins_over_what_is_said_of_all_even_if_it_is_false() -> None:
    sets = [
        'workers.first={"podDisruptionBudget": {"enabled": false}, "resources": {"limits": {"memory": "3Gi"}}}',
        'workerDefaults={"resources": {"limits": {"memory": "2Gi"}}}',
    ]
    rendered = render(values_of("deployment-mode"), sets=sets)
    assert Key("PodDisruptionBudget", "postrider-worker-first") not in by_key(rendered)
    limits = {name: pod["spec"]["containers"][0]["resources"]["limits"] for name, pod in _serving(rendered)}
    assert limits["postrider-worker-first"] == {"memory": "3Gi"}
    assert limits["postrider-worker-retry"] == {"memory": "2Gi"}


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "1" * 64
    rendered = render(values_of("minimal"), sets=['image.tag="1.2.3"', f'image.digest="{digest}"'])
    images = {one["image"] for pod in pod_templates(rendered).values() for one in containers(pod)}
    assert images == {f"ghcr.io/postrider/postrider@{digest}"}


def test_pods_of_one_version_are_spread_over_zones_and_nodes(full: list[Manifest]) -> None:
    for name, pod in _serving(full):
        spread = {one["topologyKey"]: one for one in pod["spec"]["topologySpreadConstraints"]}
        assert spread["topology.kubernetes.io/zone"]["whenUnsatisfiable"] == "DoNotSchedule", name
        assert spread["kubernetes.io/hostname"]["matchLabelKeys"] == ["rollouts-pod-template-hash"], name


def _serving(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    return [
        (name, pod)
        for name, pod in pod_templates(manifests).items()
        if name.endswith("-api") or name.startswith("postrider-worker-")
    ]


def _roles(pod: Manifest) -> set[str]:
    """The keys of the Secret with a database's URL that a pod can see."""
    keys = {
        one["valueFrom"]["secretKeyRef"]["key"]
        for container in containers(pod)
        for one in container["env"]
        if "secretKeyRef" in one.get("valueFrom", {})
    }
    return keys & set(SECRETS)


def _variables(container: Manifest) -> dict[str, str | None]:
    return {one["name"]: one.get("value") for one in container["env"]}


def _parse(pod: str, command: click.Command, args: list[str]) -> None:
    """Fails where a command or an option is not there; nothing is run."""
    if isinstance(command, click.Group):
        found = command.get_command(click.Context(command), args[0])
        assert found, f"{pod}: there is no command {args[0]}"
        _parse(pod, found, args[1:])
    else:
        with command.make_context(pod, list(args)):
            pass
