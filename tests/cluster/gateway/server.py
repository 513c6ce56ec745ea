"""The NGINX of the gateway: one process, which works by one configuration after the other."""

import hashlib
import http.client
import os
import signal
import socket
import subprocess
from pathlib import Path

from app.cli.dev.identity import MARK
from app.cli.dev.process import Child, Program, end_leftovers, wait_until
from tests.deploy.edge.nginx import ANSWERS, Edge

# By then a configuration is at work that it took when it was asked.
RELOAD_SECONDS = 10.0
_LOG_BYTES = 20_000


class NotTakenError(Exception):
    """What NGINX has against a configuration."""


class Nginx:
    """It is started with the first configuration that it takes, and ends with the process that made this."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, MARK: str(folder)}
        self._child: Child | None = None
        end_leftovers(folder, str(folder))

    def take(self, text: str, edge: Edge) -> None:
        """Has it work by a configuration, and returns when it does. NotTakenError: the last one stays."""
        number = hashlib.sha256(text.encode()).hexdigest()[:16]
        candidate, file = self._folder / "candidate.conf", self._folder / "nginx.conf"
        candidate.write_text(self._numbered(text, number))
        checked = subprocess.run([*edge.command(candidate), "-t"], capture_output=True, text=True, check=False)
        if checked.returncode:
            raise NotTakenError(checked.stderr.strip())
        candidate.rename(file)
        if self._child is None:
            self._child = self._started(edge, file)
        else:
            os.kill(self._child.pid, signal.SIGHUP)
        if not wait_until(lambda: self._number() == number, RELOAD_SECONDS):
            raise NotTakenError(self._complaint())

    def check(self) -> None:
        """RuntimeError where it has ended by itself."""
        if self._child and self._child.ended() is not None:
            raise RuntimeError(f"nginx ended: {self._complaint()}")

    def stop(self) -> None:
        """Ends it."""
        if self._child:
            self._child.stop()

    def _started(self, edge: Edge, file: Path) -> Child:
        for left in (self._socket, *(edge.socket(status) for status in ANSWERS)):
            left.unlink(missing_ok=True)
        log = self._folder / "nginx.log"
        return Child(Program("nginx", edge.command(file), log, env=self._environment, stop_seconds=5.0), self._folder)

    @property
    def _socket(self) -> Path:
        return self._folder / "number.sock"

    def _numbered(self, text: str, number: str) -> str:
        """With one more server, which says by which configuration those work that serve now."""
        return text.removesuffix("}\n") + f"server {{ listen unix:{self._socket}; return 200 {number}; }}\n}}\n"

    def _number(self) -> str:
        connection = http.client.HTTPConnection("localhost", timeout=1)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(1)
            connection.sock.connect(str(self._socket))
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""
        finally:
            connection.close()

    def _complaint(self) -> str:
        """What it wrote last of what it could not do."""
        log = self._folder / "error.log"
        lines = log.read_text(errors="replace")[-_LOG_BYTES:].splitlines() if log.exists() else []
        return "\n".join([line for line in lines if "[emerg]" in line][-3:]) or "nginx does not say why"
