"""What Git says that there is: every Application, and the manifests of those whose source is this repository."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.deploy.gitops.applicationsets import OURS, Tree, applications
from tests.deploy.tally import count
from tests.deploy.tools import program
from tests.servers import ROOT

ARGOCD = ROOT / "argocd"
ENVIRONMENTS = sorted(folder.name for folder in (ARGOCD / "envs").iterdir())


@cache
def by_hand() -> list[Tree]:
    """The Applications and projects that are written down as they are."""
    files = [ARGOCD / "bootstrap" / "root.yaml", ARGOCD / "bootstrap" / "argocd.yaml", *ARGOCD.glob("projects/*.yaml")]
    return [document for file in files for document in documents(file.read_text())]


@cache
def generated() -> list[Tree]:
    """The Applications that the ApplicationSets make."""
    return [one for file in sorted(ARGOCD.glob("appsets/*.yaml")) for one in applications(file.read_text())]


@cache
def components() -> list[Tree]:
    """The Applications of the platform, one for each component in each environment."""
    return [one for application in generated() if "platform" in paths(application) for one in manifests(application)]


def every_application() -> list[Tree]:
    """All Applications that there are."""
    return [*(one for one in by_hand() if one["kind"] == "Application"), *generated(), *components()]


def projects() -> dict[str, Tree]:
    """The specification of each project."""
    return {one["metadata"]["name"]: one["spec"] for one in by_hand() if one["kind"] == "AppProject"}


def of(kind: str, environment: str) -> Tree:
    """The Application of an environment: `platform`, `config` or `app`."""
    return next(one for one in generated() if one["metadata"]["name"] == f"{kind}-{environment}")


def sources(application: Tree) -> list[Tree]:
    """The sources of an Application, of which there may be one."""
    spec = application["spec"]
    found: list[Tree] = spec["sources"] if "sources" in spec else [spec["source"]]
    return found


def paths(application: Tree) -> set[str]:
    """The names of the folders of this repository that an Application is made of."""
    return {Path(one["path"]).name for one in sources(application) if one["repoURL"] == OURS and "path" in one}


def manifests(application: Tree) -> list[Tree]:
    """What an Application holds, if that comes from this repository alone."""
    return _held(json.dumps(application))


@cache
def _held(application: str) -> list[Tree]:
    whole = json.loads(application)
    return [one for source in ours(whole) for one in documents(_rendered(source, whole["spec"]["destination"]))]


def said_to_chart(said: Tree) -> Tree:
    """What an Application says itself to a chart."""
    found: Tree = said["valuesObject"] if "valuesObject" in said else yaml.safe_load(said.get("values", "{}"))
    return found


def packaged(application: Tree, chart: Path) -> list[Tree]:
    """What an Application of somebody else's chart holds, whose chart lies in a folder."""
    (source,) = sources(application)
    return list(documents(_chart(chart, source["helm"], application["spec"]["destination"]["namespace"])))


def ours(application: Tree) -> list[Tree]:
    """The sources of an Application that make manifests; ValueError where another's are among them."""
    making = [one for one in sources(application) if "ref" not in one]
    if foreign := [one["repoURL"] for one in making if one["repoURL"] != OURS]:
        raise ValueError(f"{application['metadata']['name']} comes from {', '.join(foreign)} as well")
    return making


def documents(text: str) -> Iterator[Tree]:
    """The documents of a file of YAML."""
    return (document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document)


def _rendered(source: Tree, destination: Tree) -> str:
    folder = ROOT / source["path"]
    if (folder / "Chart.yaml").exists():
        return _chart(folder, source["helm"], destination["namespace"])
    if (folder / "kustomization.yaml").exists():
        return _run([program("kustomize"), "build", folder])
    return "\n---\n".join(file.read_text() for file in _directory(folder, source["directory"]["include"]))


def _chart(folder: Path, said: Tree, namespace: str) -> str:
    """What Helm makes of a chart; what an Application says itself counts more than the files that it names."""
    with TemporaryDirectory() as place:
        own = Path(place) / "values.json"
        own.write_text(json.dumps(said_to_chart(said)))
        files = [str(ROOT / name.removeprefix("$values").lstrip("/")) for name in said.get("valueFiles", [])]
        options = [word for file in [*files, own] for word in ("--values", file)]
        return _run([program("helm"), "template", said["releaseName"], folder, "--namespace", namespace, *options])


def _directory(folder: Path, include: str) -> list[Path]:
    return sorted(file for pattern in include.strip("{}").split(",") for file in folder.glob(pattern))


def _run(command: Sequence[Any]) -> str:
    count("renders")
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{Path(command[0]).name} refuses: {done.stderr.strip()}")
    return done.stdout
