"""The repository of a rehearsal says what one machine can run, by means that staging's Applications may use."""

from pathlib import Path

import pytest
import yaml

from tests.cluster.github import GitHub
from tests.cluster.images import Image
from tests.cluster.install import STORES
from tests.cluster.upstream import Upstream
from tests.deploy.gitops.rendered import projects
from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tools import program
from tests.servers import ROOT

ONE, TWO = (Image(f"localhost/{name}", name, Path(name), f"sha256:{name * 64}") for name in "ab")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    folder = tmp_path_factory.mktemp("upstream")
    (folder / "github" / "postrider").mkdir(parents=True)
    made = Upstream(GitHub(folder / "github"), folder)
    made.adapt(dict.fromkeys(STORES.values(), ONE))
    return made


def test_what_staging_has_is_of_kinds_that_its_project_may_make(upstream: Upstream) -> None:
    held = _kustomized(upstream)
    config = projects()["config"]
    may = {one["kind"] for name in ("clusterResourceWhitelist", "namespaceResourceWhitelist") for one in config[name]}
    assert {one["kind"] for one in held} <= may
    assert not {one["kind"] for one in held} & {"ExternalSecret", "SecretStore", "Cluster", "Pooler", "ClusterIssuer"}
    (redis,) = [one for one in held if one["kind"] == "StatefulSet"]
    assert redis["spec"]["template"]["spec"]["containers"][0]["image"] == f"{ONE.name}@{ONE.digest}"


def test_steps_and_analysis_of_staging_stay_as_they_are(upstream: Upstream) -> None:
    name = Path("argocd", "envs", "staging", "values.yaml")
    here, there = (yaml.safe_load((tree / name).read_text()) for tree in (ROOT, upstream.clone))
    assert there["rollouts"] == here["rollouts"]
    assert there != here


def test_a_digest_goes_from_dev_to_staging_and_back_by_proposals(upstream: Upstream) -> None:
    upstream.runs("staging", ONE.digest)
    upstream.built(TWO.digest)
    assert TWO.digest not in upstream.image("staging")
    asked = upstream.promote("staging")
    assert asked[-1] == "pr merge promote/staging --auto --squash"
    assert any(one.startswith("pr create --base main --head promote/staging --title Run ") for one in asked)
    assert TWO.digest not in upstream.image("staging")
    upstream.merge("promote/staging")
    assert upstream.image("staging") == upstream.image("dev")
    payload = {"environment": "staging", "rollout": "postrider-api", "image": f"{TWO.name}@{TWO.digest}"}
    assert upstream.roll_back(payload)[-1].startswith("pr create --base main --head rollback/staging --title Run ")
    upstream.merge("rollback/staging")
    assert ONE.digest in upstream.image("staging")


def _kustomized(upstream: Upstream) -> list[Manifest]:
    return manifests(upstream.run(str(program("kustomize")), "build", "k8s/overlays/staging"))
