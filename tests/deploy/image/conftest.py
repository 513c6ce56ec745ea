"""The image, built once from the Dockerfile at hand."""

import subprocess
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.deploy.image.engine import Engine
from tests.servers import ROOT


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Podman; what runs in it ends with the session."""
    made = Engine(tmp_path_factory.mktemp("podman"))
    yield made
    made.forget()


@pytest.fixture(scope="session")
def revision() -> str:
    """The commit that the image is said to be made from."""
    asked = ["git", "rev-parse", "HEAD"]
    return subprocess.run(asked, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()


@pytest.fixture(scope="session")
def arguments(revision: str) -> Mapping[str, str]:
    """What the build is told."""
    asked = ["git", "show", "--no-patch", "--format=%ct", "HEAD"]
    at = subprocess.run(asked, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return {"REVISION": revision, "VERSION": "1.2.3", "SOURCE_DATE_EPOCH": at}


@pytest.fixture(scope="session")
def image(engine: Engine, arguments: Mapping[str, str]) -> str:
    """The name of the image."""
    began = time.monotonic()
    base = engine.base()
    based = time.monotonic()
    name = engine.build(base, arguments)
    megabytes = engine.inspect(name)["Size"] / 1e6
    base_megabytes = engine.inspect(base)["Size"] / 1e6
    print(  # noqa: T201 the figures are asked for
        f"\nimage: {megabytes:.0f} MB, of which the base {base_megabytes:.0f} MB; base made in {based - began:.0f} s, "
        f"built in {time.monotonic() - based:.0f} s"
    )
    return name
