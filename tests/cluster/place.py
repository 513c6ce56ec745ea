"""Where a cluster lives while it is up, and how it is spoken to from outside of its namespaces."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path

from app.cli.dev.identity import Identity, identify, is_alive
from tests.cluster.kube import Kube
from tests.deploy.tools import program
from tests.servers import ROOT

PLACE = Path(os.environ.get("POSTRIDER_CLUSTER", "/var/lib/postrider-cluster"))
CGROUPS = Path("/sys/fs/cgroup")
_END_SECONDS = 30.0
_CLONE_NEWNET = 0x40000000
# Where the kubelet finds the pods of a control plane, and where it does not.
_MANIFESTS, _HELD = Path("/etc/kubernetes/manifests"), Path("/etc/kubernetes/held")
# It outlives whoever begins it, and says under which number.
_DETACHED = ("setsid", "--fork", "sh", "-c", 'echo $$ > "$0"; exec "$@"')


class ClusterError(Exception):
    """What went wrong with the cluster, and what to do."""


@dataclass(frozen=True, slots=True)
class NodeProgram:
    """A program of the node, by words as `str` writes them, and how it is told that it is ready."""

    name: str
    argv: Sequence[object]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    seconds: float = 90.0


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a cluster."""

    folder: Path = PLACE

    @property
    def cgroup(self) -> str:
        """The name of the control group that every pod's is below."""
        return self.folder.name

    def file(self, *parts: str) -> Path:
        """A path below the folder, in a folder that is there."""
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def kubeconfig(self, name: str = "admin") -> Path:
        """The file by which somebody speaks to the API server."""
        return self.file("kubeconfigs", f"{name}.yaml")

    def begin(self) -> None:
        """Makes the namespaces, with nothing in them but their first process."""
        self.make()
        self._begin_tending("unshare", "--net")

    def make(self) -> None:
        """Makes the folder."""
        self.refuse_what_cannot_begin()
        self.folder.mkdir(parents=True)

    def refuse_what_cannot_begin(self) -> None:
        """ClusterError for who is not root, and where there is a cluster."""
        if os.geteuid() != 0:
            raise ClusterError("namespaces, mounts and control groups are made here: run it as root")
        if self.folder.exists():
            raise ClusterError(f"there is a cluster in {self.folder}, or what is left of one: make cluster-down")

    def begin_in(self, container: int) -> None:
        """The same where a container is the node: programs run beside it, in its network.

        `container` is the pid of its first process.
        """
        self._container.write_text(str(container))
        self._begin_tending("nsenter", f"--target={container}", "--net", "unshare")

    def _begin_tending(self, *entering: str) -> None:
        words = [*entering, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with self.file("logs", "node.log").open("ab") as log:
            subprocess.run(
                [*_DETACHED, self.file("pid"), *words, sys.executable, "-m", "tests.cluster.node", self.folder],
                cwd=ROOT,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self._read("pid") != "", 10.0, lambda: "the node does not begin")
        found = identify(int(self._read("pid")))
        if found is None:
            raise ClusterError(f"the node ended at once: {self.log('node')}")
        self.file("identity.json").write_text(json.dumps([found.pid, found.started]))
        wait_until((self.folder / "pids").is_dir, 20.0, lambda: f"the node did not begin: {self.log('node')}")

    def end(self) -> None:
        """Kills what runs in the namespaces, and takes away every trace."""
        found = self._identity()
        if found is not None and is_alive(found):
            inside = self._first_process(found)
            os.kill(found.pid, signal.SIGKILL)
            wait_until(lambda: not (_exists(inside) or is_alive(found)), _END_SECONDS, lambda: "the node does not end")
        for controller in (CGROUPS, *CGROUPS.iterdir()):
            _remove_cgroup(controller / self.cgroup)
        if self.folder.exists():
            shutil.rmtree(self.folder)

    @property
    def is_container(self) -> bool:
        """Whether the node is a container."""
        return self._container.exists()

    def is_up(self) -> bool:
        """Whether there is a node."""
        found = self._identity()
        return found is not None and is_alive(found)

    def start(self, programs: Iterable[NodeProgram]) -> None:
        """Starts programs of the node one after the other, each when the one before is ready."""
        for one in programs:
            said = {"argv": [str(word) for word in one.argv], "env": dict(one.env)}
            half = self.file("programs", f"{one.name}.half")
            half.write_text(json.dumps(said))
            half.rename(half.with_suffix(".json"))
            wait_until((self.folder / "pids" / one.name).exists, 10.0, lambda: "the node starts nothing")
            if one.ready is not None:
                wait_until(one.ready, one.seconds, partial(self._not_ready, one.name))

    def hold(self, name: str) -> None:
        """Kills a program of the node, which stays away."""
        file = self.folder / "programs" / f"{name}.json"
        if not file.exists():
            self._hold_pod(name)
            return
        file.rename(file.with_suffix(".held"))
        wait_until(lambda: not (self.folder / "pids" / name).exists(), 10.0, lambda: f"{name} does not end")

    def let_go(self, name: str) -> None:
        """Has a program that was held started again."""
        file = self.folder / "programs" / f"{name}.held"
        if not file.exists():
            self.inside(["mv", _HELD / f"{name}.yaml", _MANIFESTS])
            return
        file.rename(file.with_suffix(".json"))
        wait_until((self.folder / "pids" / name).exists, 10.0, lambda: f"{name} does not start")

    def stop(self, name: str) -> None:
        """Ends a program of the node for good, if there is one of that name."""
        (self.folder / "programs" / f"{name}.json").unlink(missing_ok=True)
        wait_until(lambda: not (self.folder / "pids" / name).exists(), 10.0, lambda: f"{name} does not end")

    def inside(self, words: Sequence[str | Path], stdin: str | None = None) -> str:
        """What a command of the node says; ClusterError when it fails."""
        return self._called(["--net", "--mount", "--pid"], words, stdin)

    def _called(self, namespaces: Sequence[str], words: Sequence[str | Path], stdin: str | None) -> str:
        done = subprocess.run(
            ["nsenter", f"--target={self._first()}", *namespaces, "--", *map(str, words)],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"{' '.join(map(str, words))[:300]} failed:\n{(done.stderr or done.stdout)[-3000:]}")
        return done.stdout

    def answers(self, url: str) -> bool:
        """Whether a URL of the node's own network is answered by a success."""
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 ours
                return True
        except OSError:
            return False

    def serves(self, path: str) -> bool:
        """Whether the API server answers a path by 200."""
        try:
            return self.kube().ask("GET", path).status == HTTPStatus.OK
        except OSError:
            return False

    def enter_network(self) -> None:
        """Has this thread, and those that it starts, and their children, use the node's network from now on."""
        with Path(f"/proc/{self._first()}/ns/net").open("rb") as file:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the node's network cannot be entered")

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """What kubectl says, as the administrator."""
        return self._called(["--net"], [program("kubectl"), f"--kubeconfig={self.kubeconfig()}", *words], stdin)

    def kube(self) -> Kube:
        """A client of the API server as its administrator, for whoever has entered the network."""
        return Kube(self.kubeconfig())

    def log(self, name: str, most: int = 3000) -> str:
        """The end of what a program of the node wrote."""
        file = self.folder / "logs" / f"{name}.log"
        return file.read_text(errors="replace")[-most:] if file.exists() else "it wrote nothing"

    def _not_ready(self, name: str) -> str:
        return f"{name} is not ready: {self.log(name)}"

    def _read(self, name: str) -> str:
        file = self.folder / name
        return file.read_text().strip() if file.exists() else ""

    def _first(self) -> int:
        """The pid, as it is outside, of the first process of the node."""
        found = self._identity()
        if found is None or not is_alive(found):
            raise ClusterError("no cluster is up: make cluster-up")
        return int(self._container.read_text()) if self.is_container else self._first_process(found)

    @property
    def _container(self) -> Path:
        return self.folder / "container"

    def _hold_pod(self, name: str) -> None:
        """The same for one that the kubelet runs."""
        self.inside(["mkdir", "--parents", _HELD])
        self.inside(["mv", _MANIFESTS / f"{name}.yaml", _HELD])
        wait_until(lambda: not self._runs(name), _END_SECONDS + 30, lambda: f"{name} does not end")

    def _runs(self, name: str) -> bool:
        # The kernel keeps so much of a name.
        return name[:15] in self.inside(["ps", "-e", "-o", "comm="]).split()

    def _first_process(self, found: Identity) -> int:
        return int(Path(f"/proc/{found.pid}/task/{found.pid}/children").read_text().split()[0])

    def _identity(self) -> Identity | None:
        file = self.folder / "identity.json"
        return Identity(*json.loads(file.read_text())) if file.exists() else None


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> float:
    """Waits until it is so; returns after how many seconds. ClusterError after so many."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise ClusterError(f"{otherwise()} (after {seconds:.0f} s)")
        time.sleep(0.1)
    return time.monotonic() - began


def _exists(pid: int) -> bool:
    return identify(pid) is not None


def _remove_cgroup(top: Path) -> None:
    """A group goes when those below it are gone."""
    for one in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
        one.rmdir()
    if top.is_dir():
        top.rmdir()
