"""NGINX with the rules of rendered routes, as NGINX Gateway Fabric writes them down; what it would not know is refused.

For each listener there is a server for those who name none of the hosts, as there: it knows nothing of any route.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.cli.dev.ports import any_free
from app.cli.dev.process import wait_until
from tests.deploy.manifests import Manifest

Tree = Mapping[str, Any]
START_SECONDS = 20.0
# What the Gateway's listeners are called, and whether they speak TLS.
LISTENERS = {"http": False, "https": True}
FORWARDED = """
    proxy_http_version 1.1;
    proxy_set_header Host $gw_api_compliant_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;"""
OUTER = """daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
access_log off;
{temporary}
map $http_host $gw_api_compliant_host {{ '' $host; default $http_host; }}
map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
{inner}
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True, slots=True)
class Edge:
    """Where NGINX listens, and what it writes and shows."""

    folder: Path
    certificate: Path
    key: Path
    http: int
    https: int

    def port(self, listener: str) -> int:
        """The port of a listener."""
        return self.https if LISTENERS[listener] else self.http


def program() -> str:
    """Debian's, which lies where not everybody looks; a test is skipped where there is none."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    return found or pytest.skip("nginx is needed: apt-get install nginx")


@contextmanager
def running_nginx(
    manifests: Sequence[Manifest], services: Mapping[str, int], folder: Path, certificate: Path, key: Path
) -> Iterator[Edge]:
    """NGINX by the manifests, in front of services that listen on these ports of loopback."""
    edge = Edge(folder, certificate, key, any_free(), any_free())
    file = folder / "nginx.conf"
    file.write_text(configuration(manifests, services, edge))
    command = [program(), "-c", str(file), "-p", str(folder), "-e", str(folder / "error.log")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    if checked.returncode:
        raise ValueError(f"NGINX does not take what the route says:\n{checked.stderr}")
    with subprocess.Popen(command) as process:
        try:
            if not wait_until(lambda: _listens(edge.http) and _listens(edge.https), START_SECONDS):
                raise TimeoutError((folder / "error.log").read_text())
            yield edge
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def configuration(manifests: Sequence[Manifest], services: Mapping[str, int], edge: Edge) -> str:
    """The file."""
    routes = [Route(one, manifests) for one in manifests if one["kind"] == "HTTPRoute"]
    if not routes:
        raise ValueError("no HTTPRoute is rendered: is gateway.enabled on?")
    upstreams = [f"upstream {name} {{ server 127.0.0.1:{port}; }}" for name, port in services.items()]
    inner = [*upstreams, *_unnamed_servers(edge)]
    for route in routes:
        inner += [*route.snippets("http"), *route.zones(), route.server(edge)]
    temporary = "\n".join(f"{one}_temp_path {edge.folder}/{one};" for one in TEMPORARY)
    return OUTER.format(folder=edge.folder, temporary=temporary, inner="\n".join(inner))


def _unnamed_servers(edge: Edge) -> Iterator[str]:
    yield f"server {{ listen 127.0.0.1:{edge.http} default_server; return 404; }}"
    yield f"server {{ listen 127.0.0.1:{edge.https} ssl default_server; ssl_reject_handshake on; }}"


class Route:
    """One HTTPRoute with the policies and filters that are its."""

    def __init__(self, manifest: Manifest, all_of_them: Sequence[Manifest]) -> None:
        self.name = manifest["metadata"]["name"]
        self.spec: Tree = manifest["spec"]
        self._others = all_of_them

    def server(self, edge: Edge) -> str:
        """The server that the route makes of the one listener that it names."""
        (parent,) = self.spec["parentRefs"]
        listener = parent["sectionName"]
        own = [f"listen 127.0.0.1:{edge.port(listener)}{' ssl' if LISTENERS[listener] else ''};"]
        own.append(f"server_name {' '.join(self.spec['hostnames'])};")
        if LISTENERS[listener]:
            own += [f"ssl_certificate {edge.certificate};", f"ssl_certificate_key {edge.key};"]
            own.append("if ($ssl_server_name != $host) { return 421; }")
        return "\n".join(["server {", *own, *self.snippets("http.server"), *self._locations(), "}"])

    def snippets(self, context: str) -> Iterator[str]:
        """What the filters that its rules name put into a context, each once."""
        names = {name for rule in self.spec["rules"] for name in _extensions(rule)}
        for name in sorted(names):
            found = self._other("SnippetsFilter", name)["spec"]["snippets"]
            yield from (one["value"] for one in found if one["context"] == context)

    def zones(self) -> Iterator[str]:
        """Where its limits of rate are counted."""
        for number, rule in enumerate(self._rate_rules()):
            yield f"limit_req_zone {rule['key']} zone={self._zone(number)}:{rule['zoneSize']} rate={rule['rate']};"

    def _locations(self) -> Iterator[str]:
        """For each path those of its rules that ask for a method, and then the one that asks for none."""
        for path, rules in self._by_path().items():
            plain = [rule for method, rule in rules if method is None]
            asking = [(method, rule) for method, rule in rules if method is not None]
            if len(plain) > 1:
                raise ValueError(f"{self.name}: two rules take {path}")
            inner = [_redirect(rule, method) for method, rule in asking]
            inner += self._served(plain[0]) if plain else ["return 404;"]
            for place in (path,) if path == "/" else (f"= {path}", f"{path}/"):
                yield "\n".join([f"location {place} {{", *inner, "}"])

    def _by_path(self) -> dict[str, list[tuple[str | None, Tree]]]:
        found: dict[str, list[tuple[str | None, Tree]]] = {}
        for rule in self.spec["rules"]:
            for match in rule["matches"]:
                if match["path"]["type"] != "PathPrefix" or set(match) > {"path", "method"}:
                    raise ValueError(f"{self.name}: a match like {match} is not understood here")
                found.setdefault(match["path"]["value"], []).append((match.get("method"), rule))
        return found

    def _served(self, rule: Tree) -> list[str]:
        """What a location does that passes on to services."""
        if any(one["type"] == "RequestRedirect" for one in rule.get("filters", ())):
            return [_redirect(rule, None)]
        (backend,) = (one["name"] for one in rule["backendRefs"] if one.get("weight", 1))
        return [
            *self.snippets("http.server.location"),
            *self._client_settings(),
            *self._rate_limits(),
            *_headers(rule),
            FORWARDED,
            f"proxy_pass http://{backend};",
        ]

    def _client_settings(self) -> Iterator[str]:
        for policy in self._policies("ClientSettingsPolicy"):
            body, rest = policy.get("body", {}), policy.get("keepAlive", {}).get("timeout", {})
            said = {
                "client_max_body_size": body.get("maxSize"),
                "client_body_timeout": body.get("timeout"),
                "keepalive_timeout": rest.get("server"),
            }
            yield from (f"{name} {value};" for name, value in said.items() if value)

    def _rate_limits(self) -> Iterator[str]:
        for number, rule in enumerate(self._rate_rules()):
            delay = " nodelay" if rule.get("noDelay") else ""
            yield f"limit_req zone={self._zone(number)} burst={rule['burst']}{delay};"
            yield f"limit_req_status {rule['rejectCode']};"
            yield f"limit_req_dry_run {'on' if rule.get('dryRun') else 'off'};"

    def _rate_rules(self) -> list[Tree]:
        return [rule for one in self._policies("RateLimitPolicy") for rule in one["rateLimit"]["local"]["rules"]]

    def _zone(self, number: int) -> str:
        return f"{self.name}-{number}"

    def _policies(self, kind: str) -> Iterator[Tree]:
        """What policies of a kind say of this route."""
        for one in self._others:
            if one["kind"] == kind:
                spec = one["spec"]
                targets = spec["targetRefs"] if "targetRefs" in spec else [spec["targetRef"]]
                if {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": self.name} in targets:
                    yield spec

    def _other(self, kind: str, name: str) -> Manifest:
        return next(one for one in self._others if (one["kind"], one["metadata"]["name"]) == (kind, name))


def _extensions(rule: Tree) -> Iterator[str]:
    for one in rule.get("filters", ()):
        if one["type"] == "ExtensionRef":
            if one["extensionRef"]["kind"] != "SnippetsFilter":
                raise ValueError(f"a filter like {one} is not understood here")
            yield one["extensionRef"]["name"]


def _headers(rule: Tree) -> Iterator[str]:
    """To set a header is to hide what comes from behind, and to add one's own to whatever is answered."""
    for one in rule.get("filters", ()):
        if one["type"] == "ResponseHeaderModifier":
            if set(one["responseHeaderModifier"]) != {"set"}:
                raise ValueError(f"headers are set, neither added nor removed: {one}")
            yield from _set(one["responseHeaderModifier"]["set"])
        elif one["type"] != "ExtensionRef":
            raise ValueError(f"a filter like {one} is not understood here")


def _set(headers: Iterable[Tree]) -> Iterator[str]:
    for header in headers:
        yield f"proxy_hide_header {header['name']};"
        yield f'add_header {header["name"]} "{header["value"]}" always;'


def _redirect(rule: Tree, method: str | None) -> str:
    (one,) = rule["filters"]
    said = one["requestRedirect"]
    if set(said) != {"scheme", "statusCode"}:
        raise ValueError(f"a redirect like {said} is not understood here")
    line = f"return {said['statusCode']} {said['scheme']}://$host$request_uri;"
    return line if method is None else f"if ($request_method = {method}) {{ {line} }}"
