"""Podman, as the tests of the image use it: on a base that is made here, so that no registry is asked for one."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import SkipTest

from tests.servers import ROOT

PROGRAMS = ("podman", "buildah", "runc", "debootstrap")
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""
CLOSED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp:rw,noexec,nosuid,size=32m")
"""How a cluster runs the image: nothing can be written but a small /tmp, nothing is allowed to it."""
# What a machine may need so that packages reach it, which no layer keeps.
MOUNTS = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Engine:
    """Podman with a configuration of its own in `folder`."""

    folder: Path

    def __post_init__(self) -> None:
        missing = [name for name in PROGRAMS if shutil.which(name, path=self._environment["PATH"]) is None]
        if missing or os.geteuid() != 0:
            raise SkipTest(f"images are built here as root with Debian's {' '.join(PROGRAMS)}: install {missing}")
        (self.folder / "containers.conf").write_text(CONFIGURATION)

    def base(self) -> str:
        """The name of an image of Debian with Python, made when this machine has none yet."""
        name = f"localhost/postrider-base:{sha256(f'{SUITE} {PACKAGES}'.encode()).hexdigest()[:12]}"
        if not self.has(name):
            self._make_base(name)
        return name

    def build(self, base: str, arguments: Mapping[str, str]) -> str:
        """Builds the Dockerfile of the repository by podman; returns the image's name."""
        return self.build_of(ROOT / "Dockerfile", ROOT, base, arguments, "localhost/postrider:test")

    def build_of(self, file: Path, folder: Path, base: str, arguments: Mapping[str, str], name: str) -> str:
        """Builds any Dockerfile from what lies in a folder by podman; returns the image's name."""
        words = self._words(name, base, arguments)
        self._run("build", "--pull=never", "--network=host", f"--file={file}", *words, str(folder))
        return name

    def has(self, name: str) -> bool:
        """Whether an image of this name was made before."""
        return self._run("image", "exists", name, check=False).returncode == 0

    def build_anew(self, base: str, arguments: Mapping[str, str]) -> str:
        """The same by buildah, from nothing, without containers; returns the image's name."""
        name = "localhost/postrider:again"
        words = ["buildah", "bud", "--pull-never", "--isolation=chroot", "--no-cache"]
        self._call([*words, *self._words(name, base, arguments), "."])
        return name

    def files(self, image: str, *folders: str) -> Mapping[str, tuple[str, ...]]:
        """Every path below these folders: its mode, owner and time, and what it holds or leads to."""
        root = Path(self.output("image", "mount", image).strip())
        try:
            return {str(one.relative_to(root)): _described(one) for top in folders for one in (root / top).rglob("*")}
        finally:
            self._run("image", "unmount", image)

    def inspect(self, image: str) -> Any:  # noqa: ANN401 JSON
        """What is known of an image."""
        return json.loads(self.output("image", "inspect", image))[0]

    def command(self, image: str) -> Sequence[str]:
        """What runs a closed container in the foreground, on the machine's network, with our settings."""
        return [
            "podman",
            "run",
            "--rm",
            "--label=postrider-test",
            "--network=host",
            "--env=POSTRIDER_*",
            *CLOSED,
            image,
        ]

    def output(self, *words: str) -> str:
        """What a command says; AssertionError when it fails."""
        return self._run(*words).stdout

    def forget(self) -> None:
        """Ends what the tests have left running."""
        self._run("rm", "--all", "--force", "--filter=label=postrider-test", check=False)

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """What podman finds in its environment."""
        return {**self._environment, "CONTAINERS_CONF": str(self.folder / "containers.conf")}

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}

    def _make_base(self, name: str) -> None:
        root = self.folder / "base"
        made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)]
        subprocess.run(made, check=True, capture_output=True, env=self.environment)
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        packed = ["tar", "-C", str(root), "--exclude=./var/cache/apt", "--exclude=./var/lib/apt/lists", "-c", "."]
        with subprocess.Popen(packed, stdout=subprocess.PIPE) as tar:
            imported = ["podman", "import", "--change", 'CMD ["python3"]', "-", name]
            subprocess.run(imported, check=True, capture_output=True, stdin=tar.stdout, env=self.environment)
        assert tar.returncode == 0
        shutil.rmtree(root)

    def _words(self, name: str, base: str, arguments: Mapping[str, str]) -> Sequence[str]:
        given = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
        mounts = [word for one in MOUNTS if Path(one).exists() for word in ("--volume", f"{one}:{one}:ro")]
        at = f"--timestamp={arguments['SOURCE_DATE_EPOCH']}"
        return ["--quiet", "--format=docker", at, "--tag", name, "--build-arg", f"BASE={base}", *given, *mounts]

    def _run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self._call(["podman", *words], check=check)

    def _call(self, words: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=self.environment, cwd=ROOT)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


def _described(one: Path) -> tuple[str, ...]:
    seen = one.lstat()
    holds = str(one.readlink()) if one.is_symlink() else sha256(one.read_bytes()).hexdigest() if one.is_file() else ""
    return oct(seen.st_mode), f"{seen.st_uid}:{seen.st_gid}", str(seen.st_mtime), holds
