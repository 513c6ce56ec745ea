"""The database of a cluster, as whoever operates it handles it: who leads, backups, and a restore to a moment.

Everything is done through Kubernetes: by what is run in the instances' pods, and by objects.
"""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tests.cluster.install import apply, wait_for
from tests.cluster.kube import NotFoundError
from tests.cluster.place import ClusterError, Place, wait_until
from tests.cluster.stand_ins import CLUSTER, NAMESPACE, RESTORED, make_folders, remove_folder, volume
from tests.deploy.manifests import Manifest, manifests
from tests.servers import ROOT

SOCKETS = "/run/postgresql"
INSTANCE = "/etc/instance/program/instance.py"
ROLE = "cnpg.io/instanceRole"
EXAMPLE = ROOT / "k8s" / "components" / "postgres-backup" / "restore-example.yaml"
NAME_OF_A_BACKUP = "%Y-%m-%dT%H:%M:%S.%fZ"
DATABASE = "postrider"
FOLLOWERS = "SELECT application_name, state, sync_state FROM pg_stat_replication WHERE flush_lsn IS NOT NULL"
_SECONDS = 120.0
_RESTORE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Change:
    """Who led before and who leads now; the seconds in which nobody did, and those until both were whole again."""

    before: str
    now: str
    without_leader: float
    whole: float


