"""The API by a key, beside browsers."""

import pytest

from tests.api.client import Api
from tests.api.conftest import api, stranger
from tests.people.oauth.world import App, new_app
from tests.people.visitor import Known, Visitor

__all__ = ["api", "stranger"]


@pytest.fixture
async def app(api: Api) -> App:
    """A confidential client that people use."""
    return await new_app(api)


@pytest.fixture
async def signed_in(visitor: Visitor, person: Known) -> Visitor:
    """The person at a browser."""
    assert (await visitor.sign_in(person.email)).status == 303
    return visitor
