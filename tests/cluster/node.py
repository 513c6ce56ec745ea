"""PID 1 of the node: it lays the network, and keeps running whatever the folder of programs names.

`python -m tests.cluster.node FOLDER` is called in namespaces of its own (net, pid, mount); they end with it, and so
does everything that was ever started in them, containers and mounts included. Where a container is the node, the
network is that of the container. A program is a file `programs/NAME.json`
with `argv` and `env`: it is started when its file appears, started again when it ends, and killed when its file goes.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.addresses import DOMAIN, GATEWAY_OF_THE_NODE, GITHUB, NODE, RECEIVERS

_TICK_SECONDS = 0.1
_PAUSE_SECONDS = 1.0
# What programs write to by fixed names, and nobody outside is to find again.
_OWN_PLACES = ("run", "var/lib/cni", "var/log", "var/lib/kubelet")


def main(folder: Path) -> None:
    """Runs until it is killed."""
    _mount(folder)
    _lay_network()
    for name in ("programs", "pids", "logs"):
        (folder / name).mkdir(exist_ok=True)
    # What is orphaned in the namespace becomes a child of its first process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    running: dict[str, _Running] = {}
    while True:
        _tend(folder, running)
        _bury({one.process.pid for one in running.values()})
        time.sleep(_TICK_SECONDS)


class _Running:
    """A program that was started."""

    def __init__(self, folder: Path, name: str, said: dict[str, Any]) -> None:
        self.since = time.monotonic()
        with (folder / "logs" / f"{name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                said["argv"],
                env={**os.environ, **said["env"]},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (folder / "pids" / name).write_text(str(self.process.pid))


def _tend(folder: Path, running: dict[str, _Running]) -> None:
    wanted = {one.stem: one for one in (folder / "programs").glob("*.json")}
    for name in running.keys() - wanted.keys():
        running[name].process.kill()
        running.pop(name).process.wait()
        (folder / "pids" / name).unlink()
    for name, file in wanted.items():
        before = running.get(name)
        if before is None or (before.process.poll() is not None and time.monotonic() - before.since > _PAUSE_SECONDS):
            if before is not None:
                sys.stderr.write(f"{name} ended with {before.process.returncode}: it is started again\n")
                sys.stderr.flush()
            running[name] = _Running(folder, name, json.loads(file.read_text()))


def _bury(own: set[int]) -> None:
    """Takes the ends of orphans; those of the programs are theirs to be asked for."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in own:
            return
        os.waitpid(ended.si_pid, 0)


def _mount(folder: Path) -> None:
    _run("mount", "--make-rshared", "/")
    # Programs of the node ask for names whom pods ask.
    names = folder / "resolv.conf"
    names.write_text(f"search svc.{DOMAIN} {DOMAIN}\nnameserver {NODE}\noptions ndots:5 timeout:2\n")
    _run("mount", "--bind", str(names), "/etc/resolv.conf")
    for place in _OWN_PLACES:
        (folder / "places" / place).mkdir(parents=True, exist_ok=True)
        Path("/", place).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(folder / "places" / place), f"/{place}")


def _lay_network() -> None:
    """A device that leads nowhere, with the node's address on it and those of the receivers and of GitHub."""
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    for device in ("lan0", "lan1"):
        _run("ip", "link", "set", device, "up")
    _run("ip", "address", "add", f"{NODE}/24", "dev", "lan0")
    for address in (*RECEIVERS, GITHUB):
        _run("ip", "address", "add", f"{address}/32", "dev", "lan0")
    if not _leads_somewhere():
        _run("ip", "route", "add", "default", "via", GATEWAY_OF_THE_NODE, "dev", "lan0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _leads_somewhere() -> bool:
    """Whether the network is one that somebody has laid before: that of a container."""
    said = subprocess.run(["ip", "route", "show", "default"], check=True, capture_output=True, text=True).stdout
    return bool(said.strip())


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
