"""The release before: what is made of the commit that `previous.txt` names, to stand beside what is here."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.images import Image, Images
from tests.cluster.place import ClusterError
from tests.cluster.releases import Release, newest_revision
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

NAMED = Path(__file__).parent / "previous.txt"
# How an image is built, where the commit does not say so itself yet.
_RECIPE = ("Dockerfile", ".dockerignore")
# What the containers of that commit's image begin with, where it has no launcher yet.
_PLAIN = ["python", "-m", "app.cli.main"]
# Those of its tests that say what is stored and what becomes of it; how long a query takes is no matter here.
_SUITES = ("accept", "claim", "committer", "engine", "record", "retention", "audit")


@dataclass(frozen=True, slots=True)
class Suites:
    """Tests that run, and the file that has what they say."""

    process: subprocess.Popen[bytes]
    said: Path


def commit() -> str:
    """The commit's name."""
    (found,) = (line for line in NAMED.read_text().splitlines() if line and not line.startswith("#"))
    return found


def checkout(folder: Path) -> Path:
    """The folder with the files of that commit; ClusterError where this clone does not have it."""
    done = subprocess.run(["git", "archive", commit()], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise ClusterError(f"{done.stderr.decode().strip()}: git fetch --unshallow brings the commits of before")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")
    for name in _RECIPE:
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


def image(images: Images, here: Image, folder: Path) -> Image:
    """Its image; ClusterError where that, or its schema, is the same as `here`: nothing would be rehearsed."""
    tree = checkout(folder)
    found = images.postrider(tree)
    if found.digest == here.digest:
        raise ClusterError(f"{NAMED.name} names a commit whose image is that of this checkout: name an earlier one")
    if newest_revision(tree) == newest_revision():
        raise ClusterError(f"{NAMED.name} names a commit whose schema is that of this checkout: name an earlier one")
    return found


@contextmanager
def suites_on_this_schema(folder: Path, said: Path) -> Iterator[Suites]:
    """That commit's tests, of its files in a folder, which run with the migrations of this checkout for the block."""
    tree = checkout(folder)
    shutil.rmtree(tree / "migrations")
    shutil.copytree(ROOT / "migrations", tree / "migrations")
    options = ["-q", "-p", "no:cacheprovider", "--numprocesses=2", "--dist=loadfile"]
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/worker/test_{one}.py" for one in _SUITES)]
    # Servers in containers of an engine are out of reach from the network of a node.
    environment = os.environ | {"PYTHONPATH": str(tree), "DOCKER_HOST": f"unix://{tree}/no-engine"}
    with said.open("wb") as file:
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=file, stderr=file)
    try:
        yield Suites(process, said)
    finally:
        process.terminate()
        process.wait()


def with_parts_of(before: Image, folder: Path, release: Release, parts: Collection[str]) -> Release:
    """A release in which these Rollouts run the image of before, and everything else stays as it is."""
    for part in parts:
        release = release.but(part, before.reference)
    if not (folder / "app" / "cli" / "launch.py").exists():
        changed = [
            _without_launcher(one) if one["kind"] == "Rollout" and one["metadata"]["name"] in parts else one
            for one in release.manifests
        ]
        release = Release(release.name, changed)
    return release


def _without_launcher(rollout: Manifest) -> Manifest:
    """As that commit can be started; the command that waits for the schema came with the launcher, and it is there."""
    template = rollout["spec"]["template"]
    pod = {name: value for name, value in template["spec"].items() if name != "initContainers"}
    pod["containers"] = [{**one, "command": _PLAIN, "env": _given(one["env"])} for one in pod["containers"]]
    return {**rollout, "spec": {**rollout["spec"], "template": {**template, "spec": pod}}}


def _given(env: list[Manifest]) -> list[Manifest]:
    """Without what a store may leave out, and this one does: that an empty one is none was not so yet."""
    return [one for one in env if not one.get("valueFrom", {}).get("secretKeyRef", {}).get("optional")]
