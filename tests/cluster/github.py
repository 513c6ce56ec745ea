"""GitHub, as far as a cluster needs it: one repository to read, and a place to tell what happened.

`python -m tests.cluster.github FOLDER ADDRESS CERTIFICATE KEY` serves `FOLDER/postrider/postrider.git`, a bare
repository, at https://github.com/postrider/postrider.git, and takes what is posted to https://api.github.com's
`repository_dispatch` as a line of `FOLDER/dispatches`. Nobody pushes here: that is done on the disk.
"""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

HOSTS = ("github.com", "api.github.com")
NAME = "postrider/postrider"
TOKEN = "github-token-of-a-rehearsal"
_DISPATCHES = f"/repos/{NAME}/dispatches"
_PORT = 443
# What Git's own program for web servers is told of a request, beside what every request has.
_TOLD = {"Content-Type": "CONTENT_TYPE", "Content-Encoding": "HTTP_CONTENT_ENCODING", "Git-Protocol": "GIT_PROTOCOL"}


@dataclass(frozen=True, slots=True)
class GitHub:
    """What is kept in a folder."""

    folder: Path

    @property
    def repository(self) -> Path:
        """The bare repository."""
        return self.folder / f"{NAME}.git"

    def dispatches(self) -> list[dict[str, object]]:
        """What was told, oldest first."""
        file = self.folder / "dispatches"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class _Handler(BaseHTTPRequestHandler):
    """Asked by name: the host that a caller names says which of the two this is."""

    protocol_version = "HTTP/1.1"
    github: GitHub
    lock: threading.Lock

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self._say(HTTPStatus.LENGTH_REQUIRED)
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        host, path = self.headers.get("Host", "").partition(":")[0], urlsplit(self.path).path
        if host == "github.com" and path.startswith(f"/{NAME}.git/"):
            self._git(body)
        elif (host, self.command, path) == ("api.github.com", "POST", _DISPATCHES):
            self._take(body)
        else:
            self._say(HTTPStatus.NOT_FOUND)

    def _take(self, body: bytes) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say(HTTPStatus.UNAUTHORIZED)
            return
        try:
            told = json.loads(body)
        except ValueError as error:
            self._say(HTTPStatus.UNPROCESSABLE_ENTITY, json.dumps({"message": str(error)}).encode())
            return
        with self.lock, (self.github.folder / "dispatches").open("a") as file:
            file.write(f"{json.dumps(told)}\n")
        self._say(HTTPStatus.NO_CONTENT)

    def _git(self, body: bytes) -> None:
        where = urlsplit(self.path)
        told = {variable: self.headers[name] for name, variable in _TOLD.items() if name in self.headers}
        own = {
            "GIT_PROJECT_ROOT": str(self.github.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": where.path,
            "QUERY_STRING": where.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": self.client_address[0],
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env={**os.environ, **own, **told}, capture_output=True, check=False
        )
        sys.stderr.write(done.stderr.decode(errors="replace"))
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if line)
        if done.returncode or not headers:
            self._say(HTTPStatus.INTERNAL_SERVER_ERROR)
            return
        status = int(headers.pop("Status", "200").split()[0])
        self._say(HTTPStatus(status), content, headers)

    def _say(self, status: HTTPStatus, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def server(github: GitHub, address: tuple[str, int], certificate: Path, key: Path) -> ThreadingHTTPServer:
    """One that is bound, and serves when it is told to."""
    handler = type("Handler", (_Handler,), {"github": github, "lock": threading.Lock()})
    made = ThreadingHTTPServer(address, handler)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate, key)
    # Whoever is slow to shake hands keeps only their own thread waiting.
    made.socket = trust.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    return made


def main(words: Sequence[str]) -> None:
    """Serves until it is killed."""
    folder, address, certificate, key = words
    server(GitHub(Path(folder)), (address, _PORT), Path(certificate), Path(key)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
