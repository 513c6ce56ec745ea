"""bandit and semgrep over the product, each in an environment of its own; `make check` runs this module."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest

from tests.sdk.environments import python_with
from tests.servers import ROOT

HERE = Path(__file__).parent
RULES = HERE / "semgrep.yml"
ROOMS = ("app", "worker", "migrations")
# What bandit says of low severity, ruff says as well, and has its reasons where it is right.
BANDIT = ("--quiet", "--recursive", "-ll")
# Nothing is asked of any server, and what is looked at does not hang on a repository being there.
SEMGREP = (
    *("scan", f"--config={RULES}", "--metrics=off", "--disable-version-check"),
    *("--project-root=.", "--no-git-ignore", "--strict", "--error", "--quiet"),
)


def bandit(*options: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What bandit finds in the product's rooms below a folder; 1 when it finds anything."""
    python = python_with(HERE / "bandit-1.9.4.txt")
    return _run([str(python), "-m", "bandit", *BANDIT, *options, *_there(folder)], folder)


def semgrep(*options: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """What our rules find in the product's rooms below a folder; 1 when they find anything."""
    program = python_with(HERE / "semgrep-1.182.0.txt").with_name("semgrep")
    return _run([str(program), *SEMGREP, *options, *_there(folder)], folder)


def _there(folder: Path) -> list[str]:
    return [room for room in ROOMS if (folder / room).exists()]


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # semgrep finds its core by the path, and keeps settings and a log, which belong in nobody's home.
    with tempfile.TemporaryDirectory(prefix="postrider-scan-") as own:
        path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
        kept = {"SEMGREP_SETTINGS_FILE": f"{own}/settings.yml", "SEMGREP_LOG_FILE": f"{own}/log"}
        return subprocess.run(
            command, cwd=folder, env=os.environ | {"PATH": path} | kept, capture_output=True, text=True, check=False
        )


def main() -> int:
    """Prints what was found; 1 when anything was."""
    try:
        done = [bandit(), semgrep()]
    except SkipTest as error:
        sys.exit(str(error))
    for one in done:
        sys.stdout.write(one.stdout)
        sys.stderr.write(one.stderr if one.returncode else "")
    return max(abs(one.returncode) for one in done)


if __name__ == "__main__":
    sys.exit(main())
