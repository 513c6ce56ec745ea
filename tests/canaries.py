"""Looks through the logs of a whole test session for what must never stand in one.

What is looked for is planted by the tests, and used all over: passwords, keys of the key ring, payloads; and whatever
has the shape of a credential or of a mail address.
"""

import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.kit.telemetry.lines import Json

FOLDER = "LOGS_UNDER_TEST"
"""Names, in the environment, the folder where every process of the session leaves what was logged."""
PAYLOAD = "canary-of-a-payload"
SHAPES = {
    "an API key": r"whk_(?:live|test)_[0-9A-Za-z]{43}_",
    "a signing secret": r"whs(?:ec|k)_[0-9A-Za-z+/=]{20,}",
    "a signed token": r"eyJ[\w-]{10,}\.[\w-]{10,}\.",
    "a session or a token of ours": r"(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{86}(?![\w=-])",
    "a mail address": r"[\w.+-]+@(?:[\w-]+\.)+(?:test|com|org|example)\b",
    "credentials in a URL": r"://[^\s/@\"*]+:[^\s/@\"*]+@",
    "a payload": PAYLOAD,
}
PLANTED = "planted"
_planted: list[tuple[str, str]] = []


@dataclass(frozen=True)
class Leak:
    """What stands where it must not; the line is shown, as a test's secrets open nothing."""

    kind: str
    file: str
    line: str


def plant(kind: str, text: str) -> str:
    """Has the text looked for from now on, in all logs of the session; returns it."""
    _planted.append((kind, text))
    _write_planted()
    return text


def _write_planted() -> None:
    """What was planted before the session began waits for it."""
    folder = os.environ.get(FOLDER)
    while folder and _planted:
        (Path(folder) / f"{uuid.uuid4().hex}.{PLANTED}").write_text("\n".join(_planted.pop()))


def keep(log: Path) -> None:
    """Has what a process has written looked through, before it is deleted."""
    folder = os.environ.get(FOLDER)
    if folder and log.exists():
        shutil.copyfile(log, Path(folder) / f"{log.stem}-{uuid.uuid4().hex}.log")


def keep_said(name: str, text: str) -> None:
    """The same for what a process has said without a log."""
    folder = os.environ.get(FOLDER)
    if folder and text:
        (Path(folder) / f"{name}-{uuid.uuid4().hex}.log").write_text(text)


def leaks(folder: Path) -> Iterator[Leak]:
    """All that stands in the folder's logs and must not."""
    planted = dict(one.read_text().split("\n", 1)[::-1] for one in folder.glob(f"*.{PLANTED}"))
    forbidden = [(kind, re.compile(shape)) for kind, shape in SHAPES.items()]
    forbidden += [(kind, re.compile(re.escape(text))) for text, kind in planted.items()]
    for file in sorted(folder.glob("*.log")):
        for line in file.read_text(errors="replace").splitlines():
            yield from (Leak(kind, file.name, line) for kind, shape in forbidden if shape.search(line))


class Canaries:
    """A plugin: a session whose logs hold what they must not has failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leaks: list[Leak] = []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Looks, when all processes have ended."""
        self._leaks = list(leaks(self._folder))
        shutil.rmtree(self._folder)
        if self._leaks and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Shows what was found."""
        if self._leaks:
            terminalreporter.section(f"{len(self._leaks)} log lines hold what they must not")
        for leak in self._leaks[:20]:
            terminalreporter.line(f"{leak.kind}, in {leak.file}: {leak.line[:2000]}")


def watch(config: pytest.Config) -> None:
    """Begins to keep what this process logs; the session's first process looks through it at the end."""
    if not hasattr(config, "workerinput"):
        folder = os.environ[FOLDER] = tempfile.mkdtemp(prefix="postrider-logs-")
        config.pluginmanager.register(Canaries(Path(folder)))
    _write_planted()
    handler = logging.FileHandler(Path(os.environ[FOLDER]) / f"tests-{os.getpid()}.log", delay=True)
    handler.setFormatter(Json("tests"))
    logging.getLogger().addHandler(handler)
