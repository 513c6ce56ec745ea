"""The way in of a single host: the Caddyfile before a real API, with a certificate of Caddy's own authority."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.cli.dev.ports import any_free
from app.cli.dev.process import wait_until
from tests.api.client import Reply
from tests.servers import ROOT
from tests.system import System, prepared_system

NAME = "hooks.local"
"""A name for which Caddy asks no public authority."""
HSTS = "strict-transport-security"
DROP_SECONDS = 25
"""A head that has not come by then is cut off."""


@dataclass(frozen=True)
class Entry:
    """Where Caddy listens, whose certificates it shows, and what is behind it."""

    system: System
    http_port: int
    https_port: int
    authority: Path

    def call(self, path: str, method: str = "GET", *, tls: bool = True, body: bytes | None = None) -> Reply:
        """One request, by the name that the certificate is for."""
        port = self.https_port if tls else self.http_port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with closing(connection):
            connection.connect()
            if tls:
                context = ssl.create_default_context(cafile=str(self.authority))
                connection.sock = context.wrap_socket(connection.sock, server_hostname=NAME)
            sent = {"host": f"{NAME}:{port}", "content-type": "application/json"}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            headers = {name: ", ".join(answer.headers.get_all(name, [])) for name in answer.headers}
            return Reply(answer.status, {name.lower(): value for name, value in headers.items()}, answer.read())

    def listens(self) -> bool:
        """Whether both ports take connections, and the certificates' authority is there."""
        with suppress(OSError):
            for port in (self.http_port, self.https_port):
                socket.create_connection(("127.0.0.1", port), 1).close()
            return self.authority.exists()
        return False

    def speaks(self, version: ssl.TLSVersion) -> bool:
        """Whether a client of this version of TLS is let in."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        try:
            with socket.create_connection(("127.0.0.1", self.https_port), 10) as plain:
                context.wrap_socket(plain, server_hostname=NAME).close()
        except ssl.SSLError:
            return False
        return True


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]) -> Iterator[Entry]:
    """Caddy and, behind it, an API that believes it."""
    if shutil.which("caddy") is None:
        pytest.skip("Debian's package caddy is not installed")
    folder = tmp_path_factory.mktemp("caddy")
    production = {
        "POSTRIDER_ENVIRONMENT": "production",
        "POSTRIDER_EGRESS__ALLOW": "",
        "POSTRIDER_HTTP__TRUSTED_PROXIES": "127.0.0.1/32",
        "POSTRIDER_HTTP__REQUIRE_HTTPS": "true",
    }
    with prepared_system({**environment, **production}) as system:
        made = Entry(system, any_free(), any_free(), folder / "caddy/pki/authorities/local/root.crt")
        with _caddy(system, made, folder):
            _serve(system, made)
            yield made


def _serve(system: System, entry: Entry) -> None:
    """Starts an API that is known by Caddy's name."""
    system.environment["POSTRIDER_PUBLIC_URL"] = f"https://{NAME}:{entry.https_port}"
    system.start_part("api", f"--port={system.url.rpartition(':')[2]}", "--workers=1")
    assert wait_until(lambda: entry.call("/api/v1/health").status in {200, 204}, 60), system.log("api")


class _caddy:  # noqa: N801 a context manager
    """Caddy with the repository's file."""

    def __init__(self, system: System, entry: Entry, folder: Path) -> None:
        self._environment = {
            **os.environ,
            "POSTRIDER_HOST": NAME,
            "POSTRIDER_HTTP_PORT": str(entry.http_port),
            "POSTRIDER_HTTPS_PORT": str(entry.https_port),
            "POSTRIDER_UPSTREAM": system.url.removeprefix("http://"),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "HOME": str(folder),
        }
        self._entry, self._log = entry, folder / "caddy.log"

    def __enter__(self) -> None:
        self._out = self._log.open("wb")
        self._process = subprocess.Popen(
            ["caddy", "run", "--config", str(ROOT / "Caddyfile")],
            env=self._environment,
            stdout=self._out,
            stderr=self._out,
        )
        assert wait_until(lambda: self._entry.listens() or self._process.poll() is not None, 30)
        assert self._process.poll() is None, self._log.read_text()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._out.close()


@pytest.mark.parametrize("path", ["/api/v1/health", "/sign-in", "/api/v1/app", "/api/v1/nothing", "/nothing"])
def test_every_answer_over_tls_has_hsts_once(entry: Entry, path: str) -> None:
    assert entry.call(path).headers[HSTS] == "max-age=63072000; includeSubDomains"


def test_plain_http_sends_pages_on_and_refuses_the_api(entry: Entry) -> None:
    page = entry.call("/sign-in", tls=False)
    assert (page.status, page.headers["location"]) == (308, f"https://{NAME}:{entry.https_port}/sign-in")
    refused = entry.call("/api/v1/app", tls=False)
    assert (refused.status, refused.body["type"].rpartition(":")[2]) == (403, "https_required")
    assert HSTS not in page.headers
    assert HSTS not in refused.headers


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_only_current_tls_is_spoken(entry: Entry) -> None:
    versions = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert [entry.speaks(one) for one in versions] == [False, True, True]


def test_a_body_that_is_too_large_is_refused_in_our_words(entry: Entry) -> None:
    refused = entry.call("/api/v1/app", "POST", body=b" " * (1024 * 1024 + 128 * 1024))
    assert (refused.status, refused.code) == (413, "payload_too_large")


def test_a_head_that_comes_in_drops_is_cut_off(entry: Entry) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", entry.http_port), 10) as slow:
        slow.sendall(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n".encode())
        slow.settimeout(DROP_SECONDS)
        assert slow.recv(1) == b""
    assert time.monotonic() - began < DROP_SECONDS


def test_what_is_not_reachable_is_said_in_json(entry: Entry) -> None:
    entry.system.stop()
    refused = entry.call("/api/v1/app")
    assert (refused.status, refused.code) == (502, "unavailable")
    assert refused.headers["content-type"] == "application/json"
    assert refused.headers[HSTS] == "max-age=63072000; includeSubDomains"
