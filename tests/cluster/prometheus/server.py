"""The Prometheus that reads the cluster's pods, and what it is given to read."""

import json
import logging
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.cli.dev.identity import MARK
from app.cli.dev.process import Child, Program, end_leftovers, wait_until
from tests.cluster.prometheus.configuration import Tree, configuration

START_SECONDS = 60.0
_log = logging.getLogger(__name__)


class NotTakenError(Exception):
    """What promtool or Prometheus has against a file."""


class Rules:
    """Rules by the name of what brought them; those that promtool does not take are told, and not at work."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()

    def take(self, groups: Mapping[str, Tree]) -> bool:
        """Whether anything is different now."""
        wanted = {name: json.dumps(spec, indent=1) for name, spec in groups.items()}
        changed = [name for name in self._known.keys() | wanted.keys() if self._known.get(name) != wanted.get(name)]
        for name in changed:
            self._set(name, wanted.get(name, ""))
        self._known = wanted
        return bool(changed)

    def files(self) -> list[Path]:
        """Those that are at work."""
        return sorted(self._folder.glob("*.json"))

    def _set(self, name: str, text: str) -> None:
        file = self._folder / f"{name}.json"
        file.unlink(missing_ok=True)
        if not text:
            return
        try:
            write_checked(file, text, "rules")
        except NotTakenError as error:
            _log.error("the rules %s are not taken: %s", name, error)  # promtool has said it all


class Prometheus:
    """It begins with nothing to read, and ends with the process that made this."""

    def __init__(self, folder: Path, listen: str, evaluate: str) -> None:
        self._listen, self._evaluate = listen, evaluate
        self._file = folder / "prometheus.json"
        self._text = ""
        end_leftovers(folder, str(folder))
        write_checked(self._file, self._configured([], []), "config")
        words = [
            f"--config.file={self._file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={listen}",
            "--web.enable-lifecycle",
            "--enable-feature=exemplar-storage",
            # Prometheus gathers what changes for five seconds before it follows, and once more; it need not here.
            "--scrape.discovery-reload-interval=200ms",
        ]
        environment = {**os.environ, MARK: str(folder)}
        self._child = Child(
            Program("prometheus", ["prometheus", *words], folder / "prometheus.log", env=environment), folder
        )
        if not wait_until(self._is_ready, START_SECONDS):
            raise TimeoutError(f"prometheus is not ready: {self._child.last_words()}")

    def read(self, jobs: Sequence[Tree], rules: Sequence[Path]) -> None:
        """Has it go by these. NotTakenError where it does not, and goes on by what it has."""
        write_checked(self._file, self._configured(jobs, rules), "config")
        try:
            self._ask("POST", "/-/reload")
        except urllib.error.HTTPError as error:
            raise NotTakenError(error.read().decode(errors="replace")) from error

    def check(self) -> None:
        """RuntimeError where it has ended by itself."""
        if self._child.ended() is not None:
            raise RuntimeError(f"prometheus ended: {self._child.last_words()}")

    def stop(self) -> None:
        """Ends it."""
        self._child.stop()

    def _configured(self, jobs: Sequence[Tree], rules: Sequence[Path]) -> str:
        return json.dumps(configuration(jobs, rules, self._evaluate), indent=1)

    def _is_ready(self) -> bool:
        self.check()
        try:
            self._ask("GET", "/-/ready")
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str) -> None:
        request = urllib.request.Request(f"http://{self._listen}{path}", method=method)  # its own address
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            answer.read()


def write(file: Path, text: str) -> None:
    """Puts a whole file in the place of another, unless it is the same."""
    if not file.exists() or file.read_text() != text:
        half = file.with_suffix(".half")
        half.write_text(text)
        half.rename(file)


def write_checked(file: Path, text: str, kind: str) -> None:
    """The same for `config` or `rules`, unless promtool has something against it: NotTakenError."""
    half = file.with_suffix(".candidate")
    half.write_text(text)
    checked = subprocess.run(["promtool", "check", kind, str(half)], capture_output=True, text=True, check=False)
    if checked.returncode:
        raise NotTakenError((checked.stderr or checked.stdout).strip())
    half.rename(file)
