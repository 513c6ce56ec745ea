"""What operators would make of the custom resources of staging that the overlay leaves out.

Each reads what staging asks for: the templates of its ExternalSecrets, the hosts of its Gateway, its Cluster and its
Pooler. What is drawn is drawn once for a cluster, and lies in its folder.
"""

import json
import secrets as dice
import string
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.identity import NODE_NAME, Authority
from tests.cluster.place import Place
from tests.deploy.gitops.applicationsets import filled_in
from tests.deploy.manifests import Manifest

NAMESPACE = "postrider"
_DISK_BYTES = 2 * 1024**3
CALLERS_AUTHORITY = "callers-ca"
POSTGRES_USER = 26
# By what components/secrets-generated draws them: without symbols they fit into URLs as they are.
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 32
_PASSWORDS = ("api", "worker", "migrator", "autoscaler", "redis", "replication")
CLUSTER = "postgres"
RESTORED = "postgres-restored"
CLAIMS = (f"{CLUSTER}-archive", f"data-{CLUSTER}-0", f"data-{CLUSTER}-1")


def made(place: Place, staging: Sequence[Manifest]) -> list[Manifest]:
    """All of them, for what staging is rendered to."""
    drawn = store(place)
    return [
        *secrets(drawn, staging),
        _secret("postgres-replication", {"password": drawn["replication"]}),
        certificate(place, _one(staging, "Gateway")),
        configuration(_one(staging, "Cluster")),
        pooler(drawn, _one(staging, "Pooler")),
        *volumes(place),
    ]


def store(place: Place) -> Mapping[str, str]:
    """The entry of staging's store, drawn when it is first asked for."""
    file = place.file("secrets", "store.json")
    if not file.exists():
        drawn = {name: "".join(dice.choice(_LETTERS) for _ in range(_LENGTH)) for name in _PASSWORDS}
        key = b64encode(dice.token_bytes(32)).decode()
        file.touch(0o600)
        file.write_text(json.dumps({**drawn, "keys": json.dumps({"k1": key}), "active": "k1"}))
    found: Mapping[str, str] = json.loads(file.read_text())
    return found


def secrets(drawn: Mapping[str, str], staging: Iterable[Manifest]) -> list[Manifest]:
    """The Secret of each ExternalSecret, by its own template; ValueError where that asks for what is not there."""
    targets = [one["spec"]["target"] for one in staging if one["kind"] == "ExternalSecret"]
    filled = filled_in([(one["template"]["data"], drawn) for one in targets], [])
    return [
        _secret(target["name"], data, target["template"].get("type", "Opaque"), target["template"].get("metadata", {}))
        for target, data in zip(targets, filled, strict=True)
    ]


def certificate(place: Place, gateway: Manifest) -> Manifest:
    """The Secret that the Gateway's listener names, signed by an authority whose certificate callers have to trust."""
    if not place.file("pki", "gateway.crt").exists():
        hosts = sorted({one["hostname"] for one in gateway["spec"]["listeners"]})
        Authority(place, CALLERS_AUTHORITY).issue("gateway", hosts)
    (name,) = [
        one["name"]
        for listener in gateway["spec"]["listeners"]
        for one in listener.get("tls", {}).get("certificateRefs", [])
    ]
    pair = {f"tls.{end}": place.file("pki", f"gateway.{end}").read_text() for end in ("crt", "key")}
    return _secret(name, pair, "kubernetes.io/tls")


def configuration(cluster: Manifest) -> Manifest:
    """What the instances read of the Cluster."""
    asked = {name: cluster["spec"][name] for name in ("bootstrap", "managed", "postgresql")}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "postgres-cluster", "namespace": NAMESPACE},
        "data": {"cluster.json": json.dumps(asked, sort_keys=True)},
    }


def pooler(drawn: Mapping[str, str], asked: Manifest) -> Manifest:
    """pgbouncer's file and the one user that comes through it; its passwords the operator would ask the server for."""
    bouncer = asked["spec"]["pgbouncer"]
    settings: Mapping[str, Any] = {
        "listen_addr": "*",
        "listen_port": 5432,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": "/etc/pgbouncer/userlist.txt",
        "pool_mode": bouncer["poolMode"],
        **bouncer["parameters"],
    }
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    where = f"host={asked['spec']['cluster']['name']}-{asked['spec']['type']} port=5432"
    file = f"[databases]\n* = {where}\n[pgbouncer]\n{lines}"
    return _secret(
        asked["metadata"]["name"],
        {"pgbouncer.ini": file, "userlist.txt": f'"postrider_api" "{drawn["api"]}"\n'},
    )


def volumes(place: Place) -> list[Manifest]:
    """Folders of the machine for the claims of databases: they outlive their pods, and go with the cluster's folder."""
    return [volume(place, claim) for claim in CLAIMS]


def disk_of(place: Place, instance: str) -> Path:
    """Where the disk of an instance is, inside of the node."""
    return place.folder / "volumes" / f"data-{instance}"


def make_folders(place: Place, *claims: str) -> None:
    """Makes the folders of claims, unless they are there; what holds data is a disk of its own, which can be full."""
    for claim in claims:
        folder = place.folder / "volumes" / claim
        if folder.exists():
            continue
        folder.mkdir(parents=True, mode=0o700)
        if claim.startswith("data-"):
            disk = folder.with_suffix(".disk")
            with disk.open("wb") as file:
                file.truncate(_DISK_BYTES)
            place.inside(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", disk])
            place.inside(["mount", "-o", "loop", disk, folder])
        place.inside(["chown", f"{POSTGRES_USER}:{POSTGRES_USER}", folder])
        place.inside(["chmod", "700", folder])


def remove_folder(place: Place, claim: str) -> None:
    """Takes away the disk of a claim whose pod is gone."""
    folder = place.folder / "volumes" / claim
    if folder.exists():
        place.inside(["umount", folder])
        folder.with_suffix(".disk").unlink()
        folder.rmdir()


def volume(place: Place, claim: str) -> Manifest:
    """The same for one of them."""
    folder = place.folder / "volumes" / claim
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": claim},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "20Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": claim},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


def _secret(
    name: str, data: Mapping[str, str], kind: str = "Opaque", meta: Mapping[str, Any] | None = None
) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**(meta or {}), "name": name, "namespace": NAMESPACE},
        "type": kind,
        "stringData": data,
    }


def _one(staging: Iterable[Manifest], kind: str) -> Manifest:
    (found,) = [one for one in staging if one["kind"] == kind]
    return found
