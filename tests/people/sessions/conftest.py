"""A second person, of the same organisation."""

import pytest
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import api
from tests.people.visitor import Known, new_person

__all__ = ["api"]


@pytest.fixture
def second(sessions: sessionmaker[Session], person: Known) -> Known:
    """Somebody else."""
    return new_person(sessions, person.organisation_id)
