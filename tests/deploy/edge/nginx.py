"""NGINX with the rules of HTTPRoutes, as NGINX Gateway Fabric 2.6 writes them down; what it would not know is refused.

`configuration` is the file, for routes as they are rendered and as a cluster holds them. For each listener there is a
server for those who name none of the hosts, as there: it knows nothing of any route.
"""

import math
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
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
    proxy_set_header Connection $connection_keepalive;"""
# A worker of an older configuration may end what it serves, but not for ever: a stream would keep it.
OUTER = """daemon off;
{user}
worker_processes {workers};
worker_shutdown_timeout 10m;
pid {folder}/pid;
error_log {folder}/error.log notice;
events {{ worker_connections 1024; }}
http {{
access_log off;
server_names_hash_bucket_size 512;
variables_hash_bucket_size 512;
{temporary}
map $http_host $gw_api_compliant_host {{ '' $host; default $http_host; }}
map $http_upgrade $connection_keepalive {{ default upgrade; '' ''; }}
{inner}
}}
"""
# Connections to the backends that are kept for the next request; after a minute of rest NGINX closes them by itself.
KEPT = 16
# Whoever is sent to a backend that is not known, or that has nobody ready, gets these from NGINX itself.
INVALID = "invalid-backend-ref"
ANSWERS = (500, 503)
# Since then it can leave connections that rest open for a while when it is given another configuration.
KNOWS_HOW_LONG_AT_LEAST = (1, 27, 4)
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True, slots=True)
class Backend:
    """A port of a Service."""

    namespace: str
    service: str
    port: int

    @property
    def upstream(self) -> str:
        """What NGINX calls it."""
        return f"{self.namespace}_{self.service}_{self.port}"


# Who is ready behind each backend, as `address:port`; what is not in here is no valid backend.
Upstreams = Mapping[Backend, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Edge:
    """Where NGINX listens, and what it writes and shows."""

    folder: Path
    certificate: Path
    key: Path
    http: int
    https: int
    address: str = "127.0.0.1"
    workers: int = 1

    def listen(self, listener: str) -> str:
        """Where a listener is."""
        return f"{self.address}:{self.https} ssl" if LISTENERS[listener] else f"{self.address}:{self.http}"

    def socket(self, status: int) -> Path:
        """Where NGINX answers to itself with a status."""
        return self.folder / f"{status}.sock"

    def command(self, file: Path) -> list[str]:
        """NGINX by a file; further words say what it is to do."""
        return [program(), "-c", str(file), "-p", str(self.folder), "-e", str(self.folder / "error.log")]


def program() -> str:
    """Debian's, which lies where not everybody looks; a test is skipped where there is none."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    return found or pytest.skip("nginx is needed: apt-get install nginx")


@cache
def version() -> tuple[int, ...]:
    """Of NGINX."""
    said = subprocess.run([program(), "-v"], capture_output=True, text=True, check=True).stderr
    (found,) = re.findall(r"nginx/([\d.]+)", said)
    return tuple(int(part) for part in found.split("."))


@contextmanager
def running_nginx(
    manifests: Sequence[Manifest], services: Mapping[str, int], folder: Path, certificate: Path, key: Path
) -> Iterator[Edge]:
    """NGINX by the manifests, in front of services that listen on these ports of loopback."""
    if not any(one["kind"] == "HTTPRoute" for one in manifests):
        raise ValueError("no HTTPRoute is rendered: is gateway.enabled on?")
    edge = Edge(folder, certificate, key, any_free(), any_free())
    file = folder / "nginx.conf"
    found = {one: [f"127.0.0.1:{services[one.service]}"] for one in backends(manifests) if one.service in services}
    file.write_text(configuration(manifests, found, edge))
    checked = subprocess.run([*edge.command(file), "-t"], capture_output=True, text=True, check=False)
    if checked.returncode:
        raise ValueError(f"NGINX does not take what the route says:\n{checked.stderr}")
    with subprocess.Popen(edge.command(file)) as process:
        try:
            if not wait_until(lambda: _listens(edge.http) and _listens(edge.https), START_SECONDS):
                raise TimeoutError((folder / "error.log").read_text())
            yield edge
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def backends(manifests: Iterable[Manifest]) -> list[Backend]:
    """The ports of Services that the routes among the manifests name, each once."""
    routes = [Route(one, ()) for one in manifests if one["kind"] == "HTTPRoute"]
    return sorted({one for route in routes for one in route.backends()}, key=lambda one: one.upstream)


