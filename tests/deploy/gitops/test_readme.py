"""The chapter on deploying says of the environments what they are, and names files that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.gitops.applicationsets import Tree
from tests.deploy.gitops.rendered import ENVIRONMENTS, manifests, of
from tests.deploy.gitops.test_environments import config, one, values, windows_of
from tests.deploy.tools import program
from tests.observe.test_runbooks import resolves
from tests.servers import ROOT

CHAPTER = re.search(r"^## Deploy\n(.+?)^## ", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
assert CHAPTER
TEXT = CHAPTER[1]
ROW = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
TABLE = {name: dict(zip(("dev", "staging", "prod"), cells, strict=True)) for name, *cells in ROW.findall(TEXT)}
each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS)


def scaled(environment: str, name: str) -> str:
    """How many pods of a workload there are."""
    for each in manifests(of("app", environment)):
        spec = each.get("spec", {})
        if spec.get("scaleTargetRef", {}).get("name") == name:
            least = spec.get("minReplicas") or spec["minReplicaCount"]
            return f"{least} to {spec.get('maxReplicas') or spec['maxReplicaCount']}"
    return str(workload(environment, name)["spec"]["replicas"])


def workload(environment: str, name: str) -> Tree:
    (found,) = [
        each
        for each in manifests(of("app", environment))
        if each["metadata"]["name"] == name and each["kind"] in {"Deployment", "Rollout"}
    ]
    return found


@each_environment
def test_pods_are_as_many_as_the_table_says(environment: str) -> None:
    assert TABLE["API pods"][environment] == scaled(environment, "postrider-api")
    told = TABLE["worker pods a pool"][environment]
    assert told.startswith(scaled(environment, "postrider-worker-retry"))
    assert scaled(environment, "postrider-worker-first") in told


@each_environment
def test_releases_go_by_the_steps_that_the_table_says(environment: str) -> None:
    api = workload(environment, "postrider-api")
    weights = [
        step["setWeight"]
        for step in api["spec"].get("strategy", {}).get("canary", {}).get("steps", [])
        if "setWeight" in step
    ]
    told = TABLE["kind of workload"][environment]
    assert told.startswith(api["kind"])
    assert [int(number) for number in re.findall(r"\d+", told)] == [weight for weight in weights if weight < 100]


@each_environment
def test_hsts_traces_and_limits_are_as_the_table_says(environment: str) -> None:
    told = values(environment)
    route = one(manifests(of("app", environment)), "HTTPRoute", "postrider")
    (age,) = re.findall(r"max-age=(\d+)", str(route)) or ["0"]
    assert {"none": 0, "5 minutes": 300, "a year, subdomains too": 31536000}[TABLE["HSTS"][environment]] == int(age)
    assert ("includeSubDomains" in str(route)) is ("subdomains" in TABLE["HSTS"][environment])
    share = float(told["config"].get("POSTRIDER_TELEMETRY__SAMPLE", "0.05"))
    assert TABLE["traces recorded"][environment] == ("all" if share == 1 else f"{share * 100:g} %")
    policies = [each for each in manifests(of("app", environment)) if each["kind"] == "RateLimitPolicy"]
    limited = "".join(
        "counts only" if limit["dryRun"] else f"{rule['rate'].removesuffix('r/s')} requests a second and address"
        for limit in (policy["spec"]["rateLimit"] for policy in policies)
        for rule in limit["local"]["rules"]
    )
    assert TABLE["limit at the entry"][environment] == (limited or "none")


@each_environment
def test_what_stands_beside_the_chart_is_as_the_table_says(environment: str) -> None:
    objects = config(environment)
    cluster = one(objects, "Cluster", "postgres")["spec"]
    told = TABLE["PostgreSQL"][environment]
    assert told.startswith(f"{cluster['instances']}, ")
    assert ("synchronous" in told) is ("synchronous" in cluster["postgresql"])
    assert ("pooler" in told) is any(each["kind"] == "Pooler" for each in objects)
    assert ("backups" in told) is ("backup" in cluster)
    issuer = one(objects, "ClusterIssuer", "postrider")["spec"]
    server = issuer.get("acme", {}).get("server", "self-signed")
    assert {"self-signed": "self-signed", "Let's Encrypt's staging": "acme-staging", "Let's Encrypt": "//acme-v02"}[
        TABLE["certificate"][environment]
    ] in server
    (action,) = one(objects, "ImageValidatingPolicy", "postrider-images")["spec"]["validationActions"]
    assert TABLE["images that nobody signed"][environment] == {"Audit": "reported", "Deny": "refused"}[action]
    where = of("config", environment)["spec"]["destination"]["name"]
    assert TABLE["cluster, as Argo CD knows it"][environment] == f"`{where}`"


def test_production_is_changed_when_the_table_says() -> None:
    (window,) = windows_of(of("app", "prod"))
    assert window["kind"] == "allow"
    assert (window["schedule"], window["duration"]) == ("0 8 * * 1-5", "9h")
    assert TABLE["Argo CD applies, repairs, prunes"]["prod"] == "Monday to Friday from 8 to 17, yes, by hand"


def test_the_arithmetic_of_connections_is_the_charts() -> None:
    files = [ROOT / "argocd" / "envs" / "prod" / "values.yaml"]
    chart = ROOT / "charts" / "postrider"
    command = [
        program("helm"),
        "template",
        "postrider",
        chart,
        "--values",
        *files,
        "--set",
        "database.maxConnections=1",
    ]
    said = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False).stderr
    asked = int(re.findall(r"up to (\d+) may be asked for", said)[0]) - values("prod")["database"]["reserved"]
    assert re.findall(r"are (\d+) of (\d+) connections", " ".join(TEXT.split())) == [
        (str(asked), str(values("prod")["database"]["maxConnections"]))
    ]


def test_the_way_from_an_empty_cluster_takes_six_commands_at_most() -> None:
    (way,) = re.findall(r"### From an empty cluster .+?```sh\n(.+?)```", TEXT, re.DOTALL)
    commands = [line for line in way.replace("\\\n", " ").splitlines() if not line.startswith("#")]
    assert len(commands) <= 6
    bootstrap = yaml.safe_load((ROOT / "argocd" / "bootstrap" / "argocd.yaml").read_text())["spec"]["sources"][0]
    (install,) = [command for command in commands if command.startswith("helm install argocd ")]
    assert f"--version {bootstrap['targetRevision']} " in install
    assert bootstrap["repoURL"] in install


def test_the_way_begins_with_an_image_that_was_built(tmp_path: Path) -> None:
    """Before the first release dev names none, and there is nothing that its pods could run."""
    (way,) = re.findall(r"### From an empty cluster .+?```sh\n#.+?\n(.+?)\n", TEXT, re.DOTALL)
    question = way.removeprefix("git pull && ")
    shutil.copytree(ROOT / "argocd" / "envs", tmp_path / "argocd" / "envs")
    file = tmp_path / "argocd" / "envs" / "dev" / "image.yaml"

    def answer() -> int:
        return subprocess.run(["sh", "-c", question], cwd=tmp_path, check=False).returncode

    file.write_text(re.sub('digest: ".*"', 'digest: ""', file.read_text()))
    assert answer() == 1
    file.write_text(file.read_text().replace('digest: ""', f'digest: "sha256:{"1" * 64}"'))
    assert answer() == 0


def test_the_way_ends_with_a_sync_that_sends_an_event_and_with_what_it_said() -> None:
    (told,) = re.findall(
        r"operationState\.phase}'=Succeeded .+?application/app-dev\nkubectl logs .+?pod/(\S+)\n```", TEXT
    )
    smoke = one(manifests(of("app", "dev")), "Pod", told)
    assert smoke["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PostSync"


def test_whoever_goes_over_to_a_restored_cluster_finds_all_that_names_the_old_one() -> None:
    (told,) = re.findall(r"### Restore a backup\n(.+?)\n### ", TEXT, re.DOTALL)
    rows = {
        what: set(re.findall(r"`([\w./-]+\.yaml)`", files)) for files, what in re.findall(r"\| (.+) \| .+ `(.+)`", told)
    }
    components = ROOT / "k8s" / "components"
    # The old cluster's own files stay, and the new one's name the old one as where it comes from.
    callers = [
        file for file in components.rglob("*.yaml") if file.parent.name != "postgres" and "restore" not in file.name
    ]
    callers.append(ROOT / "argocd" / "envs" / "prod" / "values.yaml")
    for what, files in rows.items():
        assert {file.relative_to(ROOT).as_posix() for file in callers if named(what, file.read_text())} == files
    assert set(rows) == {"postgres-rw", "cluster: {name: postgres}", "cnpg.io/cluster: postgres"}


def named(what: str, text: str) -> bool:
    """Whether a text says a name, and not only one that begins like it."""
    return re.search(rf"{re.escape(what)}(?![\w-])", text) is not None


def test_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"(?<![\w./-])(?:charts|k8s|argocd|\.ci|\.github)/[\w./-]*[\w]", TEXT))
    there = {name for name in named if (ROOT / name).exists()}
    # What stands for each of the environments.
    patterns = {name for name in named if "ENV" in name}
    assert named - there - patterns == set()
    assert patterns == {"argocd/envs/ENV", "k8s/overlays/ENV"}


def test_every_command_of_postrider_that_is_named_is_one_that_there_is() -> None:
    prose = " ".join(re.sub(r"```.+?```", "", TEXT, flags=re.DOTALL).split())
    named = set(re.findall(r"`(?:k8s/)?postrider ([a-z][a-z-]*(?: [a-z][a-z-]+(?![a-z_]))*)", prose))
    assert {"secrets rotate", "orgs create", "keys create"} <= named
    assert [command for command in named if not resolves(command.split())] == []


def test_the_signer_that_is_verified_by_hand_is_the_one_that_clusters_and_workflows_ask_for() -> None:
    told = re.findall(r"--certificate-identity (\S+)", (ROOT / "SECURITY.md").read_text())
    policy = one(config("prod"), "ImageValidatingPolicy", "postrider-images")["spec"]
    (identity,) = policy["attestors"][0]["cosign"]["keyless"]["identities"]
    assert told == [identity["subject"]]
    promote = (ROOT / ".github" / "workflows" / "promote.yml").read_text()
    asked = re.findall(r'"(https://\S+release\.yml@\S+)"', promote)
    assert [each.replace("$GITHUB_REPOSITORY", "postrider/postrider") for each in asked] == told
