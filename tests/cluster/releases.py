"""Releases of a rehearsal: images of one layer over the real one, applied and watched as Argo CD would."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from tests.cluster.kube import MERGE, Kube, NotFoundError
from tests.deploy.manifests import Manifest, named
from tests.faults.processes import wait_for
from tests.servers import ROOT

PATCHES = Path(__file__).parent / "patches"
ROLLOUTS = "argoproj.io/v1alpha1"
NAMESPACE = "postrider"
API = "postrider-api"
# What a pod, and the Service of a version, bears of Argo Rollouts.
VERSION = "rollouts-pod-template-hash"
_WAVE, _HOOK = "argocd.argoproj.io/sync-wave", "argocd.argoproj.io/hook"
_JOB_SECONDS = 300.0
# The API's pods of before stay for a while, for callers who have not heard yet.
_GONE_SECONDS = 90.0


class NotSyncedError(Exception):
    """What kept a release from being applied as a whole: what came after that was left as it is."""


def layer(patch: str, folder: Path) -> Path:
    """The folder, below another one, from which the image with a patch is built; ValueError for an unknown patch.

    A patch is a module that changes one of the product, or a folder of steps that follow those of the product.
    """
    source, made = PATCHES / patch, folder / patch
    shutil.rmtree(made, ignore_errors=True)
    product = made / "srv" / "postrider"
    if source.is_dir():
        number = int(newest_revision())
        steps = sorted(one for one in source.glob("*.py") if one.name != "__init__.py")
        for before, step in enumerate(steps, number):
            text = step.read_text().replace("NUMBER", f"{before + 1:04}").replace("BEFORE", f"{before:04}")
            _write(product / "migrations" / "versions" / f"{before + 1:04}_{step.name}", text)
    elif source.with_suffix(".py").exists():
        _write(product / "change.py", source.with_suffix(".py").read_text())
        # Python imports this before anything else: the modules themselves are compiled, and stay as they are.
        _write(product / "sitecustomize.py", (PATCHES / "loader.py").read_text())
    else:
        raise ValueError(f"there is no patch {patch}")
    _write(made / "Containerfile", (PATCHES / "Containerfile").read_text())
    return made


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    for one in (file, file.parent):
        one.chmod(0o755 if one.is_dir() else 0o644)


def newest_revision(tree: Path = ROOT) -> str:
    """The last step of the schema that the product has, here or in another checkout."""
    return max(one.name.split("_")[0] for one in (tree / "migrations" / "versions").glob("[0-9]*.py"))


@dataclass(frozen=True, slots=True)
class Phase:
    """How a Rollout stands, as of what was applied last: `name` is one of Argo Rollouts' phases, or Unobserved.

    `aborted` says that it took the release back by itself, `why` what it says of that, and `is_stable` that what was
    applied last is what ran before.
    """

    name: str
    aborted: bool
    why: str
    is_stable: bool = False


def phase(rollout: Manifest) -> Phase:
    """How it stands: healthy it is only when what was applied last is what is stable."""
    status: Mapping[str, Any] = rollout.get("status", {})
    if status.get("observedGeneration") != str(rollout["metadata"]["generation"]):
        return Phase("Unobserved", aborted=False, why="")
    name = str(status.get("phase", "Unobserved"))
    is_stable = "stableRS" in status and status["stableRS"] == status.get("currentPodHash")
    if name == "Healthy" and not is_stable:
        name = "Progressing"
    return Phase(name, bool(status.get("abort")), str(status.get("message", "")), is_stable)


@dataclass(frozen=True, slots=True)
class Release:
    """What an environment is to run: all manifests of the chart with an image, as they are rendered."""

    name: str
    manifests: Sequence[Manifest]

    def but(self, part: str, image: str) -> "Release":
        """The same, in which the Rollout `part` runs another image."""
        changed = [
            with_image(one, image) if one["kind"] == "Rollout" and one["metadata"]["name"] == part else one
            for one in self.manifests
        ]
        return Release(f"{self.name} with another {part}", changed)


def with_image(rollout: Manifest, image: str) -> Manifest:
    """The Rollout, all containers of which run this image."""
    template = rollout["spec"]["template"]
    groups = {
        group: [{**one, "image": image} for one in template["spec"][group]]
        for group in ("initContainers", "containers")
        if group in template["spec"]
    }
    pod = {**template["spec"], **groups}
    return {**rollout, "spec": {**rollout["spec"], "template": {**template, "spec": pod}}}


@dataclass
class Installation:
    """Postrider on a cluster, which releases change. The last of `history` is what was applied last."""

    kube: Kube
    history: list[Release] = field(default_factory=list)

    def release(self, wanted: Release) -> None:
        """Applies a release in sync waves, hooks included; NotSyncedError when the migration fails."""
        self.history.append(wanted)
        for wave in _waves(wanted.manifests):
            for one in wave:
                if one["metadata"].get("annotations", {}).get(_HOOK):
                    self._run(one)
                else:
                    self.kube.apply(self._as_it_lives(one))

    def go_back(self, releases: int = 1, seconds: float = 300.0) -> float:
        """Applies what was there before the last releases, which are forgotten; the seconds until it is everywhere."""
        del self.history[-releases:]
        return self.restore(self.history.pop(), seconds)

    def restore(self, known: Release, seconds: float = 300.0) -> float:
        """Applies a release that is known to be good, and spares it the steps; the seconds until it is everywhere."""
        self.release(known)
        return self.hurry(seconds)

    def hurry(self, seconds: float) -> float:
        """Spares what was applied last the steps; the seconds until it is everywhere."""
        hurried: set[str] = set()

        def is_everywhere(found: Mapping[str, Phase]) -> bool:
            # One that has nothing to promote would keep the wish for the next release, and spare that one the steps.
            under_way = {name for name, one in found.items() if one.name in {"Progressing", "Paused"}}
            for name in {name for name in under_way if not found[name].is_stable} - hurried:
                self.promote(name)
                hurried.add(name)
            return _all_healthy(found)

        return self._wait(is_everywhere, seconds, "all Healthy again")

    def rollouts(self) -> list[Manifest]:
        """All that are released by steps."""
        return self.kube.list(ROLLOUTS, "Rollout", NAMESPACE)

    def phases(self) -> dict[str, Phase]:
        """How each stands, by its name."""
        return {one["metadata"]["name"]: phase(one) for one in self.rollouts()}

    def version(self, name: str) -> str:
        """The label of a Rollout's pods that are stable."""
        return str(self.kube.get(ROLLOUTS, "Rollout", name, NAMESPACE)["status"]["stableRS"])

    def is_healthy(self) -> bool:
        """Whether every part runs what was applied last, and nothing else."""
        return all(one.name == "Healthy" for one in self.phases().values())

    def pods(self, component: str = "") -> list[Manifest]:
        """Those of the release that are not about to end, or those of one component."""
        wanted = f",app.kubernetes.io/component={component}" if component else ""
        found = self.kube.list("v1", "Pod", NAMESPACE, selector=f"app.kubernetes.io/name=postrider{wanted}")
        return [one for one in found if not one["metadata"].get("deletionTimestamp")]

    def last_words(self, selector: str) -> str:
        """The ends of what the pods with these labels wrote."""
        names = [one["metadata"]["name"] for one in self.kube.list("v1", "Pod", NAMESPACE, selector=selector)]
        paths = (f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/log?tailLines=30" for name in names)
        return "\n".join(str(self.kube.ask("GET", path).body) for path in paths)

    def wait_healthy(self, seconds: float) -> float:
        """The seconds until it is; AssertionError after so many, or when a Rollout has taken the release back."""
        return self._wait(_all_healthy, seconds, "all Healthy")

    def wait_images(self, wanted: str, *parts: str) -> None:
        """Waits until the pods of these Rollouts, or all that there are, run no other image."""
        wait_for(lambda: self._images(parts) == {wanted}, _GONE_SECONDS, f"{wanted} alone", every=0.5)

    def _images(self, parts: Sequence[str]) -> set[str]:
        names = tuple(f"{part}-" for part in parts) or ("",)
        # Those that tried something and have ended stay as they are.
        pods = [
            one
            for one in self.pods()
            if one["metadata"]["name"].startswith(names) and one["status"].get("phase") not in {"Succeeded", "Failed"}
        ]
        return {container["image"] for pod in pods for container in pod["spec"]["containers"]}

    def wait_aborted(self, name: str, seconds: float) -> float:
        """The seconds until a Rollout has taken its release back; AssertionError after so many, or when it promotes."""

        def aborted(found: Mapping[str, Phase]) -> bool:
            assert found[name].name != "Healthy", f"{name} was promoted"
            return found[name].aborted and found[name].name == "Degraded"

        return self._wait(aborted, seconds, f"{name} aborted")

    def wait_phase(self, name: str, wanted: str, seconds: float) -> float:
        """The seconds until a Rollout is in a phase; AssertionError after so many."""
        return self._wait(lambda found: found[name].name == wanted, seconds, f"{name} {wanted}")

    def abort(self, name: str) -> None:
        """As `kubectl argo rollouts abort` does."""
        self._change(name, {"status": {"abort": True}}, "/status")

    def promote(self, name: str) -> None:
        """As `kubectl argo rollouts promote` does, and then `promote --full`: some wait for somebody."""
        self._change(name, {"status": {"pauseConditions": None, "controllerPause": False}}, "/status")
        self._change(name, {"status": {"promoteFull": True}}, "/status")

    def restart(self, name: str) -> None:
        """As `kubectl argo rollouts restart` does."""
        self._change(name, {"spec": {"restartAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}})

    def _change(self, name: str, change: Mapping[str, Any], part: str = "") -> None:
        rollout = {"apiVersion": ROLLOUTS, "kind": "Rollout", "metadata": {"name": name, "namespace": NAMESPACE}}
        answer = self.kube.ask("PATCH", f"{self.kube.path(rollout)}{part}", change, MERGE)
        assert answer.status == HTTPStatus.OK, answer.body

    def smoke(self, wanted: Release) -> None:
        """Runs the chart's smoke test as the sync does in the end; NotSyncedError when it fails."""
        for one in wanted.manifests:
            if one["metadata"].get("annotations", {}).get(_HOOK) == "PostSync":
                self._run(one)

    def _wait(self, is_so: Callable[[dict[str, Phase]], bool], seconds: float, what: str) -> float:
        began = time.monotonic()
        while not is_so(found := self.phases()):
            assert time.monotonic() - began < seconds, f"{what}: not within {seconds:g} s; {_told(found)}"
            time.sleep(0.5)
        return time.monotonic() - began

    def _as_it_lives(self, wanted: Manifest) -> Manifest:
        """With what is Argo Rollouts' to set: the weights of routes, and which version's pods a Service selects."""
        own = _OWN_OF_ROLLOUTS.get(wanted["kind"])
        meta = wanted["metadata"]
        if own is None:
            return wanted
        try:
            live = self.kube.get(wanted["apiVersion"], wanted["kind"], meta["name"], meta["namespace"])
        except NotFoundError:
            return wanted
        return {**wanted, "spec": own(wanted["spec"], live["spec"])}

    def _run(self, hook: Manifest) -> None:
        """Runs a Job or a pod to its end, in the place of the one before."""
        version, kind, name = hook["apiVersion"], hook["kind"], hook["metadata"]["name"]
        self._delete(version, kind, name)
        self.kube.apply(hook)
        wait_for(lambda: self._has_ended(version, kind, name), _JOB_SECONDS, f"the end of {named(hook)}", every=0.5)
        status = self.kube.get(version, kind, name, NAMESPACE)["status"]
        if not (status.get("succeeded") or status.get("phase") == "Succeeded"):
            raise NotSyncedError(f"{named(hook)} failed: {status}")

    def _has_ended(self, version: str, kind: str, name: str) -> bool:
        status = self.kube.get(version, kind, name, NAMESPACE).get("status", {})
        kinds = {one["type"] for one in status.get("conditions", []) if one["status"] == "True"}
        return bool(kinds & {"Complete", "Failed"}) or status.get("phase") in {"Succeeded", "Failed"}

    def _delete(self, version: str, kind: str, name: str) -> None:
        def is_gone() -> bool:
            try:
                self.kube.get(version, kind, name, NAMESPACE)
            except NotFoundError:
                return True
            return False

        if not is_gone():
            self.kube.delete(version, kind, name, NAMESPACE)
            wait_for(is_gone, 60, f"the end of the last {kind} {name}", every=0.5)


class Watch:
    """Notes in a thread of its own, while the block runs, which weights the canary of a Rollout was given, and when."""

    def __init__(self, kube: Kube, name: str) -> None:
        self._kube, self._name = kube, name
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)
        self.weights: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(30)

    @property
    def steps(self) -> list[int]:
        """The weights in their order."""
        return [weight for _, weight in self.weights]

    def _look(self) -> None:
        while not self._ends.wait(0.5):
            status = self._kube.get(ROLLOUTS, "Rollout", self._name, NAMESPACE).get("status", {})
            weight = status.get("canary", {}).get("weights", {}).get("canary", {}).get("weight", 0)
            if not self.weights or self.weights[-1][1] != weight:
                self.weights.append((time.monotonic(), weight))


def _all_healthy(found: Mapping[str, Phase]) -> bool:
    aborted = [name for name, one in found.items() if one.aborted]
    assert not aborted, f"taken back: {_told(found)}"
    return all(one.name == "Healthy" for one in found.values())


def _waves(wanted: Iterable[Manifest]) -> list[list[Manifest]]:
    """The manifests in the order of their sync waves, without what runs only after the sync."""
    waves: dict[int, list[Manifest]] = {}
    for one in wanted:
        notes = one["metadata"].get("annotations", {})
        if notes.get(_HOOK) != "PostSync":
            waves.setdefault(int(notes.get(_WAVE, 0)), []).append(one)
    return [waves[number] for number in sorted(waves)]


def _with_weights(route: Manifest, live: Manifest) -> Manifest:
    weights = {one["name"]: one.get("weight") for rule in live["rules"] for one in _backends(rule)}
    return {**route, "rules": [_weighted(rule, weights) for rule in route["rules"]]}


def _backends(rule: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = rule.get("backendRefs", [])
    return found


def _weighted(rule: Mapping[str, Any], weights: Mapping[str, int | None]) -> Mapping[str, Any]:
    if not _backends(rule):
        return rule
    live = [{**one, "weight": weights.get(one["name"], one.get("weight"))} for one in _backends(rule)]
    return {**rule, "backendRefs": [{key: value for key, value in one.items() if value is not None} for one in live]}


def _with_version(service: Manifest, live: Manifest) -> Manifest:
    version = {name: value for name, value in live.get("selector", {}).items() if name == VERSION}
    return {**service, "selector": {**service["selector"], **version}}


_OWN_OF_ROLLOUTS = {"HTTPRoute": _with_weights, "Service": _with_version}


def _told(found: Mapping[str, Phase]) -> str:
    return "; ".join(f"{name}: {one.name} {one.why}" for name, one in found.items())
