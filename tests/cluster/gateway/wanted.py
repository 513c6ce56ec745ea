"""What a cluster wants of its gateway, out of all that it says."""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.mirror import Kind
from tests.deploy.edge.nginx import LISTENERS, Backend, Edge, Upstreams, backends, configuration
from tests.deploy.manifests import Manifest

GATEWAY = "gateway.networking.k8s.io/v1"
NGINX = "gateway.nginx.org/v1alpha1"
KINDS: Sequence[Kind] = (
    (GATEWAY, "Gateway"),
    (GATEWAY, "HTTPRoute"),
    (NGINX, "ClientSettingsPolicy"),
    (NGINX, "RateLimitPolicy"),
    (NGINX, "SnippetsFilter"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
)
CLASS = "nginx"
Refusals = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The Gateway, its routes, why some of them are not served, and who is ready behind the others.

    `uncertified` says why there is no TLS; it is empty where there is.
    """

    gateway: Manifest
    routes: Sequence[Manifest]
    refused: Refusals
    upstreams: Upstreams
    uncertified: str
    configuration: str
    edge: Edge


def want(manifests: Sequence[Manifest], folder: Path, address: str, workers: int) -> Wanted | None:
    """All of it; None where there is no Gateway of ours. A certificate is written into the folder."""
    gateway = next((one for one in _of(manifests, "Gateway") if one["spec"]["gatewayClassName"] == CLASS), None)
    if gateway is None:
        return None
    ports = {one["name"]: one["port"] for one in gateway["spec"]["listeners"]}
    pair, uncertified = _certificate(gateway, manifests, folder)
    edge = Edge(folder, *pair, http=ports["http"], https=ports["https"], address=address, workers=workers)
    routes = [one for one in _of(manifests, "HTTPRoute") if _is_attached(one, gateway)]
    others = [one for one in manifests if one["kind"] not in {"HTTPRoute", "Secret"}]
    upstreams = dict(_ready(backends(routes), manifests))
    refused = dict(_refusals(routes, others, upstreams, edge, uncertified))
    served = [one for one in routes if one["metadata"]["name"] not in refused]
    text = configuration([*served, *others], upstreams, edge)
    return Wanted(gateway, routes, refused, upstreams, uncertified, text, edge)


def _of(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == kind]


def _is_attached(route: Manifest, gateway: Manifest) -> bool:
    return any(one["name"] == gateway["metadata"]["name"] for one in route["spec"].get("parentRefs", ()))


def _certificate(gateway: Manifest, manifests: Sequence[Manifest], folder: Path) -> tuple[tuple[Path, Path], str]:
    """Its files and that of its key, named by what is in them, and why there are none."""
    (listener,) = (one for one in gateway["spec"]["listeners"] if LISTENERS[one["name"]])
    (ref,) = listener["tls"]["certificateRefs"]
    secrets = {one["metadata"]["name"]: one.get("data", {}) for one in _of(manifests, "Secret")}
    data = secrets.get(ref["name"], {})
    if not {"tls.crt", "tls.key"} <= set(data):
        return (folder / "none.crt", folder / "none.key"), f"there is no Secret {ref['name']} with a certificate"
    digest = hashlib.sha256(f"{data['tls.crt']} {data['tls.key']}".encode()).hexdigest()[:12]
    return (_written(folder, digest, "crt", data), _written(folder, digest, "key", data)), ""


def _written(folder: Path, digest: str, kind: str, data: Mapping[str, str]) -> Path:
    file = folder / f"{digest}.{kind}"
    if not file.exists():
        half = file.with_suffix(".half")
        half.touch(0o600)
        half.write_bytes(base64.b64decode(data[f"tls.{kind}"]))
        half.rename(file)
    return file


def _refusals(
    routes: Sequence[Manifest], others: Sequence[Manifest], upstreams: Upstreams, edge: Edge, uncertified: str
) -> Iterator[tuple[str, str]]:
    """Routes that ask for what is not understood, and for TLS without a certificate."""
    for route in routes:
        name = route["metadata"]["name"]
        if uncertified and any(LISTENERS.get(one.get("sectionName"), True) for one in route["spec"]["parentRefs"]):
            yield name, uncertified
            continue
        try:
            configuration([route, *others], upstreams, edge)
        except (ValueError, KeyError) as error:
            yield name, str(error)


def _ready(wanted: Sequence[Backend], manifests: Sequence[Manifest]) -> Iterator[tuple[Backend, list[str]]]:
    """Who is ready behind each backend; nothing of one that there is not."""
    services = {one["metadata"]["name"]: one["spec"] for one in _of(manifests, "Service")}
    for backend in wanted:
        ports = services.get(backend.service, {}).get("ports", ())
        name = next((one.get("name", "") for one in ports if one["port"] == backend.port), None)
        if name is not None:
            slices = [one for one in _of(manifests, "EndpointSlice") if _service_of(one) == backend.service]
            yield backend, sorted({one for each in slices for one in _endpoints(each, name)})


def _service_of(piece: Manifest) -> str:
    return str(piece["metadata"].get("labels", {}).get("kubernetes.io/service-name", ""))


def _endpoints(piece: Manifest, name: str) -> Iterator[str]:
    """The endpoints of a slice that are ready, by a port's name."""
    ports = [one["port"] for one in piece.get("ports") or () if (one.get("name") or "") == name]
    for endpoint in piece.get("endpoints") or ():
        if _is_ready(endpoint):
            yield from (f"{address}:{port}" for address in endpoint["addresses"] for port in ports)


def _is_ready(endpoint: Mapping[str, Any]) -> bool:
    return endpoint.get("conditions", {}).get("ready") is True
