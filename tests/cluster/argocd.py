"""Argo CD: what makes the cluster what Git says, by a GitHub of this machine.

It is set up as argocd/bootstrap/values.yaml says. Its server, with its pages and accounts, is not here: nobody looks.
"""

import base64
import json
import secrets as dice
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from app.cli.dev.homes import redis_program
from tests.cluster.addresses import API_PORT, GITHUB, NODE
from tests.cluster.github import HOSTS, TOKEN
from tests.cluster.github import GitHub as Folder
from tests.cluster.identity import GITHUB_AUTHORITY
from tests.cluster.kube import Kube
from tests.cluster.place import NodeProgram, Place
from tests.cluster.services import kubeconfig_of_account, namespace, token_of_account
from tests.deploy.crds import fetched, pin
from tests.deploy.gitops.rendered import components
from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tools import program
from tests.servers import ROOT

CLUSTER = "staging"
_MODULE = "github.com/argoproj/argo-cd/v3"
_NAMESPACE = "argocd"
_CONTROLLER = "argocd-application-controller"
_SETS = "argocd-applicationset-controller"
_NOTIFICATIONS = "argocd-notifications-controller"
# What its own manifests say of whom each part is and what it may, and what it is told where nobody says otherwise.
_OWN = (
    "base/application-controller-roles/argocd-application-controller-sa.yaml",
    "base/application-controller-roles/argocd-application-controller-role.yaml",
    "base/application-controller-roles/argocd-application-controller-rolebinding.yaml",
    "base/applicationset-controller/argocd-applicationset-controller-sa.yaml",
    "base/applicationset-controller/argocd-applicationset-controller-role.yaml",
    "base/applicationset-controller/argocd-applicationset-controller-rolebinding.yaml",
    "base/notification/argocd-notifications-controller-sa.yaml",
    "base/notification/argocd-notifications-controller-role.yaml",
    "base/notification/argocd-notifications-controller-rolebinding.yaml",
    "cluster-rbac/application-controller/argocd-application-controller-clusterrole.yaml",
    "cluster-rbac/application-controller/argocd-application-controller-clusterrolebinding.yaml",
)
_GITHUB, _REDIS, _REPO = "github", "argocd-redis", "argocd-repo-server"
_PROGRAMS = (_GITHUB, _REDIS, _REPO, _CONTROLLER, _SETS, _NOTIFICATIONS)
_DEFAULTS = "base/config/argocd-cm.yaml"
_VERIFY = "git-verify-wrapper.sh"
_REDIS_PORT, _REPO_PORT, _HEALTH_PORT = 9680, 9681, 9682
_OF_THE_WHOLE_CLUSTER = {"ClusterRole", "ClusterRoleBinding"}


def github(place: Place) -> Folder:
    """What GitHub has: the repository that Argo CD reads, and what it was told."""
    return Folder(place.folder / "github")


def argocd_objects(place: Place) -> list[Manifest]:
    """What the programs stand on."""
    folder = fetched(pin(_MODULE)) / "manifests"
    own = [one for name in _OWN for one in manifests((folder / name).read_bytes())]
    (defaults,) = manifests((folder / _DEFAULTS).read_bytes())
    said = _said()
    notes = said["notifications"]
    trusted = _trusted(place).read_text()
    return [
        namespace(_NAMESPACE),
        *(_placed(one) for one in own),
        _configuration("argocd-cm", {**defaults["data"], **said["configs"]["cm"]}),
        _configuration("argocd-cmd-params-cm", said["configs"]["params"]),
        _configuration("argocd-rbac-cm", said["configs"]["rbac"]),
        _configuration("argocd-tls-certs-cm", dict.fromkeys(HOSTS, trusted)),
        _configuration("argocd-notifications-cm", {**notes["notifiers"], **notes["templates"], **notes["triggers"]}),
        _secret("argocd-secret", {"server.secretkey": dice.token_hex(32)}),
        _secret(notes["secret"]["name"], {"github-token": TOKEN}),
        *_notifications_of_rollouts(),
    ]


def argocd(place: Place) -> list[NodeProgram]:
    """The programs, each in the name of its service account, and the GitHub that they ask."""
    # Whoever was killed left files.
    shutil.rmtree(place.folder / "argocd", ignore_errors=True)
    _name_cluster(place)
    return [
        _github(place),
        _redis(place),
        _repo_server(place),
        _application_controller(place),
        _set_controller(place),
        _notifications_controller(place),
    ]


