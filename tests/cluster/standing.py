"""What a cluster without nodes lacks: pods, which are servers of the tests that it is told of, and tokens."""

import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.cluster.kube import write_kubeconfig
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.manifests import Manifest


def account(kubernetes: ApiServer, objects: Sequence[Manifest], file: Path) -> Path:
    """Stores the objects that a program stands on, and says by which file it asks as its service account."""
    for one in objects:
        kubernetes.apply(one)
    (own,) = (one for one in objects if one["kind"] == "ServiceAccount")
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = kubernetes.ask("POST", f"{kubernetes.path(own)}/token", asked)
    (cluster,) = yaml.safe_load(kubernetes.kubeconfig.read_text())["clusters"]
    authority = Path(cluster["cluster"]["certificate-authority"])
    return write_kubeconfig(file, cluster["cluster"]["server"], answer.body["status"]["token"], authority)


def own_address() -> str:
    """One that endpoints may have, which those of loopback may not: what would be called from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("198.51.100.1", 9))
        return str(one.getsockname()[0])


class Pod:
    """Answers `/STATUS?seconds=N` with its name, `/metrics` with its page, which is OpenMetrics."""

    def __init__(self, name: str, page: str = "") -> None:
        self.name, self.page = name, page
        self._server = _Server((own_address(), 0), _Handler)
        self._server.pod = self

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def slice(self, service: str, port: str, *, ready: bool = True) -> Manifest:
        """What a cluster knows of it as an endpoint of a Service."""
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{service}-{self.name}",
                "namespace": "postrider",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"name": port, "port": self.port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [own_address()], "conditions": {"ready": ready}}],
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pod: Pod


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one piece: the second of two would wait for the first to be acknowledged
    server: _Server

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        time.sleep(float(parse_qs(asked.query).get("seconds", ["0"])[0]))
        pod = self.server.pod
        if asked.path == "/metrics":
            self._answer(200, pod.page, "application/openmetrics-text; version=1.0.0")
        else:
            self._answer(int(asked.path.strip("/")), pod.name, "text/plain")

    def log_message(self, *_args: object) -> None:
        """Nothing."""

    def _answer(self, status: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
