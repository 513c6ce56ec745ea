"""What is known of a cluster outlives its API server being out of reach, and is made good when it is back."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import yaml

from app.cli.dev.ports import any_free
from app.cli.dev.process import Child, Program
from tests.cluster.kube import Kube, write_kubeconfig
from tests.cluster.mirror import Mirror
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

SECONDS = 10.0


@contextmanager
def wire(folder: Path, port: int, target: int) -> Iterator[None]:
    """A way from a port to the server for the length of the block; what goes through it is closed with it."""
    argv = [sys.executable, "-m", "tests.faults.relay", str(port), str(target)]
    child = Child(Program("relay", argv, folder / "relay.log", cwd=ROOT, stop_seconds=5), folder)
    try:
        yield
    finally:
        child.stop()


def soon(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


def config(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "postrider"}}


def test_what_is_known_stays_while_nobody_can_be_asked_and_is_made_good_afterwards(
    kubernetes: ApiServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.cluster.mirror.RETRY_SECONDS", 0.05)
    (cluster,) = yaml.safe_load(kubernetes.kubeconfig.read_text())["clusters"]
    (user,) = yaml.safe_load(kubernetes.kubeconfig.read_text())["users"]
    target, port = urlsplit(cluster["cluster"]["server"]).port, any_free()
    assert target is not None
    authority = Path(cluster["cluster"]["certificate-authority"])
    url = f"https://127.0.0.1:{port}"
    kube = Kube(write_kubeconfig(tmp_path / "kubeconfig", url, user["user"]["token"], authority))
    names = [f"mirror-{uuid4().hex[:8]}" for _ in range(3)]
    for name in names[:2]:
        kubernetes.apply(config(name))

    mirror = Mirror(kube, [("v1", "ConfigMap")], "postrider")

    def known() -> list[str]:
        found = {one["metadata"]["name"] for one in mirror.manifests()}
        return [name for name in names if name in found]

    assert not mirror.wait(0.5)
    # Of ten tries in a row that fail alike one is told.
    assert caplog.messages == ["ConfigMap: [Errno 111] Connection refused"]
    with wire(tmp_path, port, target):
        soon(lambda: mirror.wait(1))
        assert known() == names[:2]
        kubernetes.apply(config(names[2]))
        soon(lambda: known() == names)
    kubernetes.delete("v1", "ConfigMap", names[0])
    assert mirror.wait(0.5)
    assert known() == names
    with wire(tmp_path, port, target):
        soon(lambda: known() == names[1:])
