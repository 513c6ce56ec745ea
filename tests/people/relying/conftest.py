"""An organisation with a provider of its own, whose domain is proved."""

import secrets
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from tests.api.client import Api, Tenant
from tests.people.relying.idp import Person, Provider, running
from tests.people.relying.world import Relying
from tests.people.visitor import Visitor


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider on loopback; its person's domain is nobody else's."""
    domain = f"d{secrets.token_hex(4)}.test"
    async with running(Provider(person=Person(f"sub-{secrets.token_hex(4)}", f"pat@{domain}"))) as started:
        yield started


@pytest_asyncio.fixture
async def relying(
    http: aiohttp.ClientSession,
    base_url: str,
    tenant: Tenant,
    sessions: sessionmaker[Session],
    provider: Provider,
    visitor: Visitor,
    settings: Settings,
) -> Relying:
    """The organisation has set it up, and proved the domain."""
    world = Relying(Api(http, base_url, tenant.key), sessions, tenant, provider, visitor, settings.public_url)
    await world.set_up()
    return world
