"""The bad releases are as bad as their names say, each by its patch alone, and releases are applied in their order."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.dev.process import wait_until
from tests.cluster.releases import PATCHES, Phase, _waves, layer, newest_revision, phase
from tests.cluster.traffic import Database, Entry, Grounds, Scene
from tests.deploy.chart.helm import render
from tests.faults.lab import running_receiver
from tests.faults.processes import wait_for
from tests.servers import ROOT
from tests.system import POSTRIDER, System, prepared_system

OUTSIDE = {"x-forwarded-for": "192.0.2.7"}
STAGING = ROOT / "argocd" / "envs" / "staging" / "values.yaml"
MODULES = {one.stem for one in PATCHES.glob("*.py")} - {"__init__", "loader"}
PATCHED = sorted(MODULES | {one.parent.name for one in PATCHES.glob("*/__init__.py")})


@contextmanager
def patched(environment: Mapping[str, str], patch: str, folder: Path) -> Iterator[System]:
    """Processes that are started as those of the image with a patch are."""
    path = str(layer(patch, folder) / "srv" / "postrider")
    with prepared_system({**environment, "PYTHONPATH": path}) as system:
        yield system


@contextmanager
def scene(system: System, folder: Path) -> Iterator[Scene]:
    with running_receiver(folder) as receiver:
        database = Database(system.environment["POSTRIDER_DATABASE__WORKER_URL"])
        yield Scene(Grounds(Entry(system.url, "127.0.0.1"), database, receiver), "patched", tenants=1, behaviour=None)


def test_a_release_with_errors_fails_three_of_ten_from_outside(environment: dict[str, str], tmp_path: Path) -> None:
    with patched(environment, "errors", tmp_path) as system:
        system.start_api(1)
        with scene(system, tmp_path) as inside, inside.load(rate=0, count=200, connections=4) as load:
            assert load.join(60).statuses == {202: 200}
        seen = [_got(urlsplit(system.url).port or 0, "/api/v1/app", OUTSIDE)[0] for _ in range(300)]
        assert 60 <= seen.count(500) <= 120
        assert _samples(system, "requests_total", 'status="500"') >= 60


def test_a_slow_release_takes_two_seconds_longer(environment: dict[str, str], tmp_path: Path) -> None:
    with patched(environment, "slow", tmp_path) as system:
        system.start_api(1)
        with scene(system, tmp_path) as inside, inside.load(rate=0, count=4, connections=4) as load:
            seconds = load.join(60).seconds()
        assert [2.0 <= one < 4.0 for one in seconds] == [True] * 4
        assert _samples(system, "_bucket", "/msg", 'le="1.0"') == 0
        assert _samples(system, "_bucket", "/msg", 'le="+Inf"') == 4


def test_a_release_that_is_never_ready_starts_and_lives(environment: dict[str, str], tmp_path: Path) -> None:
    with patched(environment, "never_ready", tmp_path) as system:
        system.start_api(1)
        assert [_told(system, path)[0] for path in ("/startupz", "/readyz", "/livez")] == [200, 503, 200]


def test_a_crashing_worker_ends_by_a_signal(environment: dict[str, str], tmp_path: Path) -> None:
    with patched(environment, "crashing_worker", tmp_path) as system:
        worker = system.start_part("worker", "--processes=1")
        assert wait_until(lambda: worker.ended() is not None, 30)
        assert worker.ended() == -9


def test_a_worker_that_signs_wrongly_is_refused_by_receivers(environment: dict[str, str], tmp_path: Path) -> None:
    with patched(environment, "wrong_signature", tmp_path) as system:
        system.start(api=1, workers=1)
        with scene(system, tmp_path) as inside:
            with inside.load(rate=0, count=3) as load:
                load.join(30)
            wait_for(lambda: len(inside.receipts()) >= 3, 20, "receipts")
            assert {one.status for one in inside.receipts()} == {401}


def test_a_missing_key_is_named_before_anything_is_touched(environment: dict[str, str], tmp_path: Path) -> None:
    with patched(environment, "missing_key", tmp_path) as system:
        done = _migrate(system)
    assert done.returncode != 0
    assert "POSTRIDER_RESIDENCY: field required" in done.stderr


@pytest.mark.parametrize("patch", ["failing_migration", "two_steps"])
def test_steps_of_a_patch_follow_those_of_the_product(patch: str, tmp_path: Path) -> None:
    made = sorted((layer(patch, tmp_path) / "srv" / "postrider" / "migrations" / "versions").iterdir())
    before = int(newest_revision())
    for number, file in enumerate(made, before + 1):
        assert file.name.startswith(f"{number:04}_")
        assert f'revision = "{number:04}"\ndown_revision = "{number - 1:04}"' in file.read_text()


def test_there_is_no_patch_that_nobody_wrote(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no patch harmless"):
        layer("harmless", tmp_path)


@pytest.mark.parametrize("patch", PATCHED)
def test_what_is_laid_over_the_image_can_be_read_by_its_user(patch: str, tmp_path: Path) -> None:
    made = layer(patch, tmp_path)
    assert all(one.stat().st_mode & 0o005 == 0o005 for one in made.rglob("*") if one.is_dir())
    assert all(one.stat().st_mode & 0o004 for one in made.rglob("*") if one.is_file())


def test_the_migration_runs_after_its_account_and_before_everything_that_serves() -> None:
    waves = _waves(render(STAGING))
    kinds = [{one["kind"] for one in wave} for wave in waves]
    assert kinds[0] >= {"ServiceAccount", "ConfigMap"}
    assert kinds[1] == {"Job"}
    assert {"Rollout", "Service", "Deployment"} <= kinds[2]
    assert not any("Pod" in each for each in kinds)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"observedGeneration": "1", "phase": "Healthy"}, Phase("Unobserved", aborted=False, why="")),
        (
            {"observedGeneration": "2", "phase": "Healthy", "stableRS": "a", "currentPodHash": "b"},
            Phase("Progressing", aborted=False, why=""),
        ),
        (
            {"observedGeneration": "2", "phase": "Healthy", "stableRS": "b", "currentPodHash": "b"},
            Phase("Healthy", aborted=False, why="", is_stable=True),
        ),
        (
            {"observedGeneration": "2", "phase": "Degraded", "abort": True, "message": "bad"},
            Phase("Degraded", aborted=True, why="bad"),
        ),
    ],
)
def test_a_rollout_is_healthy_when_the_last_release_is_the_stable_one(status: dict[str, object], wanted: Phase) -> None:
    assert phase({"metadata": {"name": "one", "generation": 2}, "status": status}) == wanted


def _told(system: System, path: str) -> tuple[int, str]:
    """What the first process of the API tells of itself."""
    return _got(system.management_ports("api")[0], path, {})


def _samples(system: System, *parts: str) -> float:
    """The sum of the API's own samples of requests whose lines have these parts."""
    _, text = _told(system, "/metrics")
    lines = [line for line in text.splitlines() if line.startswith("postrider_http_request")]
    assert lines, text
    return sum(float(line.rpartition("} ")[2].split()[0]) for line in lines if all(part in line for part in parts))


def _got(port: int, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def _migrate(system: System) -> subprocess.CompletedProcess[str]:
    words = [*POSTRIDER, "migrate"]
    return subprocess.run(words, env=system.environment, cwd=ROOT, capture_output=True, text=True, check=False)
