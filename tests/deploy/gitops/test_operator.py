"""`k8s/postrider` runs a command in a pod that may what the migrations may, and tells how it ended."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.chart.helm import render, values_of
from tests.deploy.gitops.applicationsets import Tree
from tests.deploy.gitops.rendered import manifests, of
from tests.deploy.gitops.test_environments import one
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

# kubectl with a cluster behind it in which a Job ends at its second look, as it is told to.
CLIENT = """\
#!/bin/sh
printf '%s\\n' "$*" >> "$CLUSTER/asked"
case "$3 $4 $5" in
    "get jobs --selector") cat "$CLUSTER/jobs" ;;
    "get job "*) if [ -e "$CLUSTER/looked" ]; then cat "$CLUSTER/end"; else echo '{"status": {"active": 1}}'; fi
        touch "$CLUSTER/looked" ;;
    "create --filename -") cat > "$CLUSTER/made" ;;
    "logs job/"*) echo key_of_the_first_customer ;;
    "delete job "*) ;;
    *) echo "no such thing: $*" >&2; exit 1 ;;
esac
"""


class Cluster:
    """What kubectl reaches."""

    def __init__(self, folder: Path) -> None:
        """Nothing has run in it yet but the migrations."""
        self.folder = folder
        (folder / "kubectl").write_text(CLIENT)
        (folder / "kubectl").chmod(0o755)
        self.migrations = one(manifests(of("app", "prod")), "Job", "postrider-migrations")
        owned = {"controller-uid": "1", "batch.kubernetes.io/job-name": "postrider-migrations"}
        template = self.migrations["spec"]["template"]
        labelled = {**template, "metadata": {"labels": {**template["metadata"]["labels"], **owned}}}
        spec = {**self.migrations["spec"], "template": labelled, "selector": {"matchLabels": owned}}
        there = {**self.migrations, "spec": spec, "status": {"succeeded": 1}}
        metadata = {**there["metadata"], "name": "postrider-operator-1"}
        self.migrated(there, {**there, "metadata": metadata, "spec": {"template": {}}})

    def migrated(self, *jobs: Manifest) -> None:
        """Jobs with the label of those that migrate, the oldest first."""
        (self.folder / "jobs").write_text(json.dumps({"items": jobs}))

    def run(self, *words: str, end: str = '{"status": {"succeeded": 1}}') -> subprocess.CompletedProcess[str]:
        (self.folder / "end").write_text(end)
        environment = os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}", "CLUSTER": str(self.folder)}
        return subprocess.run(
            [ROOT / "k8s" / "postrider", *words], env=environment, capture_output=True, text=True, check=False
        )

    def made(self) -> Tree:
        made: Tree = json.loads((self.folder / "made").read_text())
        return made


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_what_the_command_prints_is_printed_and_its_log_goes(cluster: Cluster) -> None:
    done = cluster.run("keys", "create", "org_1", "--name", "shop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "key_of_the_first_customer\n", "")
    name = cluster.made()["metadata"]["name"]
    assert (cluster.folder / "asked").read_text().splitlines()[-1] == (
        f"--namespace postrider delete job {name} --wait=false"
    )


def test_the_pod_is_that_of_the_migrations_with_other_words(cluster: Cluster) -> None:
    cluster.run("orgs", "create", "Example Ltd")
    made, migrations = cluster.made()["spec"], cluster.migrations["spec"]
    assert made["template"]["metadata"] == migrations["template"]["metadata"]
    (container,) = made["template"]["spec"]["containers"]
    assert container["args"] == ["orgs", "create", "Example Ltd"]
    (own,) = migrations["template"]["spec"]["containers"]
    assert {**container, "args": own["args"]} == own
    assert ("selector" in made, made["backoffLimit"]) == (False, 0)


def test_a_command_that_fails_fails_here(cluster: Cluster) -> None:
    done = cluster.run("keys", "create", "org_none", end='{"status": {"failed": 1}}')
    assert (done.returncode, done.stdout) == (1, "key_of_the_first_customer\n")


def test_without_a_command_it_says_what_to_do(cluster: Cluster) -> None:
    done = cluster.run()
    assert (done.returncode, "say a command of postrider: orgs create 'Example Ltd'" in done.stderr) == (2, True)


def test_where_nothing_was_migrated_it_says_so(cluster: Cluster) -> None:
    cluster.migrated()
    done = cluster.run("orgs", "list")
    assert (done.returncode, "no Job has migrated in postrider" in done.stderr) == (1, True)


def test_what_kubectl_complains_of_is_said(cluster: Cluster) -> None:
    (cluster.folder / "jobs").unlink()
    done = cluster.run("orgs", "list")
    assert (done.returncode, "kubectl get failed" in done.stderr) == (1, True)


def test_without_a_hook_the_last_of_several_is_taken_by_its_label(cluster: Cluster) -> None:
    """Each is named by what it does, as `helm install` leaves them."""
    jobs = [each for each in render(values_of("minimal")) if each["kind"] == "Job"]
    (job,) = (each for each in jobs if each["metadata"]["labels"]["app.kubernetes.io/component"] == "migrations")
    assert job["metadata"]["name"] != "postrider-migrations"
    cluster.migrated({**job, "metadata": {**job["metadata"], "name": "older"}, "spec": {"template": {}}}, job)
    assert cluster.run("orgs", "list").returncode == 0
    asked = (cluster.folder / "asked").read_text().splitlines()[0]
    assert "--selector app.kubernetes.io/component=migrations --sort-by .metadata.creationTimestamp" in asked
    assert cluster.made()["spec"]["template"]["spec"]["serviceAccountName"] == "postrider-migrations"
