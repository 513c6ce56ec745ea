"""The API as a program of the organisation calls it, and the keys that mail lies under."""

import aiohttp
import pytest

from app.kit.encryption import KeyRing
from app.settings import Settings
from tests.api.client import Api, Tenant


@pytest.fixture
def api(http: aiohttp.ClientSession, base_url: str, tenant: Tenant) -> Api:
    return Api(http, base_url, tenant.key)


@pytest.fixture(scope="module")
def ring(settings: Settings) -> KeyRing:
    return settings.secrets.ring()
