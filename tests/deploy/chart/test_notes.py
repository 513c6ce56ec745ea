"""What whoever installs by hand reads at the end."""

import subprocess
from pathlib import Path

from tests.deploy.chart.helm import CHART, values_of


def notes(helm: Path, variant: str) -> str:
    command = [str(helm), "install", "postrider", str(CHART), "--namespace=hooks", "--dry-run=client"]
    done = subprocess.run([*command, f"--values={values_of(variant)}"], capture_output=True, text=True, check=True)
    return done.stdout.partition("\nNOTES:\n")[2]


def test_they_say_how_to_see_that_it_works_and_where_it_is(helm: Path) -> None:
    said = notes(helm, "full")
    assert "helm -n hooks test postrider --logs" in said
    assert "Callers reach it at https://hooks.example.com." in said


def test_they_say_what_is_not_there(helm: Path) -> None:
    said = notes(helm, "minimal")
    assert "kubectl -n hooks port-forward service/postrider-api 8000:80" in said
    assert "say in database.maxConnections" in said
    assert "With probe.enabled" in said


def test_they_warn_of_a_canary_that_nobody_can_judge(helm: Path) -> None:
    assert "every release will wait for you" in notes(helm, "bluegreen")
    assert "every release will wait for you" not in notes(helm, "full")
