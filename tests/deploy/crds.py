"""Custom resource definitions of the components that we stand on, out of their own Go modules.

NGINX Gateway Fabric comes in no module: `apiserver/definitions` describes what we use of it.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.deploy.manifests import Manifest, manifests
from tests.deploy.tools import cache, go, locked

HERE = Path(__file__).parent
PINS = HERE / "tools" / "modules.txt"
OURS = HERE / "apiserver" / "definitions"
# Beside definitions, the modules bring policies that keep them from being mixed up.
INSTALLED = (
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A module as it must be, and where in it the definitions lie."""

    path: str
    version: str
    checksum: str
    folder: str


def pins() -> list[Pin]:
    """Every module that is pinned."""
    lines = PINS.read_text().splitlines()
    return [Pin(*line.split()) for line in lines if line and not line.startswith("#")]


def pin(path: str) -> Pin:
    """The pin of a module."""
    return next(one for one in pins() if one.path == path)


def definitions() -> Iterator[Manifest]:
    """What a server must know before it knows our manifests."""
    yield from json.loads(_gathered().read_bytes())
    yield from _found(OURS)


def _gathered() -> Path:
    """The definitions out of all modules in one file, which is quicker to read than theirs are."""
    cache().mkdir(parents=True, exist_ok=True)
    file = cache() / f"definitions-{hashlib.sha256(PINS.read_bytes()).hexdigest()[:12]}.json"
    with locked(cache() / "definitions.lock"):
        if not file.exists():
            half = file.with_suffix(".half")
            half.write_text(json.dumps([one for pin in pins() for one in _found(fetched(pin) / pin.folder)]))
            half.rename(file)
    return file


def _found(folder: Path) -> Iterator[Manifest]:
    for file in sorted(folder.rglob("*.yaml")):
        found = (one for one in manifests(file.read_bytes()) if one.get("kind") in INSTALLED)
        yield from (cast("Manifest", _terse(one)) for one in found)


def _terse(tree: object) -> object:
    """The same without the prose, which is most of it and judges nothing."""
    if isinstance(tree, dict):
        return {key: _terse(one) for key, one in tree.items() if not (key == "description" and isinstance(one, str))}
    return [_terse(one) for one in tree] if isinstance(tree, list) else tree


def fetched(pin: Pin) -> Path:
    """Where the module lies in Go's cache, and it is exactly the pinned one."""
    with tempfile.TemporaryDirectory() as nowhere:
        said = json.loads(go(["mod", "download", "-json", f"{pin.path}@{pin.version}"], Path(nowhere)))
    if said["Sum"] != pin.checksum:
        raise ValueError(f"{pin.path}@{pin.version} is {said['Sum']}, and {PINS.name} wants {pin.checksum}")
    return Path(said["Dir"])
