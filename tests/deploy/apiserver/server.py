"""A real API server on a real etcd, without nodes: it says of a manifest what a cluster would say."""

import http
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_network
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.cluster.kube import Kube, NotServedError, RefusedError, write_kubeconfig
from tests.deploy.manifests import Manifest
from tests.deploy.tools import program

START_SECONDS = 120
LONG_AGO = "2020-01-01T00:00:00Z"


class ApiServer(Kube):
    """A client of the server, in the role of its master; `kubeconfig` says how others become one."""

    def __init__(self, kubeconfig: Path) -> None:
        super().__init__(kubeconfig)
        self.kubeconfig = kubeconfig
        self._namespaces: set[str] = set()

    def dry_run(self, manifest: Manifest) -> list[str]:
        """The warnings that come with a manifest that the server takes, which then forgets it again."""
        if manifest["kind"] == "Service":
            return self._tried(manifest)
        return self._applied(manifest, f"{self._strict()}&dryRun=All").warnings

    def _tried(self, service: Manifest) -> list[str]:
        """Stored and deleted: where there are several ranges of addresses, a dry run looks at any of them."""
        warnings = self.apply(service).warnings
        self._taken(service, self.ask("DELETE", self.path(service)))
        return warnings

    def install(self, definitions: Iterator[Manifest]) -> int:
        """Teaches the server kinds, and waits until it serves them; answers how many."""
        installed = list(definitions)
        for one in installed:
            self.create(one)
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
        self.apply_status({**head, "status": {"conditions": [ready]}})
        spec = {"clusterIP": str(ip_network(cidr)[99]), "ports": [{"port": 80}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "one"}, "spec": spec}

        def is_taken() -> bool:
            try:
                return self.dry_run(service) == []
            except RefusedError:
                return False

        wait(is_taken, f"no Service gets an address of {cidr}")

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
        url = f"https://127.0.0.1:{port}"
        server = ApiServer(write_kubeconfig(folder / "kubeconfig", url, token, certificate))
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
