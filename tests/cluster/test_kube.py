"""The client says what the server says: what is there, what changes, and what is refused."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from tests.cluster.kube import Change, Kube, NotFoundError, NotServedError, RefusedError
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.manifests import Manifest

GATEWAY = "gateway.networking.k8s.io/v1"


@pytest.fixture
def kube(kubernetes: ApiServer) -> Kube:
    return Kube(kubernetes.kubeconfig, "me")


@pytest.fixture
def name() -> str:
    return f"kube-{uuid4().hex[:8]}"


def config(name: str, value: str) -> Manifest:
    meta = {"name": name, "namespace": "postrider", "labels": {"for": name}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"value": value}}


def told(changes: Iterator[Change], name: str) -> list[tuple[str, str]]:
    """What a watch tells of one object up to its end."""
    found: list[tuple[str, str]] = []
    for one in changes:
        if one.manifest["metadata"]["name"] == name:
            found.append((one.event, one.manifest["data"]["value"]))
            if one.event == "DELETED":
                break
    return found


def test_what_is_applied_is_there_until_it_is_deleted(kube: Kube, name: str) -> None:
    kube.apply(config(name, "one"))
    assert kube.get("v1", "ConfigMap", name)["data"] == {"value": "one"}
    (listed,) = kube.list("v1", "ConfigMap", selector=f"for={name}")
    assert (listed["kind"], listed["metadata"]["managedFields"][0]["manager"]) == ("ConfigMap", "me")
    kube.delete("v1", "ConfigMap", name)
    with pytest.raises(NotFoundError, match=name):
        kube.get("v1", "ConfigMap", name)


def test_a_patch_changes_what_it_names(kube: Kube, name: str) -> None:
    kube.create(config(name, "one"))
    kube.patch("v1", "ConfigMap", name, {"data": {"more": "two"}})
    assert kube.get("v1", "ConfigMap", name)["data"] == {"value": "one", "more": "two"}


def test_a_status_is_stored_beside_what_is_wanted(kube: Kube, name: str) -> None:
    meta = {"name": name, "namespace": "postrider"}
    head: Manifest = {"apiVersion": GATEWAY, "kind": "Gateway", "metadata": meta}
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    kube.apply({**head, "spec": {"gatewayClassName": "nginx", "listeners": [listener]}})
    kube.apply_status({**head, "status": {"addresses": [{"type": "IPAddress", "value": "10.77.0.2"}]}})
    found = kube.get(GATEWAY, "Gateway", name)
    assert found["status"]["addresses"] == [{"type": "IPAddress", "value": "10.77.0.2"}]
    assert found["spec"]["gatewayClassName"] == "nginx"


def test_a_watch_tells_each_change_in_order(kube: Kube, name: str) -> None:
    since = kube.listing("v1", "ConfigMap").version
    kube.apply(config(name, "one"))
    kube.apply(config(name, "two"))
    kube.delete("v1", "ConfigMap", name)
    with closing(kube.watch("v1", "ConfigMap", since=since, seconds=20)) as changes:
        assert told(changes, name) == [("ADDED", "one"), ("MODIFIED", "two"), ("DELETED", "two")]


def test_a_watch_ends_when_its_time_is_over(kube: Kube) -> None:
    assert list(kube.watch("v1", "Secret", since=kube.listing("v1", "Secret").version, seconds=1)) == []


def test_a_watch_from_what_is_no_version_is_refused(kube: Kube) -> None:
    with pytest.raises(RefusedError, match="resourceVersion"):
        list(kube.watch("v1", "ConfigMap", since="no version", seconds=5))


def test_what_is_wrong_and_what_is_unknown_are_told_apart(kube: Kube, name: str) -> None:
    with pytest.raises(RefusedError, match="field not declared in schema"):
        kube.apply({**config(name, "one"), "dta": {}})
    with pytest.raises(NotServedError):
        kube.list("example.com/v1", "Thing")


def test_a_caller_whom_nobody_knows_is_refused(kubernetes: ApiServer, tmp_path: Path) -> None:
    known = yaml.safe_load(kubernetes.kubeconfig.read_text())
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump({**known, "users": [{"name": "one", "user": {}}]}))
    with pytest.raises(RefusedError) as refused:
        Kube(file).get("v1", "ConfigMap", "one")
    assert refused.value.status == 403
