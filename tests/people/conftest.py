"""The real API, and somebody at a browser."""

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.api.client import Tenant
from tests.api.conftest import base_url, http, sessions, settings, stranger, tenant
from tests.people.visitor import Known, Visitor, new_person

__all__ = ["base_url", "http", "sessions", "settings", "stranger", "tenant"]


@pytest.fixture
def visitor(http: aiohttp.ClientSession, base_url: str) -> Visitor:
    """Nobody yet."""
    return Visitor(http, base_url)


@pytest.fixture
def person(sessions: sessionmaker[Session], tenant: Tenant) -> Known:
    """An owner of a fresh organisation."""
    return new_person(sessions, tenant.organisation_id)
