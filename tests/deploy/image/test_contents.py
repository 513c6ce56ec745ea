"""What the image holds, and what it must not."""

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.deploy.image.engine import CLOSED, Engine
from tests.servers import ROOT

pytestmark = pytest.mark.timeout(600)  # the base and the image are made first
SECRET_NAMES = re.compile(r"(^|/)(\.env|\.git|\.netrc|\.pypirc|id_[a-z0-9]+|pip\.conf|.*\.key)$")
SECRET_WORDS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\n]{64}|://(?!user:password@)[^/\s:@{]+:[^/\s:@{]+@[a-z0-9.-]+"
)
OURS = ("opt/postrider", "srv/postrider")
BUILDERS = ("pip", "pip3", "gcc", "cc", "make", "git", "curl", "wget", "uv")


def python(engine: Engine, image: str, code: str) -> str:
    """What a program in a closed container says."""
    return engine.output("run", "--rm", "--label=postrider-test", *CLOSED, "--entrypoint=python", image, "-c", code)


def test_it_runs_as_nobody_and_says_what_it_is(engine: Engine, image: str, revision: str) -> None:
    told = engine.inspect(image)
    assert told["Config"]["User"] == "10001:10001"
    assert told["Config"]["StopSignal"] == "SIGTERM"
    assert told["Config"]["Entrypoint"][0] == "python"
    labels = told["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == revision
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert f"POSTRIDER_TELEMETRY__REVISION={revision}" in told["Config"]["Env"]


def test_nothing_in_it_builds_or_installs(engine: Engine, image: str) -> None:
    code = f"import shutil, importlib.util as u; print([n for n in {BUILDERS} if shutil.which(n)], u.find_spec('pip'))"
    assert python(engine, image, code).strip() == "[] None"


def test_it_holds_the_packages_of_the_lock_and_no_others(engine: Engine, image: str) -> None:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    held = {_key(name): number for name, number in json.loads(python(engine, image, code)).items()}
    lock = (ROOT / "requirements.lock").read_text()
    locked = {(_key(name), number) for name, number in re.findall(r"^([A-Za-z0-9_.-]+)==([^ ]+)", lock, re.MULTILINE)}
    assert held.items() <= locked
    assert held["fastapi"] == version("fastapi")


def test_it_is_compiled_since_nothing_can_be_written(engine: Engine, image: str) -> None:
    code = (
        "import app.main, worker.process, sys; "
        "print([m.__name__ for m in sys.modules.values() if (f := getattr(m, '__cached__', None)) "
        "and f.startswith('/srv') and not __import__('os').path.exists(f)])"
    )
    assert python(engine, image, code).strip() == "[]"


def test_no_layer_and_no_line_of_its_history_holds_a_secret(engine: Engine, image: str, tmp_path: Path) -> None:
    history = engine.output("history", "--no-trunc", "--format={{.CreatedBy}}", image)
    assert not SECRET_WORDS.search(history.encode())
    archive = tmp_path / "image.tar"
    engine.output("save", "--format=docker-archive", "--output", str(archive), image)
    seen = 0
    for name, content in _files(archive):
        seen += 1
        assert not SECRET_NAMES.search(name), name
        assert not SECRET_WORDS.search(content), name
    assert seen > 1000


def test_another_builder_makes_the_same_files(engine: Engine, image: str, arguments: Mapping[str, str]) -> None:
    again = engine.build_anew(engine.base(), arguments)
    assert len(engine.files(image, *OURS)) > 1000
    assert engine.files(again, *OURS) == engine.files(image, *OURS)


def _files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Each file that our layers add: its name and the sources' content."""
    with tarfile.open(archive) as whole:
        for layer in (one for one in whole if one.name.endswith(".tar") and not one.issym()):
            with tarfile.open(fileobj=whole.extractfile(layer)) as files:
                for one in files:
                    if one.isfile() and one.name.startswith(OURS):
                        is_source = one.name.startswith("srv") and not one.name.endswith(".pyc")
                        yield one.name, _read(files, one) if is_source else b""


def _read(files: tarfile.TarFile, one: tarfile.TarInfo) -> bytes:
    opened = files.extractfile(one)
    assert opened is not None
    return opened.read()


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
