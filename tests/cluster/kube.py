"""A client of a Kubernetes API server: plain HTTPS, JSON both ways, and whatever a kubeconfig lets it do."""

import base64
import http.client
import json
import socket
import ssl
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from tests.deploy.manifests import Manifest, named

ANSWER_SECONDS = 60.0
# How much longer than it asked for a watch waits for the server to end it.
GRACE_SECONDS = 30.0
STRICT = "fieldValidation=Strict&force=true"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class RefusedError(Exception):
    """What the server has against a request; `status` is HTTP's."""

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


class NotServedError(RefusedError):
    """The server does not know the kind."""


class NotFoundError(RefusedError):
    """There is no such object."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says, with the warnings beside it."""

    status: int
    body: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of a kind, and the version of the whole, from which a watch goes on."""

    items: list[Manifest]
    version: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells: `ADDED`, `MODIFIED` or `DELETED`, and the object as it is, or was at last."""

    event: str
    manifest: Manifest


class Kube:
    """One caller of one server. `manager` is who it says it is when it applies. Threads may share it.

    Every method raises RefusedError where the server refuses, and OSError where it cannot be reached.
    """

    def __init__(self, kubeconfig: Path, manager: str = "tests") -> None:
        cluster, user = _current(yaml.safe_load(kubeconfig.read_text()))
        where = urlsplit(cluster["server"])
        self._host, self._port = str(where.hostname), where.port or 443
        self._trust = _trust(cluster, user)
        self._token = str(user.get("token", ""))
        self._manager = manager
        self._kinds: dict[str, dict[str, dict[str, Any]]] = {}

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Answer:
        """One request, whatever its answer."""
        connection = self._connection(ANSWER_SECONDS)
        try:
            answer = self._sent(connection, method, path, body, kind)
            said = answer.read()
            return Answer(answer.status, _read(said), answer.headers.get_all("Warning") or [])
        finally:
            connection.close()

    def get(self, version: str, kind: str, name: str, namespace: str = "postrider") -> Manifest:
        """An object, as `get("apps/v1", "Deployment", "one")`; NotFoundError where there is none."""
        wanted = _reference(version, kind, name, namespace)
        return self._taken(wanted, self.ask("GET", self.path(wanted))).body

    def list(self, version: str, kind: str, namespace: str = "postrider", *, selector: str = "") -> list[Manifest]:
        """The objects of a kind in a namespace, or in all of them where it is empty, by labels as `kubectl -l`."""
        return self.listing(version, kind, namespace, selector=selector).items

    def listing(self, version: str, kind: str, namespace: str = "postrider", *, selector: str = "") -> Listing:
        """The same, with the version of the whole."""
        query = urlencode({"labelSelector": selector} if selector else {})
        answer = self.ask("GET", f"{self._folder(version, kind, namespace)}?{query}")
        body = self._taken(_reference(version, f"{kind}List", "", namespace), answer).body
        items: list[Manifest] = [{"apiVersion": version, "kind": kind, **one} for one in body["items"]]
        return Listing(items, body["metadata"]["resourceVersion"])

    def watch(
        self, version: str, kind: str, namespace: str = "postrider", *, since: str, seconds: int = 300
    ) -> Generator[Change, None, None]:
        """What changes after a version, as it happens, for at most so many seconds; refused where that is too old."""
        query = urlencode({"watch": "1", "resourceVersion": since, "timeoutSeconds": seconds})
        wanted = _reference(version, kind, "", namespace)
        connection = self._connection(seconds + GRACE_SECONDS)
        try:
            answer = self._sent(connection, "GET", f"{self._folder(version, kind, namespace)}?{query}")
            if answer.status != http.HTTPStatus.OK:
                self._taken(wanted, Answer(answer.status, _read(answer.read()), []))
            for line in answer:
                told = json.loads(line)
                if told["type"] == "ERROR":
                    self._taken(wanted, Answer(told["object"]["code"], told["object"], []))
                yield Change(told["type"], told["object"])
        finally:
            connection.close()

    def apply(self, manifest: Manifest) -> Answer:
        """Stores a manifest, strictly, and takes its fields from whoever else set them."""
        return self._applied(manifest, self._strict())

    def apply_status(self, manifest: Manifest) -> Answer:
        """Stores the `status` of an object that is there."""
        path = f"{self.path(manifest)}/status?{self._strict()}"
        return self._taken(manifest, self.ask("PATCH", path, manifest, APPLY))

    def create(self, manifest: Manifest) -> Answer:
        """Stores a manifest that is not there yet; cheaper than to apply one of a megabyte."""
        return self._taken(manifest, self.ask("POST", self.path(manifest).rpartition("/")[0], manifest))

    def patch(
        self, version: str, kind: str, name: str, change: Mapping[str, Any], namespace: str = "postrider"
    ) -> Answer:
        """Changes an object by a merge patch."""
        wanted = _reference(version, kind, name, namespace)
        return self._taken(wanted, self.ask("PATCH", self.path(wanted), change, MERGE))

    def delete(self, version: str, kind: str, name: str, namespace: str = "postrider", *, grace: int = -1) -> Answer:
        """Deletes an object with what it has made, a pod within so many seconds, or as long as it asks for itself."""
        wanted = _reference(version, kind, name, namespace)
        # By itself the server would leave the pods of a Job behind.
        query = "?propagationPolicy=Background" + (f"&gracePeriodSeconds={grace}" if grace >= 0 else "")
        return self._taken(wanted, self.ask("DELETE", self.path(wanted) + query))

    def path(self, manifest: Manifest) -> str:
        """Where the server keeps an object; without a namespace of its own it is in `default`."""
        meta = manifest["metadata"]
        folder = self._folder(manifest["apiVersion"], manifest["kind"], meta.get("namespace", "default"))
        return f"{folder}/{meta['name']}"

    def _strict(self) -> str:
        return f"fieldManager={self._manager}&{STRICT}"

    def _applied(self, manifest: Manifest, query: str) -> Answer:
        return self._taken(manifest, self.ask("PATCH", f"{self.path(manifest)}?{query}", manifest, APPLY))

    def _taken(self, manifest: Manifest, answer: Answer) -> Answer:
        if answer.status < http.HTTPStatus.BAD_REQUEST:
            return answer
        said = f"{named(manifest)}: {answer.body.get('message', answer.body)}"
        if answer.status == http.HTTPStatus.NOT_FOUND:
            raise NotFoundError(said, answer.status)
        raise RefusedError(said, answer.status)

    def _connection(self, seconds: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._host, self._port, context=self._trust, timeout=seconds)

    def _sent(
        self,
        connection: http.client.HTTPSConnection,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
    ) -> http.client.HTTPResponse:
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection.connect()
        # Requests are small and wait for their answers: nothing is won by gathering them.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def _folder(self, version: str, kind: str, namespace: str) -> str:
        resource = self._resource(version, kind)
        inside = f"/namespaces/{namespace}" if resource["namespaced"] and namespace else ""
        return f"{_group(version)}{inside}/{resource['name']}"

    def _resource(self, version: str, kind: str) -> dict[str, Any]:
        """What the server calls a kind; asked again where it was not known, as it may be new."""
        if kind not in self._kinds.get(version, {}):
            answer = self.ask("GET", _group(version))
            if answer.status != http.HTTPStatus.OK:
                raise NotServedError(f"{version} is not served", answer.status)
            plain = (one for one in answer.body["resources"] if "/" not in one["name"])
            self._kinds[version] = {one["kind"]: one for one in plain}
        if kind not in self._kinds[version]:
            raise NotServedError(f"{version} has no {kind}")
        return self._kinds[version][kind]


