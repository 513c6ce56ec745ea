"""Applications of Argo CD as they stand, and how it is told that the repository has changed."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from tests.cluster.kube import Kube, NotFoundError
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

ARGO = "argoproj.io/v1alpha1"
NAMESPACE = "argocd"
ROOT_APPLICATION = ROOT / "argocd" / "bootstrap" / "root.yaml"


@dataclass(frozen=True, slots=True)
class Standing:
    """How an Application stands: compared with which `revisions`, by what operation, and how well it is.

    `digests` are those of the image in what it asks for, in what it was compared with, and in what was applied last.
    """

    sync: str
    health: str
    revisions: Sequence[str]
    phase: str
    synced: Sequence[str]
    digests: Sequence[str]
    retries: int
    said: str

    def settled(self, digest: str = "") -> bool:
        """Whether it is what Git says and well, and nothing is under way or failed; with a release of this digest.

        What was so anyway was never applied, and what a commit does not touch is not applied again.
        """
        well = (self.sync, self.health) == ("Synced", "Healthy") and self.phase in {"", "Succeeded"}
        return well and (not digest or (self.synced == self.revisions and set(self.digests) == {digest}))


class Applications:
    """Those of a cluster."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    def begin(self) -> None:
        """The one thing that is applied by hand."""
        for one in yaml.safe_load_all(ROOT_APPLICATION.read_text()):
            self.kube.apply(one)

    def end(self) -> None:
        """Takes Argo CD's objects away, and leaves what they stand for as it is."""
        root = [("Application", "root")] if self._has("Application", "root") else []
        sets = [("ApplicationSet", one["metadata"]["name"]) for one in self._all("ApplicationSet")]
        for kind, name in [*root, *sets]:
            self.kube.delete(ARGO, kind, name, NAMESPACE)
        wait_for(lambda: not self._all("ApplicationSet"), 60, lambda: "ApplicationSets stay")
        for one in self._all("Application"):
            # It may go with its set in this moment.
            with suppress(NotFoundError):
                self.kube.delete(ARGO, "Application", one["metadata"]["name"], NAMESPACE)
        wait_for(lambda: not self._all("Application"), 60, lambda: "Applications stay")

    def refresh(self) -> None:
        """What GitHub's webhook has Argo CD's server and its controller of sets do when something was pushed."""
        for one in self._all("ApplicationSet"):
            self._note("ApplicationSet", one, {"argocd.argoproj.io/application-set-refresh": "true"})
        for one in self._all("Application"):
            self._note("Application", one, {"argocd.argoproj.io/refresh": "normal"})

    def end_operation(self, name: str) -> None:
        """As `argocd app terminate-op` does with what is under way."""
        if self.operation(name).get("phase") == "Running":
            ended = {"status": {"operationState": {"phase": "Terminating"}}}
            self.kube.patch(ARGO, "Application", name, ended, NAMESPACE)

    def names(self) -> set[str]:
        """Those that there are."""
        return {one["metadata"]["name"] for one in self._all("Application")}

    def operation(self, name: str) -> Mapping[str, Any]:
        """What Argo CD did last, or is doing."""
        status = self.kube.get(ARGO, "Application", name, NAMESPACE).get("status", {})
        found: Mapping[str, Any] = status.get("operationState", {})
        return found

    def standing(self, name: str) -> Standing:
        """How one stands; one that is not there yet stands for nothing."""
        try:
            found = self.kube.get(ARGO, "Application", name, NAMESPACE)
        except NotFoundError:
            return Standing("Unknown", "Missing", (), "", (), ("",), 0, "it is not there")
        status: Mapping[str, Any] = found.get("status", {})
        sync, operation = status.get("sync", {}), status.get("operationState", {})
        result = operation.get("syncResult", {})
        conditions = [f"{one['type']}: {one['message']}" for one in status.get("conditions", [])]
        return Standing(
            sync.get("status", "Unknown"),
            status.get("health", {}).get("status", "Unknown"),
            _revisions(sync),
            operation.get("phase", ""),
            _revisions(result),
            [_digest(one.get("source", {})) for one in (found["spec"], sync.get("comparedTo", {}), result)],
            operation.get("retryCount", 0),
            "; ".join([*conditions, str(operation.get("message", ""))]),
        )

    def wait_settled(self, name: str, seconds: float, digest: str = "") -> float:
        """The seconds until one is what Git says, and well; AssertionError after so many."""
        return wait_for(lambda: self.standing(name).settled(digest), seconds, lambda: f"{name}: {self.standing(name)}")

    def _all(self, kind: str) -> list[Manifest]:
        return self.kube.list(ARGO, kind, NAMESPACE)

    def _has(self, kind: str, name: str) -> bool:
        return any(one["metadata"]["name"] == name for one in self._all(kind))

    def _note(self, kind: str, one: Manifest, notes: Mapping[str, str]) -> None:
        self.kube.patch(ARGO, kind, one["metadata"]["name"], {"metadata": {"annotations": notes}}, NAMESPACE)


def wait_for(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> float:
    """The seconds until it is so; AssertionError after so many, which says how it is."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds:g} s: {otherwise()}")
        time.sleep(0.5)
    return time.monotonic() - began


def moment(text: str) -> datetime:
    """A time as Kubernetes writes it."""
    return datetime.fromisoformat(text)


def _revisions(said: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(said["revisions"]) if said.get("revisions") else (str(said.get("revision", "")),)


def _digest(source: Mapping[str, Any]) -> str:
    """That of the image, where a source is a chart that is told one."""
    values = yaml.safe_load(source.get("helm", {}).get("values", "{}"))
    return str(values.get("image", {}).get("digest", ""))
