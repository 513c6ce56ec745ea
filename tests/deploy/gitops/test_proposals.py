"""A promotion shows what it changes in the manifests, and becomes one pull request that the next one renews."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.gitops.workflow import CLIENT, StepError, run_job
from tests.deploy.tools import program
from tests.servers import ROOT

DIGEST = f"sha256:{'ab' * 32}"


class Clone:
    """A clone of a repository that holds the chart and the environments, with GitHub's client beside it."""

    def __init__(self, folder: Path) -> None:
        """Made in the folder, which is empty."""
        self.folder, self.origin, self.asked = folder / "clone", folder / "origin", folder / "asked"
        programs = folder / "bin"
        for made in (self.folder, programs):
            made.mkdir()
        (programs / "gh").write_text(CLIENT)
        (programs / "gh").chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{programs}:{program('helm').parent}:{os.environ['PATH']}",
            "ASKED": str(self.asked),
            "RUNNER_TEMP": str(folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        for room in (".ci", "charts/postrider", "argocd/envs"):
            shutil.copytree(ROOT / room, self.folder / room)
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.commit("A beginning")
        self.run("git", "clone", "--quiet", "--bare", ".", str(self.origin))
        self.run("git", "remote", "add", "origin", str(self.origin))
        self.run("git", "fetch", "--quiet", "origin")

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, message: str) -> str:
        names = ("-c", "user.name=bot", "-c", "user.email=bot@example.com")
        self.run("git", "add", "--all")
        self.run("git", *names, "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "HEAD").strip()

    def release(self, *words: str) -> None:
        self.run(".ci/release", *words)

    def promote(self) -> None:
        """dev runs an image of this commit, and prod is to run it as well."""
        revision = self.run("git", "rev-parse", "HEAD").strip()
        for environment in ("dev", "prod"):
            self.release(
                *("write", environment, "--digest", DIGEST, "--revision", revision),
                *("--built-at", "2030-01-31T12:00:00+00:00"),
            )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_nothing_changed_is_no_difference(clone: Clone) -> None:
    assert clone.run(".ci/rendered-diff", "prod") == ""


def test_a_promotion_is_seen_in_each_manifest_that_it_changes(clone: Clone) -> None:
    clone.promote()
    shown = clone.run(".ci/rendered-diff", "prod")
    added = [
        line.split("image: ")[1].strip(' "')
        for line in shown.splitlines()
        if line.startswith("+") and "image: " in line
    ]
    assert set(added) == {f"ghcr.io/postrider/postrider@{DIGEST}"}
    removed = [line for line in shown.splitlines() if line.startswith("-") and "image: " in line]
    assert len(removed) == len(added) > 5


def test_a_chart_that_changed_since_is_shown_as_of_the_release(clone: Clone) -> None:
    clone.promote()
    released = clone.commit("A release")
    template = clone.folder / "charts" / "postrider" / "templates" / "api" / "services.yaml"
    template.write_text(template.read_text().replace("kind: Service", "kind: Service # not released"))
    clone.commit("A change that is on its way")
    assert "not released" not in clone.run(".ci/rendered-diff", "prod", released)


def test_an_environment_that_there_is_not_is_refused(clone: Clone) -> None:
    command = [".ci/rendered-diff", "qa", "main"]
    done = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, "argocd/envs/qa/values.yaml" in done.stderr) == (False, True)


def propose(clone: Clone) -> str:
    return clone.run(".ci/propose", "promote/prod", "Run it in prod", "What it changes", "promotion")


def test_a_proposal_is_a_branch_and_a_pull_request(clone: Clone) -> None:
    clone.promote()
    assert propose(clone) == "https://github.com/postrider/postrider/pull/7\n"
    changed = clone.run("git", "diff", "--name-only", "main", "origin/promote/prod").split()
    assert changed == ["argocd/envs/dev/image.yaml", "argocd/envs/prod/image.yaml"]
    assert clone.asked.read_text().splitlines()[-1] == (
        "pr create --base main --head promote/prod --title Run it in prod --body What it changes --label promotion"
    )


def test_a_second_proposal_renews_the_first(clone: Clone) -> None:
    clone.promote()
    propose(clone)
    clone.run("git", "switch", "--quiet", "main")
    clone.promote()
    propose(clone)
    assert clone.asked.read_text().count("pr create") == 1
    assert clone.asked.read_text().splitlines()[-1].startswith("pr edit promote/prod")
    assert clone.run("git", "rev-list", "--count", "main..origin/promote/prod").strip() == "1"


def test_where_nothing_changed_nothing_is_proposed(clone: Clone) -> None:
    assert propose(clone) == "nothing has changed\n"
    assert not clone.asked.exists()


def roll_back(clone: Clone, image: str) -> None:
    """Runs the workflow of a rollout that was aborted, as the message of Argo Rollouts has it begin."""
    told = {"environment": "prod", "rollout": "postrider-api", "image": image}
    event = {
        "inputs": {},
        "github": {"event": {"client_payload": told}},
        "steps": {"bot": {"outputs": {"token": "a token"}}},
    }
    run_job("rollback", "propose", clone.folder, event, clone.environment)


def test_what_was_aborted_is_proposed_to_be_taken_back(clone: Clone) -> None:
    clone.promote()
    before = clone.commit("A release")
    bad = f"sha256:{'cd' * 32}"
    clone.release("write", "prod", "--digest", bad, "--revision", before, "--built-at", "2030-02-01T12:00:00+00:00")
    clone.commit("A bad one")
    roll_back(clone, f"ghcr.io/postrider/postrider@{bad}")
    assert f'digest: "{DIGEST}"' in clone.run("git", "show", "origin/rollback/prod:argocd/envs/prod/image.yaml")
    asked = clone.asked.read_text().splitlines()[-1]
    assert asked.startswith("pr create --base main --head rollback/prod --title Run ")
    assert asked.endswith("Git says so again with this. --label rollback")


def test_what_was_aborted_and_taken_back_already_is_not_proposed(clone: Clone) -> None:
    clone.promote()
    clone.commit("A release")
    with pytest.raises(StepError, match="nothing to revert"):
        roll_back(clone, f"ghcr.io/postrider/postrider@sha256:{'cd' * 32}")
