"""People with factors."""

import pytest
import pytest_asyncio
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from tests.api.client import Tenant
from tests.api.conftest import api
from tests.people.factors.acts import add_app, half_way
from tests.people.factors.authenticator import Authenticator
from tests.people.visitor import Known, Visitor, new_person

__all__ = ["api"]


@pytest.fixture
def authenticator(settings: Settings) -> Authenticator:
    """A device without a passkey yet."""
    return Authenticator(settings.public_url)


@pytest.fixture
def another(sessions: sessionmaker[Session], tenant: Tenant) -> Known:
    """Somebody else of the organisation."""
    return new_person(sessions, tenant.organisation_id)


@pytest_asyncio.fixture
async def half_signed_in(visitor: Visitor, person: Known) -> Visitor:
    """Somebody at another browser who has shown the password of a person with an authenticator app."""
    await visitor.sign_in(person.email)
    await add_app(visitor)
    return await half_way(visitor, person.email)
