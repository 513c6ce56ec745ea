"""The pipelines: no weakness that zizmor knows, everything pinned, and the same programs that a developer runs."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.tools import program
from tests.sdk.environments import python_with
from tests.servers import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
JENKINSFILE = ROOT / "Jenkinsfile"
ZIZMOR = Path(__file__).parent / "zizmor-1.32.0.txt"
WEAK = """\
name: weak
on: pull_request_target
jobs:
  weak:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: echo "${{ github.event.pull_request.title }}"
"""


def findings(folder: Path) -> set[str]:
    """The audits that find something in the workflows below a folder; nothing is asked of any server."""
    program = python_with(ZIZMOR).with_name("zizmor")
    command = [str(program), "--offline", "--persona=pedantic", "--no-progress", "--format=json-v1", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    # 0 is for none, from 11 on its severity counts; whatever else is no answer.
    assert (done.returncode == 0) == (not found), done.stderr
    return {f"{one['ident']}: {one['desc']}" for one in found if not one["ignored"]}


def parsed(file: Path) -> dict[str, Any]:
    # YAML 1.1 takes `on` for a truth.
    whole: dict[str, Any] = yaml.safe_load(file.read_text().replace("\non:", '\n"on":'))
    return whole


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in parsed(file)["jobs"].values() for step in job.get("steps", [])]


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run([program("actionlint"), *WORKFLOWS], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_actionlint_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "wrong.yml").write_text(WEAK.replace("pull_request_target", "pul_request"))
    done = subprocess.run([program("actionlint"), tmp_path / "wrong.yml"], capture_output=True, text=True, check=False)
    assert (done.returncode, 'unknown Webhook event "pul_request"' in done.stdout) == (1, True)


def test_zizmor_finds_nothing() -> None:
    assert findings(ROOT / ".github") == set()


def test_zizmor_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "weak.yml").write_text(WEAK)
    assert {"template-injection", "dangerous-triggers", "unpinned-uses"} <= {
        one.partition(":")[0] for one in findings(tmp_path)
    }


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_and_images_are_named_by_what_they_are_and_not_by_a_tag(file: Path) -> None:
    used = re.findall(r"uses: (.+)", file.read_text())
    foreign = [one for one in used if not one.startswith("./")]
    assert [one for one in foreign if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
    images = [job["container"]["image"] for job in parsed(file)["jobs"].values() if "container" in job]
    assert [one for one in images if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", one)] == []


def test_one_version_of_an_action_serves_all() -> None:
    used = {one for file in WORKFLOWS for one in re.findall(r"uses: ([^.\s]\S+)@(\S+)", file.read_text())}
    assert len({name for name, _ in used}) == len(used)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_job_may_what_it_says_and_ends(file: Path) -> None:
    workflow = parsed(file)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert "permissions" in job
        assert "timeout-minutes" in job or "uses" in job


def test_ci_runs_the_program_that_developers_run() -> None:
    assert steps(ROOT / ".github" / "workflows" / "ci.yml")[-1]["run"] == ".ci/run"
    assert "sh '.ci/run'" in JENKINSFILE.read_text()


def test_tests_in_a_container_may_ask_git_though_the_checkout_belongs_to_somebody_else(tmp_path: Path) -> None:
    (trust,) = [step["run"] for step in steps(ROOT / ".github/workflows/ci.yml") if "git config" in step.get("run", "")]
    environment = os.environ | {
        "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1",
        "GIT_CONFIG_SYSTEM": str(tmp_path / "gitconfig"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GITHUB_WORKSPACE": str(tmp_path),
    }

    def ends(command: str) -> int:
        return subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=False).returncode

    assert ends("git init --quiet") == 0
    assert ends("git rev-parse --git-dir") == 128
    assert ends(trust) == 0
    assert ends("git rev-parse --git-dir") == 0


def test_what_is_called_is_there_and_may_be_run() -> None:
    called = {
        name for file in [*WORKFLOWS, JENKINSFILE] for name in re.findall(r"(?<![\w/])\.ci/[\w-]+", file.read_text())
    }
    assert called >= {".ci/run", ".ci/release", ".ci/propose", ".ci/rendered-diff"}
    assert [name for name in called if not (ROOT / name).stat().st_mode & 0o100] == []


def test_main_is_built_from_what_passed_and_a_version_is_not_built_again() -> None:
    jobs = parsed(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert (jobs["ci"]["uses"], jobs["image"]["needs"], jobs["dev"]["needs"]) == (
        "./.github/workflows/ci.yml",
        "ci",
        "image",
    )
    building = [name for name, job in jobs.items() for step in job.get("steps", []) if "build-push" in str(step)]
    assert building == ["image"]
    build = next(step["with"] for step in jobs["image"]["steps"] if "build-push" in step.get("uses", ""))
    assert (build["sbom"], build["provenance"]) == (True, "mode=max")


def test_pipelines_tell_the_image_what_it_asks_for() -> None:
    asked = set(re.findall(r"^ARG (\w+)=", (ROOT / "Dockerfile").read_text(), re.MULTILINE)) - {"BASE", "VERSION"}
    build = next(step["with"] for step in steps(ROOT / ".github/workflows/release.yml") if "build-args" in str(step))
    assert {line.partition("=")[0] for line in build["build-args"].splitlines()} == asked
    assert set(re.findall(r'--build-arg "(\w+)=', JENKINSFILE.read_text())) == asked


def test_what_the_bot_writes_starts_no_release() -> None:
    ignored = parsed(ROOT / ".github" / "workflows" / "release.yml")["on"]["push"]["paths-ignore"]
    assert ignored == ["argocd/envs/*/image.yaml"]


def test_a_jenkins_releases_what_people_write_and_not_what_a_release_writes(tmp_path: Path) -> None:
    (question,) = re.findall(r"script: '''(.+?)'''", JENKINSFILE.read_text(), re.DOTALL)
    assert "expression { toRelease() }" in JENKINSFILE.read_text()
    names = ("-c", "user.name=bot", "-c", "user.email=bot@example.com")

    def commit(name: str) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / name).open("a") as file:
            file.write("a change\n")
        for words in (("add", "--all"), ("commit", "--quiet", "--message", name)):
            subprocess.run(["git", *names, *words], cwd=tmp_path, check=True)
        return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tmp_path, text=True).strip()

    def to_release(**since: str) -> bool:
        done = subprocess.run(["sh", "-c", question], cwd=tmp_path, env=os.environ | since, check=False)
        return done.returncode != 0

    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    first = commit("app/main.py")
    assert to_release()
    written = commit("argocd/envs/dev/image.yaml")
    assert not to_release()
    assert not to_release(GIT_PREVIOUS_SUCCESSFUL_COMMIT=first)
    commit("argocd/envs/dev/values.yaml")
    assert to_release()
    # What was built in vain, since something newer came, is not forgotten.
    commit("argocd/envs/dev/image.yaml")
    assert to_release(GIT_PREVIOUS_SUCCESSFUL_COMMIT=written)


def test_what_is_proposed_is_checked() -> None:
    """What the token of a workflow opens starts none: each proposal is opened by the bot."""
    proposing = [step for file in WORKFLOWS for step in steps(file) if ".ci/propose" in step.get("run", "")]
    assert len(proposing) == 3
    assert {step["env"]["GH_TOKEN"] for step in proposing} == {"${{ steps.bot.outputs.token }}"}


def owners(name: str) -> list[str]:
    """Who is asked about a file: the last line that fits it says so, and may say nobody."""
    found: list[str] = []
    for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines():
        pattern, *teams = line.split()
        folder = pattern if pattern.endswith("/") else f"{pattern}/"
        if pattern == "*" or f"/{name}/".startswith(folder):
            found = teams
    return found


def test_owners_are_named_for_what_there_is() -> None:
    lines = [line.split() for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()]
    patterns = [words[0] for words in lines if words[0] not in {"#", "*"}]
    assert [name for name in patterns if not (ROOT / name.strip("/")).exists()] == []


def test_a_person_is_asked_for_production_and_for_no_image_that_merges_itself() -> None:
    promoting = steps(ROOT / ".github" / "workflows" / "promote.yml")
    (merging,) = [step for step in promoting if "--auto" in step.get("run", "")]
    assert merging["if"] == "env.TO == 'staging'"
    assert {name: owners(f"argocd/envs/{name}/image.yaml") for name in ("dev", "staging", "prod")} == {
        "dev": [],
        "staging": [],
        "prod": ["@postrider/production"],
    }
    assert owners("argocd/envs/staging/values.yaml") == ["@postrider/operators"]
    assert owners(".github/CODEOWNERS") != []