def end_argocd(place: Place) -> None:
    """Ends the programs and takes away what they stood on; what they made of other things stays as it is."""
    for name in reversed(_PROGRAMS):
        place.stop(name)
    kube = place.kube()
    for one in _notifications_of_rollouts():
        kube.delete(one["apiVersion"], one["kind"], one["metadata"]["name"], one["metadata"]["namespace"])
    place.kubectl("delete", "namespace", _NAMESPACE)
    shutil.rmtree(place.folder / "argocd")


def _trusted(place: Place) -> Path:
    return place.file("pki", f"{GITHUB_AUTHORITY}.crt")


def _said() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "argocd" / "bootstrap" / "values.yaml").read_text())
    return values


def _notifications_of_rollouts() -> list[Manifest]:
    """What the chart of Argo Rollouts makes of argocd/platform/values.yaml, so that an abort is told."""
    application = next(one for one in components() if one["metadata"]["name"] == f"argo-rollouts-{CLUSTER}")
    notes = application["spec"]["source"]["helm"]["valuesObject"]["notifications"]
    data = {**notes["notifiers"], **notes["templates"], **notes["triggers"]}
    subscriptions = yaml.safe_dump(notes["subscriptions"])
    inside = application["spec"]["destination"]["namespace"]
    return [
        _configuration("argo-rollouts-notification-configmap", {**data, "subscriptions": subscriptions}, inside),
        _secret("argo-rollouts-notification-secret", {"github-token": TOKEN}, inside),
    ]


def _name_cluster(place: Place) -> None:
    """Names this cluster as argocd/envs/staging/config.yaml does, and the node as Argo CD's own cluster."""
    authority = base64.b64encode(place.file("pki", "ca.crt").read_bytes()).decode()
    config = {
        "bearerToken": token_of_account(place, _CONTROLLER, _NAMESPACE),
        "tlsClientConfig": {"caData": authority},
    }
    server = f"https://{NODE}:{API_PORT}"
    secret = _secret(f"cluster-{CLUSTER}", {"name": CLUSTER, "server": server, "config": json.dumps(config)})
    labels = {"argocd.argoproj.io/secret-type": "cluster"}
    Kube(place.kubeconfig()).apply({**secret, "metadata": {**secret["metadata"], "labels": labels}})


def _github(place: Place) -> NodeProgram:
    folder = github(place).folder
    folder.mkdir(exist_ok=True)
    pki = place.file("pki", "github.crt").parent
    argv = [sys.executable, "-m", "tests.cluster.github", folder, GITHUB, pki / "github.crt", pki / "github.key"]
    return NodeProgram(_GITHUB, argv, {"PYTHONPATH": str(ROOT)})


def _redis(place: Place) -> NodeProgram:
    folder = place.file("argocd", "redis")
    folder.mkdir(exist_ok=True)
    argv = [
        *(redis_program(None), "--bind", "127.0.0.1", "--port", _REDIS_PORT, "--dir", folder),
        *("--save", "", "--appendonly", "no"),
    ]
    return NodeProgram(_REDIS, argv)


