"""Other people's linters find nothing in the chart but what we decided otherwise, and why stands here.

They pass by a Rollout: they look at each pod inside a Deployment.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart.helm import CHART, template, values_of
from tests.deploy.manifests import Manifest, manifests
from tests.deploy.pods import as_deployments
from tests.deploy.tools import KUBERNETES, program
from tests.sdk.environments import python_with

HERE = Path(__file__).parent
# What a limit of CPU does is to slow a pod while its node has nothing else to do.
CPU = "requests are set, and no limit of CPU"
# An image is named by its digest in every environment; a tag is for who tries the chart.
DIGEST = "environments name digests, which do not change under a name"
DECIDED: Mapping[str, Mapping[str, str]] = {
    "checkov": {
        "CKV_K8S_11": CPU,
        "CKV_K8S_15": DIGEST,
        "CKV_K8S_43": DIGEST,
        "CKV_K8S_35": "the product reads its settings from the environment",
        "CKV_K8S_8": "the probe's receiver answers whoever asks and has no state; a test's pod ends by itself",
        "CKV_K8S_9": "the same",
    },
    "kube-score": {
        "container-image-pull-policy": DIGEST,
        "container-resources": CPU,
        "container-ephemeral-storage-request-and-limit": "the root is read-only, and /tmp is memory with a limit",
        "deployment-has-host-podantiaffinity": "pods are spread by topologySpreadConstraints",
        "deployment-strategy": "the probe's receiver, and beat, of which there may be one alone",
        "deployment-replicas": "the same",
        "deployment-has-poddisruptionbudget": "the same",
        "pod-probes": "workers, beat and jobs serve no calls; liveness and readiness look at different things",
        "pod-probes-identical": "the same",
        "pod-networkpolicy": "the policies select by labels of their own, which kube-score does not put together",
        "container-security-context-user-group-id": "the pod says it for all of its containers",
    },
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart with everything on, by Deployments, in a file."""
    found = [*manifests(template(values_of("deployment-mode"))), *_pods_of_rollouts()]
    file = tmp_path_factory.mktemp("lint") / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(found))
    return file


def _pods_of_rollouts() -> list[Manifest]:
    """The pods of the canary's render, in Deployments whose names are not taken."""
    given = as_deployments(one for one in manifests(template(values_of("full"))) if one["kind"] == "Rollout")
    return [{**one, "metadata": {**one["metadata"], "name": f"{one['metadata']['name']}-canary"}} for one in given]


def test_checkov_finds_what_was_decided_and_nothing_else(rendered: Path) -> None:
    checkov = python_with(HERE / "checkov-3.3.30.txt").with_name("checkov")
    options = ("--framework=kubernetes", "--compact", "--quiet", "--skip-download", "--output=json")
    done = subprocess.run([checkov, f"--file={rendered}", *options], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 500
    found = {(one["check_id"], one["resource"]) for one in report["results"]["failed_checks"]}
    assert {one for one in found if one[0] not in DECIDED["checkov"]} == set()


def test_kube_score_finds_what_was_decided_and_nothing_else(rendered: Path) -> None:
    command = [str(program("kube-score")), "score", "--output-format=json", str(rendered)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert len(report) > 20
    found = {
        (check["check"]["id"], one["object_name"])
        for one in report
        for check in one["checks"]
        if not check["skipped"] and check["grade"] < 10
    }
    assert {one for one in found if one[0] not in DECIDED["kube-score"]} == set()


def test_the_next_kubernetes_takes_its_own_kinds(rendered: Path) -> None:
    judge = python_with(HERE / "kubernetes-validate-1.37.0.txt").with_name("kubernetes-validate")
    done = subprocess.run([judge, "--strict", "--quiet", rendered], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stdout.splitlines() if line.startswith("ERROR")]) == (0, [])


@pytest.mark.parametrize("file", sorted((CHART / "ci").glob("*.yaml")), ids=lambda file: file.stem)
def test_helm_3_renders_what_helm_4_does(file: Path) -> None:
    options = ("--namespace=postrider", f"--kube-version={KUBERNETES}", f"--values={file}")
    texts = [
        subprocess.run(
            [program(helm), "template", "postrider", CHART, *options], capture_output=True, text=True, check=True
        ).stdout
        for helm in ("helm", "helm3")
    ]
    assert manifests(texts[0]) == manifests(texts[1])
