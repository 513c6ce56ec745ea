"""The repository that Argo CD reads, and those who write to it: the bot of the workflows, and whoever merges.

It is this checkout's commit, changed where the cluster is not staging: the overlay of the rehearsals, and nothing
of what is not here.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.github import GitHub
from tests.cluster.images import Image
from tests.cluster.install import OVERLAY, STORES
from tests.deploy.gitops.workflow import CLIENT, run_job
from tests.deploy.tools import program
from tests.servers import ROOT

# dev's and prod's clusters are not here; and what their platform is made of, and Argo CD itself, comes from charts that
# nobody serves here: the cluster has the programs of it beside its pods.
AWAY = (
    "argocd/envs/dev/config.yaml",
    "argocd/envs/prod/config.yaml",
    "argocd/appsets/platform.yaml",
    "argocd/bootstrap/argocd.yaml",
)
MAIN = "main"


class Upstream:
    """The bare repository, and the bot's clone of it."""

    def __init__(self, github: GitHub, folder: Path) -> None:
        """Made anew: the bare repository where GitHub has it, and the clone in the folder."""
        self.github, self.bare = github, github.repository
        self.clone, self.asked = folder / "clone", folder / "asked"
        for old in (self.bare, self.clone):
            shutil.rmtree(old, ignore_errors=True)
        programs = folder / "bin"
        programs.mkdir(parents=True, exist_ok=True)
        (programs / "gh").write_text(CLIENT)
        (programs / "gh").chmod(0o755)
        self._environment = {
            "PATH": f"{programs}:{program('helm').parent}:{os.environ['PATH']}",
            "ASKED": str(self.asked),
            "RUNNER_TEMP": str(folder),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GITHUB_REPOSITORY": "postrider/postrider",
        }
        self._git(ROOT, "init", "--quiet", "--bare", f"--initial-branch={MAIN}", str(self.bare))
        self._git(ROOT, "push", "--quiet", str(self.bare), f"HEAD:refs/heads/{MAIN}")
        self._git(ROOT, "clone", "--quiet", str(self.bare), str(self.clone))

    def adapt(self, images: Mapping[str, Image]) -> str:
        """Has the repository say what this cluster can run; returns the commit."""
        staging = self.clone / "k8s" / "overlays" / "staging" / "kustomization.yaml"
        overlay = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())
        # What operators make of what is taken away is not in Git: it was made when the cluster was brought up.
        said = yaml.safe_load(staging.read_text())
        said["patches"] += overlay["patches"]
        said["images"] = [
            {"name": name, "newName": images[part].name, "digest": images[part].digest} for name, part in STORES.items()
        ]
        staging.write_text(yaml.safe_dump(said))
        values = self.clone / "argocd" / "envs" / "staging" / "values.yaml"
        more = yaml.safe_load((OVERLAY / "values.yaml").read_text())
        values.write_text(yaml.safe_dump(_merged(yaml.safe_load(values.read_text()), more)))
        for name in AWAY:
            (self.clone / name).unlink()
        return self._commit("Run on one machine")

    def built(self, digest: str) -> str:
        """What the release workflow does with a new image of what `main` is: dev runs it. Returns the commit."""
        revision = self._git(self.clone, "rev-parse", "HEAD").strip()
        self._release("write", "dev", digest, revision)
        return self._commit(f"Run {revision[:12]} in dev")

    def runs(self, environment: str, digest: str) -> str:
        """An environment runs an image, without a proposal; returns the commit."""
        revision = self._git(self.clone, "rev-parse", "HEAD").strip()
        self._release("write", environment, digest, revision)
        return self._commit(f"Run {revision[:12]} in {environment}")

    def promote(self, environment: str) -> list[str]:
        """Runs the promotion's workflow; returns what it asked GitHub for."""
        event = {"inputs": {"to": environment}}
        # Nobody has signed an image that was built here.
        return self._workflow("promote", event, "It is what the release workflow built")

    def roll_back(self, payload: Mapping[str, Any]) -> list[str]:
        """Runs the workflow that a message of Argo Rollouts begins; returns what it asked GitHub for."""
        return self._workflow("rollback", {"inputs": {}, "github": {"event": {"client_payload": payload}}})

    def merge(self, branch: str) -> str:
        """What GitHub does with a proposal that is accepted; returns the commit."""
        self._git(self.clone, "switch", "--quiet", MAIN)
        self._git(self.clone, "merge", "--quiet", "--squash", f"origin/{branch}")
        return self._commit(f"Merge {branch}")

    def image(self, environment: str, branch: str = MAIN) -> str:
        """What the file says that an environment runs."""
        return self._git(self.bare, "show", f"{branch}:argocd/envs/{environment}/image.yaml")

    def run(self, *command: str, folder: Path | None = None) -> str:
        """What a command says in the clone, or in another folder; AssertionError when it fails."""
        environment = {**os.environ, **self._environment}
        done = subprocess.run(
            command, cwd=folder or self.clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def _workflow(self, name: str, event: Mapping[str, Any], *left_out: str) -> list[str]:
        self.asked.unlink(missing_ok=True)
        bot = {"steps": {"bot": {"outputs": {"token": "a token"}}}}
        run_job(name, "propose", self.clone, {**event, **bot}, self._environment, left_out)
        return self.asked.read_text().splitlines()

    def _release(self, command: str, environment: str, digest: str, revision: str) -> None:
        time = self._git(self.clone, "log", "-1", "--format=%cI").strip()
        words = [command, environment, "--digest", digest, "--revision", revision, "--built-at", time]
        self.run(".ci/release", *words)

    def _commit(self, message: str) -> str:
        names = ("-c", "user.name=postrider-bot", "-c", "user.email=postrider-bot@users.noreply.github.com")
        self._git(self.clone, "add", "--all")
        self._git(self.clone, *names, "commit", "--quiet", "--message", message)
        self._git(self.clone, "push", "--quiet", "origin", f"HEAD:{MAIN}")
        return self._git(self.clone, "rev-parse", "HEAD").strip()

    def _git(self, folder: Path, *words: str) -> str:
        return self.run("git", *words, folder=folder)


def _merged(one: Any, other: Any) -> Any:  # noqa: ANN401 any part of values
    """Values with others over them."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return other
    return {**one, **{key: _merged(one.get(key), value) for key, value in other.items()}}
