"""What tests about tokens share."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from tests.people.oidc.granting import Granter


@pytest.fixture
def granter(sessions: sessionmaker[Session], settings: Settings) -> Granter:
    """Makes grants and tokens."""
    return Granter(sessions, settings)