def _repo_server(place: Place) -> NodeProgram:
    """It fetches what is asked for, and renders it by the programs that are pinned."""
    home = place.file("argocd", "repo")
    for name in ("home", "programs", "tls", "fixed"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for name in ("helm", "kustomize"):
        (home / "programs" / name).symlink_to(program(name))
    # As in its image: it asks whether a commit is signed even where nobody wants to know.
    Path(shutil.copy(fetched(pin(_MODULE)) / "hack" / _VERIFY, home / "programs")).chmod(0o755)
    # As a volume of argocd-tls-certs-cm.
    for host in HOSTS:
        (home / "tls" / host).write_text(_trusted(place).read_text())
    env = {
        **_common(place),
        "PATH": f"{home}/programs:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": f"{home}/home",
        "ARGOCD_TLS_DATA_PATH": f"{home}/tls",
        "ARGOCD_GPG_ENABLED": "false",
        "HELM_CACHE_HOME": f"{home}/home",
        "HELM_CONFIG_HOME": f"{home}/home",
        "HELM_DATA_HOME": f"{home}/home",
    }
    argv = [
        # Asked for no TLS, it takes no default for whom it would trust by it.
        *(program(_REPO), f"--redis=127.0.0.1:{_REDIS_PORT}", "--disable-tls", "--client-ca-path="),
        *("--address=127.0.0.1", f"--port={_REPO_PORT}"),
        *("--metrics-address=127.0.0.1", f"--metrics-port={_HEALTH_PORT}"),
    ]
    # It listens at a fixed name in /tmp, which is the machine's.
    wrapped = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /tmp && exec "$@"', home / "fixed", *argv]
    healthy = f"http://127.0.0.1:{_HEALTH_PORT}/healthz?full=true"
    return NodeProgram(_REPO, wrapped, env, ready=lambda: place.answers(healthy))


def _application_controller(place: Place) -> NodeProgram:
    kubeconfig = kubeconfig_of_account(place, _CONTROLLER, _NAMESPACE)
    argv = [
        *(program(_CONTROLLER), f"--kubeconfig={kubeconfig}", f"--namespace={_NAMESPACE}"),
        *(f"--redis=127.0.0.1:{_REDIS_PORT}", f"--repo-server=127.0.0.1:{_REPO_PORT}", "--repo-server-plaintext"),
        f"--metrics-port={_HEALTH_PORT + 1}",
        f"--server-side-diff-enabled={str(_params()['controller.diff.server.side']).lower()}",
    ]
    # Its own cluster it knows by the files of a pod, or by this.
    env = {**_common(place), "ARGOCD_FAKE_IN_CLUSTER": "true", "KUBECONFIG": str(kubeconfig)}
    healthy = f"http://127.0.0.1:{_HEALTH_PORT + 1}/healthz"
    return NodeProgram(_CONTROLLER, argv, env, ready=lambda: place.answers(healthy))


def _set_controller(place: Place) -> NodeProgram:
    kubeconfig = kubeconfig_of_account(place, _SETS, _NAMESPACE)
    argv = [
        *(program(_SETS), f"--kubeconfig={kubeconfig}"),
        *(f"--namespace={_NAMESPACE}", f"--argocd-repo-server=127.0.0.1:{_REPO_PORT}", "--repo-server-plaintext"),
        *(f"--metrics-addr=127.0.0.1:{_HEALTH_PORT + 2}", f"--probe-addr=127.0.0.1:{_HEALTH_PORT + 3}"),
        *(f"--webhook-addr=127.0.0.1:{_HEALTH_PORT + 4}", f"--policy={_params()['applicationsetcontroller.policy']}"),
    ]
    healthy = f"http://127.0.0.1:{_HEALTH_PORT + 2}/metrics"
    # A part of it reads no flags.
    env = {**_common(place), "KUBECONFIG": str(kubeconfig)}
    return NodeProgram(_SETS, argv, env, ready=lambda: place.answers(healthy))


def _notifications_controller(place: Place) -> NodeProgram:
    argv = [
        *(program("argocd-notifications"), f"--kubeconfig={kubeconfig_of_account(place, _NOTIFICATIONS, _NAMESPACE)}"),
        *(f"--namespace={_NAMESPACE}", f"--argocd-repo-server=127.0.0.1:{_REPO_PORT}"),
        *("--argocd-repo-server-plaintext", f"--metrics-port={_HEALTH_PORT + 5}"),
    ]
    env = {**_common(place), "ARGOCD_TLS_DATA_PATH": str(place.file("argocd", "repo", "tls"))}
    healthy = f"http://127.0.0.1:{_HEALTH_PORT + 5}/metrics"
    return NodeProgram(_NOTIFICATIONS, argv, env, ready=lambda: place.answers(healthy))


def _common(place: Place) -> Mapping[str, str]:
    """What the chart tells every part, out of argocd-cm, and a place of their own for files."""
    work = place.file("argocd", "work")
    work.mkdir(exist_ok=True)
    return {
        "TMPDIR": str(work),
        "ARGOCD_RECONCILIATION_TIMEOUT": str(_said()["configs"]["cm"]["timeout.reconciliation"]),
        "SSL_CERT_FILE": str(_trusted(place)),
    }


def _params() -> Mapping[str, Any]:
    params: Mapping[str, Any] = _said()["configs"]["params"]
    return params


def _placed(one: Manifest) -> Manifest:
    if one["kind"] in _OF_THE_WHOLE_CLUSTER:
        return one
    placed = {**one, "metadata": {**one["metadata"], "namespace": _NAMESPACE}}
    if one["kind"] != "RoleBinding":
        return placed
    return {**placed, "subjects": [{**subject, "namespace": _NAMESPACE} for subject in one["subjects"]]}


def _configuration(name: str, data: Mapping[str, Any], inside: str = _NAMESPACE) -> Manifest:
    """A ConfigMap that says it is Argo CD's, as those do that it reads; what is no text is written as JSON."""
    said = {key: one if isinstance(one, str) else json.dumps(one) for key, one in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name, inside), "data": said}


def _secret(name: str, data: Mapping[str, str], inside: str = _NAMESPACE) -> Manifest:
    encoded = {key: base64.b64encode(one.encode()).decode() for key, one in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(name, inside), "data": encoded}


def _meta(name: str, inside: str) -> dict[str, Any]:
    return {"name": name, "namespace": inside, "labels": {"app.kubernetes.io/part-of": _NAMESPACE}}