def configuration(manifests: Sequence[Manifest], upstreams: Upstreams, edge: Edge) -> str:
    """The file."""
    routes = [Route(one, manifests) for one in manifests if one["kind"] == "HTTPRoute"]
    inner = [*_upstreams(upstreams, edge), *_unnamed_servers(edge), *_zones(routes)]
    for route in routes:
        inner += [*route.snippets("http"), *route.splits(upstreams), route.server(edge, upstreams)]
    temporary = "\n".join(f"{one}_temp_path {edge.folder}/{one};" for one in TEMPORARY)
    # Whoever may read its files may serve from them.
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    return OUTER.format(
        folder=edge.folder, user=user, workers=edge.workers, temporary=temporary, inner="\n".join(inner)
    )


def _upstreams(upstreams: Upstreams, edge: Edge) -> Iterator[str]:
    """Each backend by those who are ready; what an attempt at one ends with, NGINX's own rules of a next one say."""
    yield f"upstream {INVALID} {{ server unix:{edge.socket(500)}; }}"
    for backend, servers in sorted(upstreams.items(), key=lambda one: one[0].upstream):
        name, ready = backend.upstream, sorted(servers) or [f"unix:{edge.socket(503)}"]
        lines = [f"upstream {name} {{", "random two least_conn;", f"zone {name} 512k;"]
        yield "\n".join([*lines, *(f"server {one};" for one in ready), f"keepalive {KEPT};", "}"])


def _unnamed_servers(edge: Edge) -> Iterator[str]:
    yield f"server {{ listen {edge.listen('http')} default_server; return 404; }}"
    yield f"server {{ listen {edge.listen('https')} default_server; ssl_reject_handshake on; }}"
    for status in ANSWERS:
        yield f"server {{ listen unix:{edge.socket(status)}; return {status}; }}"


def _zones(routes: Iterable["Route"]) -> list[str]:
    """Where limits of rate are counted: a policy counts the requests of all its routes together."""
    return sorted({line for route in routes for line in route.zones()})


