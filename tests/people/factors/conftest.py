"""People with factors."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from tests.api.client import Tenant
from tests.people.factors.authenticator import Authenticator
from tests.people.visitor import Known, new_person


@pytest.fixture
def authenticator(settings: Settings) -> Authenticator:
    """A device without a passkey yet."""
    return Authenticator(settings.public_url)


@pytest.fixture
def another(sessions: sessionmaker[Session], tenant: Tenant) -> Known:
    """Somebody else of the organisation."""
    return new_person(sessions, tenant.organisation_id)