@dataclass(frozen=True, slots=True)
class Postgres:
    """The instances. ClusterError where one does not do what it is told."""

    place: Place

    def primary(self) -> str:
        """The pod that leads; ClusterError where not exactly one does."""
        return self._only("primary")

    def standby(self) -> str:
        """The pod that follows; ClusterError where not exactly one does."""
        return self._only("replica")

    def ask(self, query: str, pod: str = "", database: str = DATABASE) -> str:
        """What an instance, the one that leads unless another is named, answers to its superuser."""
        words = [
            "psql",
            "--no-psqlrc",
            "--quiet",
            f"--host={SOCKETS}",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
        ]
        return self._run(pod or self.primary(), *words, f"--command={query}", database)

    def is_followed(self, by: str) -> bool:
        """Whether each commit waits until this pod has it, which has all before it."""
        found = self.ask(FOLLOWERS)
        return found in {f"{by}|streaming|sync", f"{by}|streaming|quorum"}

    def wait_whole(self, seconds: float = _SECONDS) -> float:
        """The seconds until one leads and the other follows."""
        return wait_until(self._is_whole, seconds, lambda: f"not one that leads and one that follows: {self._told()}")

    def switch_over(self) -> Change:
        """Has the other one lead: this one ends when all of it is there, and begins again behind the other."""
        old, new = self.primary(), self.standby()
        if not self.is_followed(new):
            raise ClusterError(f"{new} does not follow {old}: it would lack what was committed")
        began = time.monotonic()
        self._instance(old, "demote")
        last = self._control(old, "Latest checkpoint location")
        there = f"SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) >= '{last}'"
        wait_until(lambda: self.ask(there, new) == "t", _SECONDS, lambda: f"{new} has not all that {old} had")
        return self._promoted(old, new, began)

    def fail_over(self) -> Change:
        """Kills every process of the one that leads, and has the other one lead before it is back."""
        old, new = self.primary(), self.standby()
        self._instance(new, "appoint")
        began = time.monotonic()
        self.kill(old)
        return self._promoted(old, new, began)

    def kill(self, pod: str) -> None:
        """Kills the server in a pod as a machine that fails would: by SIGKILL, without a word to anybody."""
        self._run(pod, "sh", "-c", "kill -KILL $(head -n 1 /var/lib/postgresql/data/postmaster.pid)")

    def base_backup(self) -> datetime:
        """Copies all data to where the log is archived; returns when it was whole, which is its name."""
        return _moment(self._instance(self.primary(), "back-up").strip())

    def backups(self) -> list[datetime]:
        """When those that there are were whole, the oldest first."""
        words = ("ls", f"/archive/{CLUSTER}/base")
        return sorted(_moment(name) for name in self._run(self._any(), *words).split() if name != "half")

    def now(self) -> datetime:
        """The time of the database, as its log has it."""
        return datetime.fromisoformat(self.ask("SELECT now() AT TIME ZONE 'UTC'")).replace(tzinfo=UTC)

    def archive(self) -> None:
        """Has everything that was committed until now archived, and one more commit behind it: what ends a restore."""
        self.ask("SELECT pg_current_xact_id()")
        segment = self.ask("SELECT pg_walfile_name(pg_switch_wal())")
        pod, looked = self.primary(), f"test -e /archive/{CLUSTER}/wal/{segment} && echo there || echo missing"
        is_there = partial(self._run, pod, "sh", "-c", looked)
        wait_until(lambda: is_there() == "there", _SECONDS, lambda: f"{segment} is not archived, see the log of {pod}")

    def restore_to(self, moment: datetime) -> str:
        """A cluster of one instance as of a moment, beside the one that there is; returns its pod.

        It comes from the last backup before the moment, and from the archived log: `archive` has to have been called
        after it, where the one that there is still runs. ValueError where no backup is that old.
        """
        base = max((one for one in self.backups() if one <= moment), default=None)
        if base is None:
            raise ValueError(f"no backup was whole at {moment}: {self.backups()}")
        self.forget_restored()
        make_folders(self.place, f"data-{RESTORED}-0")
        apply(self.place, [volume(self.place, f"data-{RESTORED}-0"), *_network(), *self._restored(base, moment)])
        wait_for(self.place, [_reference("apps/v1", "StatefulSet", RESTORED)], _RESTORE_SECONDS)
        pod = f"{RESTORED}-0"
        wait_until(lambda: self._leads(pod), _RESTORE_SECONDS, lambda: f"{pod} has not come to {moment}")
        wait_until(lambda: self._role(pod) == "primary", _SECONDS, lambda: f"{pod} does not say that it leads")
        return pod

    def forget_restored(self) -> None:
        """Takes away what `restore_to` made, with its data."""
        claim = f"data-{RESTORED}-0"
        for version, kind, name in (
            ("apps/v1", "StatefulSet", RESTORED),
            ("v1", "Pod", f"{RESTORED}-0"),
            ("v1", "Service", f"{RESTORED}-rw"),
            ("v1", "Service", f"{RESTORED}-instances"),
            ("networking.k8s.io/v1", "NetworkPolicy", RESTORED),
            ("v1", "PersistentVolumeClaim", claim),
            ("v1", "PersistentVolume", claim),
        ):
            self._gone(version, kind, name)
        remove_folder(self.place, claim)

    def send_callers_to(self, cluster: str) -> None:
        """Has the name by which everybody calls the database lead to this cluster, `postgres` or the restored one."""
        selector = {"cnpg.io/cluster": cluster, ROLE: "primary"}
        self.place.kube().patch("v1", "Service", f"{CLUSTER}-rw", {"spec": {"selector": selector}}, NAMESPACE)

    def _promoted(self, old: str, new: str, began: float) -> Change:
        self.ask("SELECT pg_promote(true, 60)", new, "postgres")
        led = time.monotonic()
        # So that whoever comes back sees at once from where on it has to be rewound.
        self.ask("CHECKPOINT", new, "postgres")
        wait_until(lambda: self._is_whole(new), _SECONDS, lambda: f"{old} does not follow {new}: {self._told()}")
        return Change(old, new, led - began, time.monotonic() - began)

    def _is_whole(self, leader: str = "") -> bool:
        roles = self._roles()
        if sorted(roles.values()) != ["primary", "replica"] or (leader and roles[leader] != "primary"):
            return False
        try:
            return self.is_followed(self.standby())
        except ClusterError:
            return False

    def _told(self) -> str:
        """Who says what of itself, and who is followed by whom."""
        try:
            return f"{self._roles()}, {self.ask(FOLLOWERS)}"
        except ClusterError as error:
            return f"{self._roles()}, {error}"

    def _roles(self) -> Mapping[str, str]:
        pods = self.place.kube().list("v1", "Pod", NAMESPACE, selector=f"cnpg.io/cluster={CLUSTER}")
        return {one["metadata"]["name"]: one["metadata"]["labels"].get(ROLE, "") for one in pods}

    def _role(self, pod: str) -> str:
        labels = self.place.kube().get("v1", "Pod", pod, NAMESPACE)["metadata"]["labels"]
        return str(labels.get(ROLE, ""))

    def _leads(self, pod: str) -> bool:
        return self.ask("SELECT pg_is_in_recovery()", pod) == "f"

    def _only(self, role: str) -> str:
        roles = self._roles()
        found = [name for name, said in roles.items() if said == role]
        if len(found) != 1:
            raise ClusterError(f"{len(found)} pods say that they are the {role}: {roles}")
        return found[0]

    def _any(self) -> str:
        """A pod that sees the archive, whoever leads."""
        return next(iter(self._roles()))

    def _instance(self, pod: str, word: str) -> str:
        return self._run(pod, "python3", INSTANCE, word)

    def _control(self, pod: str, what: str) -> str:
        said = self._run(pod, "pg_controldata", "/var/lib/postgresql/data")
        return next(line.partition(":")[2].strip() for line in said.splitlines() if line.startswith(what))

    def _run(self, pod: str, *words: str) -> str:
        told = ("exec", f"--namespace={NAMESPACE}", pod, "--container=postgres", "--", *words)
        return self.place.kubectl(*told).strip()

    def _gone(self, version: str, kind: str, name: str) -> None:
        kube = self.place.kube()

        def is_gone() -> bool:
            try:
                kube.get(version, kind, name, NAMESPACE)
            except NotFoundError:
                return True
            return False

        if not is_gone():
            kube.delete(version, kind, name, NAMESPACE)
            wait_until(is_gone, _SECONDS, lambda: f"{kind} {name} does not go")

    def _restored(self, base: datetime, moment: datetime) -> list[Manifest]:
        """The instances' own manifest, for one that begins elsewhere, and the Services by which it is found."""
        kube = self.place.kube()
        whole: dict[str, Any] = deepcopy({**kube.get("apps/v1", "StatefulSet", CLUSTER, NAMESPACE)})
        whole.pop("status")
        whole["metadata"] = {"name": RESTORED, "namespace": NAMESPACE, "labels": {"cnpg.io/cluster": RESTORED}}
        spec = whole["spec"]
        spec["replicas"], spec["serviceName"] = 1, f"{RESTORED}-instances"
        spec["selector"]["matchLabels"] = {"cnpg.io/cluster": RESTORED}
        spec["template"]["metadata"]["labels"]["cnpg.io/cluster"] = RESTORED
        for claim in spec["volumeClaimTemplates"]:
            claim.pop("status", None)
        (container,) = spec["template"]["spec"]["containers"]
        container["command"] = ["python3", INSTANCE, "restore"]
        container["env"] = [
            *({"name": name, "value": value} for name, value in _restoring(base, moment).items()),
            *(one for one in container["env"] if one["name"] != "CLUSTER"),
        ]
        leads = {"cnpg.io/cluster": RESTORED, ROLE: "primary"}
        return [
            _service(f"{RESTORED}-rw", {"selector": leads}),
            _service(
                f"{RESTORED}-instances",
                {"selector": {"cnpg.io/cluster": RESTORED}, "clusterIP": "None", "publishNotReadyAddresses": True},
            ),
            whole,
        ]


def _restoring(base: datetime, moment: datetime) -> Mapping[str, str]:
    """What the instance is told of where it begins and ends."""
    return {
        "CLUSTER": RESTORED,
        "RESTORE_FROM": CLUSTER,
        "RESTORE_BASE": base.strftime(NAME_OF_A_BACKUP),
        "RESTORE_TO": moment.astimezone(UTC).isoformat(sep=" "),
    }


def _network() -> list[Manifest]:
    """Who may call the restored one, as the example of a restore has it."""
    return [
        {**one, "metadata": {**one["metadata"], "namespace": NAMESPACE}}
        for one in manifests(EXAMPLE.read_text())
        if one["kind"] == "NetworkPolicy"
    ]


def _service(name: str, spec: Mapping[str, Any]) -> Manifest:
    port = {"name": "postgres", "port": 5432, "targetPort": "postgres"}
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {**spec, "ports": [port]}}


def _reference(version: str, kind: str, name: str) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def _moment(name: str) -> datetime:
    return datetime.strptime(name, NAME_OF_A_BACKUP).replace(tzinfo=UTC)
