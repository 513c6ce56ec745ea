"""Images are told apart by what went into them, and known by the digest that a cluster will know them by."""

import io
import json
import os
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster.images import KEPT_SECONDS, Images, _digest, digest
from tests.deploy.image.engine import Engine


def archive(folder: Path, digests: Sequence[str]) -> Path:
    """One of the OCI layout, as far as its index."""
    index = json.dumps({"manifests": [{"digest": one} for one in digests]}).encode()
    file = folder / "image.tar"
    with tarfile.open(file, "w") as tar:
        entry = tarfile.TarInfo("index.json")
        entry.size = len(index)
        tar.addfile(entry, io.BytesIO(index))
    return file


def test_an_image_is_known_by_the_digest_of_its_manifest(tmp_path: Path) -> None:
    assert digest(archive(tmp_path, ["sha256:one"])) == "sha256:one"
    with pytest.raises(ValueError, match="holds 2 images"):
        digest(archive(tmp_path, ["sha256:one", "sha256:two"]))


def test_inputs_are_told_apart_by_names_content_and_mode_but_not_by_what_python_leaves_behind(tmp_path: Path) -> None:
    file = tmp_path / "app" / "one.py"
    file.parent.mkdir()
    file.write_text("1")
    first = _digest(["base"], file.parent)
    (file.parent / "__pycache__").mkdir()
    (file.parent / "__pycache__" / "one.pyc").write_text("compiled")
    assert _digest(["base"], file.parent) == first
    others = {_digest(["other"], file.parent)}
    file.chmod(0o755)
    others.add(_digest(["base"], file.parent))
    file.write_text("2")
    others.add(_digest(["base"], file.parent))
    file.rename(file.with_name("two.py"))
    others.add(_digest(["base"], file.parent))
    assert len({first, *others}) == 5


class Store(Engine):
    """Podman's store, of which is only written down what is taken out of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "removed", [])

    def has(self, name: str) -> bool:
        return ":" in name

    def output(self, *words: str) -> str:
        self.__dict__["removed"].append(words)
        return ""


def test_what_nobody_has_asked_for_in_a_day_is_forgotten(tmp_path: Path) -> None:
    images = object.__new__(Images)
    images._folder, images._engine = tmp_path, Store(tmp_path)
    ages = {"redis-old.tar": KEPT_SECONDS + 60, "redis-new.tar": 60, "postgres-old.tar": KEPT_SECONDS + 60}
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    images._forget_old("localhost/store/redis")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["postgres-old.tar", "redis-new.tar"]
    assert images._engine.__dict__["removed"] == [("image", "rm", "localhost/store/redis:old")]
