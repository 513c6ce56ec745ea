"""The programs that the tests of what is shipped call."""

from pathlib import Path

import pytest

from tests.deploy.tools import program


@pytest.fixture(scope="session")
def helm() -> Path:
    """Helm 4."""
    return program("helm")
