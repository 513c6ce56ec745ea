"""The timer of hourly work absent, and there twice: nobody but old data waits for it, and twice is as good as once."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.cli.dev.process import Child, Program
from app.features.retention.operations import AHEAD
from app.features.retention.queries import SETTLING
from tests.faults.lab import Lab, Scene
from tests.faults.processes import wait_for
from tests.servers import ROOT
from tests.system import System

pytestmark = pytest.mark.timeout(300)
OLD = datetime(2020, 1, 1, tzinfo=UTC).date()


def test_f17_beat_absent_then_twice(lab: Lab, installation: System) -> None:
    """Without beat everything is delivered; two of them make the days to come and drop the old ones as one would."""
    scene = Scene(lab, installation, "F17 beat absent, then two")
    count = 300 if lab.bounded else 10_000
    rate = 150 if lab.bounded else 500
    installation.children.pop("beat").stop()
    lost_days = _forget_days_ahead(lab, scene)
    with scene.load(rate=rate, count=count) as load:
        first = load.join()
    settled = scene.settle(30)
    assert _partitions(lab, scene).isdisjoint(lost_days)
    with _two_beats(installation) as logs, scene.load(rate=rate, count=count) as load:
        recovery = wait_for(lambda: _is_kept(lab, scene, lost_days), 30, "the work of beat")
        sent = [_sent(log) for log in logs]
        wait_for(lambda: all(_sent(log) > before + 1 for log, before in zip(logs, sent, strict=True)), 30, "two beats")
        book = first | load.join()
    settled = max(settled, scene.settle(30))
    scene.conclude(book, recovery=recovery, note=f"settled in {settled:.1f} s")
    installation.start_part("beat")
    assert "raised unexpected" not in installation.log("worker")


def _forget_days_ahead(lab: Lab, scene: Scene) -> set[str]:
    """Takes away the partitions of the days to come, and adds one whose time was over long ago."""
    today = datetime.now(UTC).date()
    ahead = {name for name in _partitions(lab, scene) if name > f"messages_p{today:%Y%m%d}"}
    for name in ahead:
        lab.postgres.query(f"DROP TABLE {name}", database=scene.database)
    days = [OLD, OLD + timedelta(days=1)]
    lab.postgres.query("SELECT ensure_partitions(%s::date[], %s::date[])", days, [], database=scene.database)
    assert ahead
    return ahead


def _is_kept(lab: Lab, scene: Scene, days: set[str]) -> bool:
    """Whether the days to come are there again, and the old ones gone."""
    found = _partitions(lab, scene)
    # For an hour after midnight the day of retention is the one before, and the last day that is promised with it.
    last = datetime.now(UTC) - SETTLING + timedelta(days=AHEAD)
    promised = {name for name in days if name <= f"messages_p{last:%Y%m%d}"}
    return bool(promised) and promised <= found and f"messages_p{OLD:%Y%m%d}" not in found


def _partitions(lab: Lab, scene: Scene) -> set[str]:
    statement = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'messages'::regclass"
    return {name for (name,) in lab.postgres.query(statement, database=scene.database)}


@contextmanager
def _two_beats(system: System) -> Iterator[list[Path]]:
    """Two beats that do each second what beat does each hour; yields their logs."""
    argv = [sys.executable, "-m", "celery", "-A", "tests.faults.beat", "beat", "--loglevel", "INFO", "--pidfile", ""]
    with tempfile.TemporaryDirectory(prefix="postrider-beats-") as name, ExitStack() as stack:
        folder = Path(name)
        logs = [folder / f"beat-{number}.log" for number in range(2)]
        for log in logs:
            program = Program(
                log.stem, [*argv, "--schedule", str(log.with_suffix(".db"))], log, env=system.environment, cwd=ROOT
            )
            stack.callback(Child(program, folder).stop)
        yield logs


def _sent(log: Path) -> int:
    return log.read_text().count("Sending due task")
