"""A real API server on a real etcd, without nodes: it says of a manifest what a cluster would say."""

import http.client
import json
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.deploy.manifests import Manifest, named
from tests.deploy.tools import program

START_SECONDS = 120
STRICT = "fieldManager=tests&fieldValidation=Strict&force=true"
LONG_AGO = "2020-01-01T00:00:00Z"
APPLY = "application/apply-patch+yaml"


class RefusedError(Exception):
    """What the server has against a manifest."""


class NotServedError(RefusedError):
    """The server does not know the manifest's kind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says, with the warnings beside it."""

    status: int
    body: dict[str, Any]
    warnings: list[str]


@dataclass(slots=True)
class ApiServer:
    """A client of the server, in the role of its master."""

    port: int
    token: str
    trust: ssl.SSLContext
    _kinds: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    _namespaces: set[str] = field(default_factory=set)

    def apply(self, manifest: Manifest) -> Answer:
        """Stores a manifest."""
        return self._patch(manifest, STRICT)

    def dry_run(self, manifest: Manifest) -> list[str]:
        """The warnings that come with a manifest that the server takes, which then forgets it again."""
        if manifest["kind"] == "Service":
            return self._tried(manifest)
        return self._patch(manifest, f"{STRICT}&dryRun=All").warnings

    def _tried(self, service: Manifest) -> list[str]:
        """Stored and deleted: where there are several ranges of addresses, a dry run looks at any of them."""
        warnings = self.apply(service).warnings
        self._taken(service, self.ask("DELETE", self._path(service)))
        return warnings

    def install(self, definitions: Iterator[Manifest]) -> int:
        """Teaches the server kinds, and waits until it serves them; answers how many."""
        installed = [self._create(one) for one in definitions]
        for one in installed:
            if one["kind"] == "CustomResourceDefinition":
                self._wait_until_served(one)
        return len(installed)

    def namespace(self, name: str, level: str = "restricted") -> None:
        """Makes a namespace that holds pods to this level, and warns of what breaks it inside other kinds."""
        if name in self._namespaces:
            return
        self._namespaces.add(name)
        labels = {f"pod-security.kubernetes.io/{mode}": level for mode in ("enforce", "warn")}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def serve_addresses(self, cidr: str) -> None:
        """Lets Services ask for addresses of this range, as a controller would; returns when they may."""
        head: Manifest = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"}}
        ready = {"type": "Ready", "status": "True", "reason": "Tests", "message": "", "lastTransitionTime": LONG_AGO}
        self.apply({**head, "spec": {"cidrs": [cidr]}})
        status = f"{self._path(head)}/status?{STRICT}"
        self._taken(head, self.ask("PATCH", status, {**head, "status": {"conditions": [ready]}}, APPLY))
        spec = {"clusterIP": str(ip_network(cidr)[99]), "ports": [{"port": 80}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": spec}

        def is_taken() -> bool:
            try:
                return self.dry_run(service) == []
            except RefusedError:
                return False

        wait(is_taken, f"no Service gets an address of {cidr}")

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Answer:
        """One request."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.trust, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read()
            return Answer(answer.status, _read(said), answer.headers.get_all("Warning") or [])
        finally:
            connection.close()

    def _create(self, manifest: Manifest) -> Manifest:
        """Cheaper than to apply, which counts for definitions of a megabyte."""
        path = self._path(manifest).rpartition("/")[0]
        self._taken(manifest, self.ask("POST", path, manifest))
        return manifest

    def _patch(self, manifest: Manifest, query: str) -> Answer:
        return self._taken(manifest, self.ask("PATCH", f"{self._path(manifest)}?{query}", manifest, APPLY))

    def _taken(self, manifest: Manifest, answer: Answer) -> Answer:
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise RefusedError(f"{named(manifest)}: {answer.body.get('message', answer.body)}")
        return answer

    def _path(self, manifest: Manifest) -> str:
        version, meta = manifest["apiVersion"], manifest["metadata"]
        resource = self._resource(version, manifest["kind"])
        inside = f"/namespaces/{meta.get('namespace', 'default')}" if resource["namespaced"] else ""
        return f"{_group(version)}{inside}/{resource['name']}/{meta['name']}"

    def _resource(self, version: str, kind: str) -> dict[str, Any]:
        if version not in self._kinds:
            answer = self.ask("GET", _group(version))
            if answer.status != http.HTTPStatus.OK:
                raise NotServedError(f"{version} is not served")
            plain = (one for one in answer.body["resources"] if "/" not in one["name"])
            self._kinds[version] = {one["kind"]: one for one in plain}
        if kind not in self._kinds[version]:
            raise NotServedError(f"{version} has no {kind}")
        return self._kinds[version][kind]

    def _wait_until_served(self, definition: Manifest) -> None:
        spec = definition["spec"]
        served = [f"{spec['group']}/{one['name']}" for one in spec["versions"] if one["served"]]

        def is_served() -> bool:
            self._kinds.clear()
            try:
                return all(self._resource(version, spec["names"]["kind"]) for version in served)
            except NotServedError:
                return False

        wait(is_served, f"{spec['names']['kind']} is not served")


def wait(condition: Callable[[], bool], otherwise: str) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} after {START_SECONDS} s")
        time.sleep(0.1)


@contextmanager
def running_api_server(folder: Path) -> Iterator[ApiServer]:
    """The two programs, with all that they write in the folder."""
    token = secrets.token_hex(16)
    port, store, peers = _free_port(), _free_port(), _free_port()
    with ExitStack() as stack:
        stack.enter_context(_process(_etcd(folder, store, peers), folder / "etcd.log"))
        command = _kube_apiserver(folder, port, store, token)
        process = stack.enter_context(_process(command, folder / "kube-apiserver.log"))
        certificate = folder / "apiserver.crt"
        wait(lambda: _alive(process, folder) and certificate.exists(), "the API server has no certificate")
        server = ApiServer(port, token, ssl.create_default_context(cafile=str(certificate)))
        wait(lambda: _alive(process, folder) and _is_ready(server), "the API server is not ready")
        yield server


def _etcd(folder: Path, store: int, peers: int) -> list[str]:
    """What is stored lives for minutes, so no write waits for the disk."""
    own, other = f"http://127.0.0.1:{store}", f"http://127.0.0.1:{peers}"
    return [
        *(str(program("etcd")), f"--data-dir={folder}/etcd", "--unsafe-no-fsync", "--log-level=warn"),
        *(f"--listen-client-urls={own}", f"--advertise-client-urls={own}"),
        *(f"--listen-peer-urls={other}", f"--initial-advertise-peer-urls={other}"),
        f"--initial-cluster=default={other}",
    ]


def _kube_apiserver(folder: Path, port: int, store: int, token: str) -> list[str]:
    """No controller makes service accounts here, so pods may name those that are not there."""
    key = folder / "accounts.key"
    key.write_bytes(_private_key())
    (folder / "tokens.csv").write_text(f"{token},tests,tests,system:masters\n")
    return [
        *(str(program("kube-apiserver")), f"--etcd-servers=http://127.0.0.1:{store}", f"--secure-port={port}"),
        *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--cert-dir={folder}"),
        *("--service-cluster-ip-range=10.96.0.0/16", f"--token-auth-file={folder}/tokens.csv"),
        *("--service-account-issuer=https://tests.invalid", f"--service-account-key-file={key}"),
        *(f"--service-account-signing-key-file={key}", "--authorization-mode=RBAC"),
        "--disable-admission-plugins=ServiceAccount",
    ]


def _private_key() -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _alive(process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the API server ended:\n{(folder / 'kube-apiserver.log').read_text()[-2000:]}")
    return True


def _is_ready(server: ApiServer) -> bool:
    try:
        return server.ask("GET", "/readyz").status == http.HTTPStatus.OK
    except OSError:
        return False


def _read(said: bytes) -> dict[str, Any]:
    try:
        found = json.loads(said)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": said.decode(errors="replace")}


def _group(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()
