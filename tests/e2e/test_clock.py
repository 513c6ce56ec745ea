"""A server's clock may be set at any moment; what the processes owe one another goes by another one."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.dev.ports import any_free
from tests.e2e.customer import eventually
from tests.servers import ROOT

TIMEOUT_SECONDS = 2
SERVER = [
    *(sys.executable, "-m", "gunicorn", "--worker-class=app.kit.protocol.Worker", "--no-control-socket"),
    *(f"--timeout={TIMEOUT_SECONDS}", "--workers=1", "app.cli.bench.plain:app"),
]
BOOTED, KILLED = "Booting worker", "WORKER TIMEOUT"


def test_a_process_of_the_api_whose_clock_is_set_back_is_not_taken_for_dead(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("7200")
    with serving(tmp_path / "log", {"FAULTS_CLOCK": str(clock)}) as url:
        clock.write_text("-7200")
        time.sleep(3 * TIMEOUT_SECONDS)
        assert answers(url)
    log = (tmp_path / "log").read_text()
    assert (log.count(BOOTED), log.count(KILLED)) == (1, 0)


@contextmanager
def serving(log: Path, environment: dict[str, str]) -> Iterator[str]:
    """Gunicorn with the product's kind of worker, whose clock goes by a file."""
    port = any_free()
    paths = f"{ROOT / 'tests/faults/clock'}:{ROOT}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*SERVER, f"--bind=127.0.0.1:{port}"],
            env={**os.environ, **environment, "PYTHONPATH": paths},
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}/openapi.json"
    try:
        eventually(lambda: answers(url))
        yield url
    finally:
        server.terminate()
        server.wait(20)


def answers(url: str) -> bool:
    """Whether somebody does."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # a URL of our own
            return bool(answer.status == 200)
    except OSError:
        return False