class Route:
    """One HTTPRoute with the policies and filters that are its."""

    def __init__(self, manifest: Manifest, all_of_them: Sequence[Manifest]) -> None:
        self.name = manifest["metadata"]["name"]
        self._namespace = manifest["metadata"].get("namespace", "default")
        self.spec: Tree = manifest["spec"]
        self._others = all_of_them

    def backends(self) -> Iterator[Backend]:
        """What its rules send requests to."""
        for rule in self.spec["rules"]:
            yield from (self._backend(one) for one in rule.get("backendRefs", ()))

    def splits(self, upstreams: Upstreams) -> Iterator[str]:
        """By which share a request goes to each of several backends: the last has what the others leave."""
        for number, rule in enumerate(self.spec["rules"]):
            if len(rule.get("backendRefs", ())) > 1:
                lines = (f"{share:.2f}% {name};" for share, name in self._shares(rule, upstreams) if share)
                yield "\n".join([f"split_clients $request_id ${self._group(number)} {{", *lines, "}"])

    def server(self, edge: Edge, upstreams: Upstreams) -> str:
        """The server that the route makes of the one listener that it names."""
        (parent,) = self.spec["parentRefs"]
        listener = parent["sectionName"]
        own = [f"listen {edge.listen(listener)};"]
        own.append(f"server_name {' '.join(self.spec['hostnames'])};")
        if LISTENERS[listener]:
            own += [f"ssl_certificate {edge.certificate};", f"ssl_certificate_key {edge.key};"]
            own.append("if ($ssl_server_name != $host) { return 421; }")
        return "\n".join(["server {", *own, *self.snippets("http.server"), *self._locations(upstreams), "}"])

    def snippets(self, context: str) -> Iterator[str]:
        """What the filters that its rules name put into a context, each once."""
        names = {name for rule in self.spec["rules"] for name in _extensions(rule)}
        for name in sorted(names):
            found = self._other("SnippetsFilter", name)["spec"]["snippets"]
            yield from (one["value"] for one in found if one["context"] == context)

    def zones(self) -> Iterator[str]:
        """Where its limits of rate are counted."""
        for policy in self._policies("RateLimitPolicy"):
            for zone, rule in self._rate_rules(policy):
                yield f"limit_req_zone {rule['key']} zone={zone}:{rule['zoneSize']} rate={rule['rate']};"

    def _locations(self, upstreams: Upstreams) -> Iterator[str]:
        """For each path those of its rules that ask for a method, and then the one that asks for none."""
        for path, rules in self._by_path().items():
            plain = [number for method, number in rules if method is None]
            asking = [(method, number) for method, number in rules if method is not None]
            if len(plain) > 1:
                raise ValueError(f"{self.name}: two rules take {path}")
            inner = [_redirect(self.spec["rules"][number], method) for method, number in asking]
            inner += self._served(plain[0], upstreams) if plain else ["return 404;"]
            for place in (path,) if path == "/" else (f"= {path}", f"{path}/"):
                yield "\n".join([f"location {place} {{", *inner, "}"])

    def _by_path(self) -> dict[str, list[tuple[str | None, int]]]:
        """For each path the methods and the numbers of its rules."""
        found: dict[str, list[tuple[str | None, int]]] = {}
        for number, rule in enumerate(self.spec["rules"]):
            for match in rule["matches"]:
                if match["path"]["type"] != "PathPrefix" or set(match) > {"path", "method"}:
                    raise ValueError(f"{self.name}: a match like {match} is not understood here")
                found.setdefault(match["path"]["value"], []).append((match.get("method"), number))
        return found

    def _served(self, number: int, upstreams: Upstreams) -> list[str]:
        """What a location does that passes on to services."""
        rule = self.spec["rules"][number]
        if any(one["type"] == "RequestRedirect" for one in rule.get("filters", ())):
            return [_redirect(rule, None)]
        return [
            *self.snippets("http.server.location"),
            *self._client_settings(),
            *self._rate_limits(),
            *_headers(rule),
            FORWARDED,
            f"proxy_pass http://{self._target(number, upstreams)}$request_uri;",
        ]

    def _target(self, number: int, upstreams: Upstreams) -> str:
        """The one upstream of a rule, or the variable that says which of several it is."""
        refs = self.spec["rules"][number].get("backendRefs", ())
        if len(refs) > 1:
            return f"${self._group(number)}"
        ((share, name),) = self._shares(self.spec["rules"][number], upstreams) if refs else [(0.0, INVALID)]
        return name if share else INVALID

    def _shares(self, rule: Tree, upstreams: Upstreams) -> list[tuple[float, str]]:
        """The percentage of each backend in hundredths, rounded down, and the rest for the last."""
        weights = [one.get("weight", 1) for one in rule["backendRefs"]]
        known = [self._backend(one) for one in rule["backendRefs"]]
        names = [one.upstream if one in upstreams else INVALID for one in known]
        if not sum(weights):
            return [(100.0, INVALID)]
        shares = [math.floor(10_000 * one / sum(weights)) / 100 for one in weights[:-1]]
        return list(zip([*shares, round(100 - sum(shares), 2)], names, strict=True))

    def _backend(self, ref: Tree) -> Backend:
        return Backend(ref.get("namespace", self._namespace), ref["name"], ref["port"])

    def _group(self, number: int) -> str:
        return re.sub(r"\W", "_", f"{self._namespace}__{self.name}_rule{number}")

    def _client_settings(self) -> Iterator[str]:
        for policy in (one["spec"] for one in self._policies("ClientSettingsPolicy")):
            body, rest = policy.get("body", {}), policy.get("keepAlive", {})
            said = {
                "client_max_body_size": body.get("maxSize"),
                "client_body_timeout": body.get("timeout"),
                "keepalive_timeout": rest.get("timeout", {}).get("server"),
                # An older one closes all that rests when it is given another configuration.
                "keepalive_min_timeout": rest.get("minTimeout") if version() >= KNOWS_HOW_LONG_AT_LEAST else None,
            }
            yield from (f"{name} {value};" for name, value in said.items() if value)

    def _rate_limits(self) -> Iterator[str]:
        for policy in self._policies("RateLimitPolicy"):
            for zone, rule in self._rate_rules(policy):
                delay = " nodelay" if rule.get("noDelay") else ""
                yield f"limit_req zone={zone} burst={rule['burst']}{delay};"
            yield f"limit_req_status {policy['spec']['rateLimit']['rejectCode']};"
            yield f"limit_req_dry_run {'on' if policy['spec']['rateLimit'].get('dryRun') else 'off'};"

    def _rate_rules(self, policy: Manifest) -> Iterator[tuple[str, Tree]]:
        """Each rule of a policy by the name of its zone."""
        for number, rule in enumerate(policy["spec"]["rateLimit"]["local"]["rules"]):
            yield f"{self._namespace}_rl_{policy['metadata']['name']}_rule{number}", rule

    def _policies(self, kind: str) -> Iterator[Manifest]:
        """Policies of a kind that are for this route."""
        for one in self._others:
            if one["kind"] == kind:
                spec = one["spec"]
                targets = spec["targetRefs"] if "targetRefs" in spec else [spec["targetRef"]]
                if {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": self.name} in targets:
                    yield one

    def _other(self, kind: str, name: str) -> Manifest:
        for one in self._others:
            if (one["kind"], one["metadata"]["name"]) == (kind, name):
                return one
        raise ValueError(f"{self.name}: there is no {kind} {name}")


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
