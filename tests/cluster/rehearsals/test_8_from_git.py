"""What is committed runs, what is bad is taken back and proposed to be, and what is changed by hand is changed back."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.applications import Applications, moment, wait_for
from tests.cluster.argocd import argocd, argocd_objects, end_argocd, github
from tests.cluster.images import Images
from tests.cluster.install import apply
from tests.cluster.kube import NotFoundError
from tests.cluster.place import Place
from tests.cluster.rehearsals.good import good_release
from tests.cluster.rehearsals.released import Released
from tests.cluster.releases import API, NAMESPACE, ROLLOUTS, VERSION, Installation
from tests.cluster.traffic import Grounds, Scene
from tests.cluster.upstream import Upstream
from tests.deploy.manifests import Manifest
from tests.deploy.tools import cache
from tests.faults.client import Book

pytestmark = pytest.mark.unbounded
APP, CONFIG = "app-staging", "config-staging"
RATE = 20.0
BEFORE_SECONDS = 6.0
BEGIN_SECONDS = 300.0
RELEASE_SECONDS = 600.0
ABORT_SECONDS = 300.0
BACK_SECONDS = 400.0
HEAL_SECONDS = 90.0
LATE_SECONDS = 1.5
# More than are late on a machine that has other things to do.
MANY = 50
MIGRATIONS, SMOKE = "postrider-migrations", "postrider-smoke"


@dataclass
class Fleet:
    """Git, what Argo CD makes of it, and what was measured: what it was, for how long, and what there is to say."""

    upstream: Upstream
    applications: Applications
    lines: list[tuple[str, float, str]] = field(default_factory=list)

    def note(self, what: str, seconds: float, said: str = "") -> None:
        """A line of the table at the end."""
        self.lines.append((what, seconds, said))


@pytest.fixture(scope="module")
def fleet(place: Place, first_installation: Installation) -> Iterator[Fleet]:
    """A repository that says what runs already, and Argo CD, told once by hand where that is; it goes in the end."""
    if not first_installation.is_healthy():
        # Somebody who was interrupted has left another release.
        first_installation.restore(first_installation.history[0])
    found = _digest(first_installation)
    made = Fleet(Upstream(github(place), place.file("upstream")), Applications(place.kube()))
    made.upstream.adapt(Images(cache() / "images").all())
    for environment in ("dev", "staging"):
        made.upstream.runs(environment, found)
    began = time.monotonic()
    try:
        apply(place, argocd_objects(place))
        place.start(argocd(place))
        made.note("Argo CD's programs are ready", time.monotonic() - began)
        began = time.monotonic()
        made.applications.begin()
        for name in ("root", CONFIG, APP):
            made.applications.wait_settled(name, BEGIN_SECONDS)
            made.note(f"{name} is what Git says", time.monotonic() - began)
        yield made
    finally:
        made.applications.end()
        end_argocd(place)
        for what, seconds, said in made.lines:
            print(f"{what:<58}{seconds:>7.1f} s  {said}")  # noqa: T201 the table that the rehearsal is for


def test_one_manifest_by_hand_brings_the_projects_and_the_applications(
    fleet: Fleet, installation: Installation
) -> None:
    assert fleet.applications.names() == {"root", CONFIG, APP}
    kube = fleet.applications.kube
    projects = {one["metadata"]["name"] for one in kube.list("argoproj.io/v1alpha1", "AppProject", "argocd")}
    assert projects >= {"root", "default", "platform", "environments", "argocd", "config", "postrider"}
    assert fleet.applications.standing(APP).digests[0] == _digest(installation)


def test_a_promotion_moves_the_digest_from_dev_to_staging(
    fleet: Fleet, grounds: Grounds, installation: Installation, released: Released
) -> None:
    image = next(one for one in map(released.image, ("good", "")) if one.digest != _digest(installation))
    fleet.upstream.built(image.digest)
    asked = fleet.upstream.promote("staging")
    assert "pr create --base main --head promote/staging" in " ".join(asked)
    assert asked[-1] == "pr merge promote/staging --auto --squash"
    with good_release(grounds, installation, "8 a promotion from Git, as 1"):
        fleet.upstream.merge("promote/staging")
        fleet.applications.refresh()
        changed = _wait_wanted(fleet, image.digest)
        took = fleet.applications.wait_settled(APP, RELEASE_SECONDS, image.digest) + changed
        installation.wait_healthy(60)
    fleet.note("the digest of staging, from the merge to its Application", changed)
    fleet.note("the same, until all of it is healthy and tried", took)
    assert fleet.upstream.image("staging") == fleet.upstream.image("dev")
    installation.wait_images(image.reference)
    _assert_in_waves(installation)
    told = {"event_type": "deployed", "client_payload": {"environment": "staging"}}
    github_of = fleet.upstream.github
    wait_for(lambda: told in github_of.dispatches(), 60, lambda: f"GitHub knows of {github_of.dispatches()}")


def test_a_bad_commit_is_taken_back_and_its_revert_is_proposed(
    fleet: Fleet, grounds: Grounds, installation: Installation, released: Released
) -> None:
    good = fleet.applications.standing(APP).digests[0]
    bad = released.image("slow")
    scene, told_before = Scene(grounds, "8 a bad commit", tenants=4), len(fleet.upstream.github.dispatches())
    with scene.load(rate=RATE) as load:
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        fleet.upstream.runs("staging", bad.digest)
        fleet.applications.refresh()
        told = wait_told(fleet, told_before, ABORT_SECONDS)
        aborted = time.monotonic() - began
        assert told == {"environment": "staging", "rollout": API, "image": bad.reference}
        installation.wait_aborted(API, 30)
        why = installation.phases()[API].why
        wait_for(lambda: fleet.applications.standing(APP).health == "Degraded", 60, lambda: "Argo CD calls it well")
        asked = fleet.upstream.roll_back(told)
        assert asked[-1].startswith("pr create --base main --head rollback/staging --title Run ")
        assert good in fleet.upstream.image("staging", "rollback/staging")
        merged = time.monotonic()
        fleet.upstream.merge("rollback/staging")
        fleet.applications.refresh()
        _wait_wanted(fleet, good)
        # A sync that failed is tried twice more before what is new begins, and whoever is in a hurry ends it.
        fleet.applications.end_operation(APP)
        wait_for(lambda: _asks_for(installation, good), BACK_SECONDS, lambda: "the bad release is still asked for")
        # Workers have run the bad release, and whoever is in a hurry spares them the steps.
        installation.hurry(BACK_SECONDS)
        fleet.applications.wait_settled(APP, BACK_SECONDS, good)
        back = time.monotonic() - merged
        book = load.stop()
    scene.settle(240)
    fleet.note("a bad commit, until its rollout is aborted and GitHub told", aborted, why[:100])
    fleet.note("the revert, from its merge until all is well", back)
    late = _late(book, began, merged)
    scene.conclude(book, aborted, f"{late} late; aborted and its revert proposed; {why[:60]}")
    assert not book.harmed(), book.statuses
    assert late >= MANY
    assert _late(book, began + aborted + 30) < MANY, "callers wait for what ran before as well"


def _wait_wanted(fleet: Fleet, digest: str) -> float:
    """The seconds until the Application is told this digest."""
    return wait_for(
        lambda: fleet.applications.standing(APP).digests[0] == digest, 60, lambda: "the Application is as it was"
    )


def _asks_for(installation: Installation, digest: str) -> bool:
    """Whether every part is to run the image of this digest, and none has taken it back."""
    images = {one["spec"]["template"]["spec"]["containers"][0]["image"] for one in installation.rollouts()}
    aborted = any(one.aborted for one in installation.phases().values())
    return not aborted and all(image.endswith(digest) for image in images)


def _late(book: Book, since: float, until: float = float("inf")) -> int:
    """How many requests that began in a span took as long as that release takes."""
    return sum(one.seconds > LATE_SECONDS for one in book.exchanges if since <= one.began < until)


def wait_told(fleet: Fleet, before: int, seconds: float) -> dict[str, Any]:
    """What GitHub is told of a rollout that was aborted."""
    found: list[Any] = []

    def is_told() -> bool:
        said = fleet.upstream.github.dispatches()[before:]
        found.extend(one["client_payload"] for one in said if one["event_type"] == "rollout-aborted")
        return bool(found)

    wait_for(is_told, seconds, lambda: f"nothing was told; {fleet.applications.standing(APP)}")
    payload: dict[str, Any] = found[0]
    return payload


@dataclass(frozen=True)
class Drift:
    """A change by hand to an object of one of the Applications: a merge patch, or none where it is deleted."""

    version: str
    kind: str
    name: str
    change: dict[str, Any] | None


PORT = {"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http"}
DRIFTS = [
    Drift("networking.k8s.io/v1", "NetworkPolicy", API, None),
    Drift("policy/v1", "PodDisruptionBudget", API, {"spec": {"minAvailable": 0}}),
    Drift("v1", "Service", "postrider-api-canary", {"spec": {"ports": [{**PORT, "targetPort": 9}]}}),
    Drift("autoscaling/v2", "HorizontalPodAutoscaler", API, {"spec": {"maxReplicas": 40}}),
    Drift("v1", "ResourceQuota", "postrider", {"spec": {"hard": {"pods": "1000"}}}),
]


@pytest.mark.parametrize("drift", [pytest.param(one, id=one.kind) for one in DRIFTS])
def test_what_is_changed_by_hand_is_changed_back(fleet: Fleet, installation: Installation, drift: Drift) -> None:
    def now() -> Any:  # noqa: ANN401 part of a manifest
        return installation.kube.get(drift.version, drift.kind, drift.name, NAMESPACE)

    before = now()
    if drift.change is None:
        installation.kube.delete(drift.version, drift.kind, drift.name, NAMESPACE)
    else:
        installation.kube.patch(drift.version, drift.kind, drift.name, drift.change, NAMESPACE)
        assert now()["spec"] != before["spec"]

    def is_healed() -> bool:
        try:
            found = now()
        except NotFoundError:
            return False
        return bool(found["spec"] == before["spec"] and found["metadata"].get("deletionTimestamp") is None)

    took = wait_for(is_healed, HEAL_SECONDS, lambda: f"{now()['spec']} instead of {before['spec']}")
    fleet.note(f"{drift.kind} {'deleted' if drift.change is None else 'changed'} by hand, until it is as before", took)
    for name in (APP, CONFIG):
        fleet.applications.wait_settled(name, BEGIN_SECONDS)


def _digest(installation: Installation) -> str:
    """That of the image that the API is to run."""
    template = installation.kube.get(ROLLOUTS, "Rollout", API, NAMESPACE)["spec"]["template"]
    return str(template["spec"]["containers"][0]["image"]).rpartition("@")[2]


def _assert_in_waves(installation: Installation) -> None:
    """Settings came first, then the schema, then pods, and in the end they were tried."""
    kube = installation.kube
    job = kube.get("batch/v1", "Job", MIGRATIONS, NAMESPACE)
    smoke = kube.get("v1", "Pod", SMOKE, NAMESPACE)
    assert smoke["status"]["phase"] == "Succeeded"
    new = [one for one in installation.pods() if VERSION in one["metadata"]["labels"]]
    assert len(new) >= len(installation.rollouts())
    first = min(_made(one) for one in new)
    last = max(_completed(one) for one in kube.list(ROLLOUTS, "Rollout", NAMESPACE))
    order = [moment(job["status"]["completionTime"]), first, last, moment(smoke["status"]["startTime"])]
    assert order == sorted(order), order


def _made(one: Manifest) -> datetime:
    return moment(one["metadata"]["creationTimestamp"])


def _completed(rollout: Manifest) -> datetime:
    (found,) = [one for one in rollout["status"]["conditions"] if one["type"] == "Completed"]
    assert found["status"] == "True", found
    return moment(found["lastTransitionTime"])
