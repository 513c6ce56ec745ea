"""People with factors."""

import pytest

from app.settings import Settings
from tests.people.factors.authenticator import Authenticator


@pytest.fixture
def authenticator(settings: Settings) -> Authenticator:
    """A device without a passkey yet."""
    return Authenticator(settings.public_url)
