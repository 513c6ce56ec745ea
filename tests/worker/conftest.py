"""The workers' view of the module's database."""

import os
from collections.abc import Iterator
from unittest import mock

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import make_engine, make_sessions
from app.settings import Settings, read_settings


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    """The settings of the module's database."""
    with mock.patch.dict(os.environ, environment, clear=True):
        return read_settings()


@pytest.fixture(scope="module")
def sessions(database: DatabaseUrls) -> Iterator[sessionmaker[Session]]:
    """Sessions of the worker's role, which sees every organisation."""
    engine = make_engine(database.worker)
    yield make_sessions(engine)
    engine.dispose()