def write_kubeconfig(file: Path, server: str, token: str, authority: Path) -> Path:
    """Says who reaches a server how: its URL, a bearer token, and the certificate that it is known by."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "one", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "one", "user": {"token": token}}],
        "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
        "current-context": "one",
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(content))
    return file


def _current(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The cluster and the user of a kubeconfig's current context."""

    def of(kind: str, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = next(one[kind] for one in config[f"{kind}s"] if one["name"] == name)
        return found

    context = of("context", config["current-context"])
    return of("cluster", context["cluster"]), of("user", context["user"])


def _trust(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    """The authority that the server is known by, and a certificate of one's own where the user has one."""
    name = "certificate-authority"
    if f"{name}-data" in cluster:
        trust = ssl.create_default_context(cadata=base64.b64decode(cluster[f"{name}-data"]).decode())
    else:
        trust = ssl.create_default_context(cafile=cluster[name])
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = (_file(user, f"client-{name}", Path(folder)) for name in ("certificate", "key"))
        if certificate and key:
            trust.load_cert_chain(certificate, key)
    return trust


def _file(user: Mapping[str, Any], name: str, folder: Path) -> Path | None:
    """A file of the user, or one made of what the kubeconfig holds itself."""
    if f"{name}-data" not in user:
        return Path(user[name]) if name in user else None
    file = folder / name
    file.touch(mode=0o600)
    file.write_bytes(base64.b64decode(user[f"{name}-data"]))
    return file


def _reference(version: str, kind: str, name: str, namespace: str) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def _read(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": said.decode(errors="replace")}


def _group(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
