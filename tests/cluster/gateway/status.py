"""What the controller of a gateway tells of it and of its routes, for people and for Argo CD to see."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.cluster.gateway.wanted import Wanted
from tests.deploy.edge.nginx import LISTENERS, backends
from tests.deploy.manifests import Manifest

CONTROLLER = "gateway.nginx.org/nginx-gateway-controller"
_GROUP = "gateway.networking.k8s.io"
Tree = Mapping[str, Any]


def statuses(wanted: Wanted, problem: str) -> Iterator[Manifest]:
    """Each object whose status is not what it should be, with the one that it should have.

    `problem` is what NGINX has against what is wanted, and empty where it works by it.
    """
    yield from _changed(wanted.gateway, _of_gateway(wanted, problem))
    for route in wanted.routes:
        yield from _changed(route, _of_route(route, wanted))


def _changed(manifest: Manifest, status: Tree) -> Iterator[Manifest]:
    if manifest.get("status") != status:
        meta = {name: manifest["metadata"][name] for name in ("name", "namespace")}
        head = {name: manifest[name] for name in ("apiVersion", "kind")}
        yield {**head, "metadata": meta, "status": status}


def _of_gateway(wanted: Wanted, problem: str) -> Tree:
    gateway = wanted.gateway
    before: Tree = gateway.get("status", {})
    said = _Conditions(gateway, before.get("conditions", ()))
    listeners = {one["name"]: one.get("conditions", ()) for one in before.get("listeners", ())}
    return {
        "addresses": [{"type": "IPAddress", "value": wanted.edge.address}],
        "conditions": [said.good("Accepted"), said.either("Programmed", "Invalid", problem)],
        "listeners": [
            _of_listener(one["name"], wanted, _Conditions(gateway, listeners.get(one["name"], ())), problem)
            for one in gateway["spec"]["listeners"]
        ],
    }


def _of_listener(name: str, wanted: Wanted, said: "_Conditions", problem: str) -> Tree:
    uncertified = wanted.uncertified if LISTENERS[name] else ""
    attached = [
        one for one in wanted.routes if any(ref.get("sectionName") == name for ref in one["spec"]["parentRefs"])
    ]
    return {
        "name": name,
        "supportedKinds": [{"group": _GROUP, "kind": "HTTPRoute"}],
        "attachedRoutes": len(attached),
        "conditions": [
            said.good("Accepted"),
            said.either("Programmed", "Invalid", uncertified or problem),
            said.either("ResolvedRefs", "InvalidCertificateRef", uncertified),
        ],
    }


def _of_route(route: Manifest, wanted: Wanted) -> Tree:
    refusal = wanted.refused.get(route["metadata"]["name"], "")
    missing = [one for one in backends([route]) if one not in wanted.upstreams]
    lost = ", ".join(f"there is no port {one.port} of a Service {one.service}" for one in missing)
    before = {str(one["parentRef"]): one for one in route.get("status", {}).get("parents", ())}
    parents = []
    for ref in route["spec"]["parentRefs"]:
        said = _Conditions(route, before.get(str(ref), {}).get("conditions", ()))
        found = [
            said.either("Accepted", "UnsupportedValue", refusal),
            said.either("ResolvedRefs", "BackendNotFound", lost),
        ]
        parents.append({"parentRef": ref, "controllerName": CONTROLLER, "conditions": found})
    return {"parents": parents}


class _Conditions:
    """Conditions of an object, each with the time at which it last became so."""

    def __init__(self, manifest: Manifest, before: Sequence[Tree]) -> None:
        self._generation = manifest["metadata"]["generation"]
        self._before = {one["type"]: one for one in before}

    def good(self, kind: str) -> Tree:
        """One that is as it should be."""
        return self.either(kind, "", "")

    def either(self, kind: str, reason: str, problem: str) -> Tree:
        """As it should be, or not so for a reason."""
        before = self._before.get(kind, {})
        state = "False" if problem else "True"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": kind,
            "status": state,
            "reason": reason if problem else kind,
            "message": problem,
            "observedGeneration": self._generation,
            "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == state else now,
        }
