"""An organisation with a provider of its own, whose domain is proved."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from unittest import mock

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings, read_settings
from tests.api.client import Api, Tenant, new_tenant
from tests.egress.peers import NXDOMAIN, NameServer, Reader, Writer, closed_port, name_server
from tests.people.relying.idp import Person, Provider, running
from tests.people.relying.world import Relying
from tests.people.visitor import Known, Visitor, new_person


@pytest_asyncio.fixture(scope="module")
async def names() -> AsyncIterator[NameServer]:
    """The name server of the installation; a test says what it answers."""
    async with name_server(lambda _: NXDOMAIN) as started:
        yield started


@pytest.fixture(scope="module")
def named_port() -> int:
    """The port at which a provider may have a name."""
    return closed_port()


@pytest.fixture(scope="module")
def settings(environment: dict[str, str], names: NameServer, named_port: int) -> Settings:
    """An installation that may call one address of this machine, where the provider is, and no other."""
    own = {
        "POSTRIDER_EGRESS__ALLOW": "127.0.0.1",
        "POSTRIDER_EGRESS__NAMESERVERS": f'["{names.address}"]',
        "POSTRIDER_EGRESS__PORTS": f"[80, 443, {named_port}]",
        "POSTRIDER_PEOPLE__PROVIDER_SECONDS": "1",
    }
    with mock.patch.dict(os.environ, environment | own, clear=True):
        return read_settings()


@dataclass
class Canary:
    """Something at an address that may not be called; counts who does."""

    url: str
    hits: int = 0


@pytest_asyncio.fixture
async def canary(named_port: int) -> AsyncIterator[Canary]:
    """It listens at the port that would be permitted."""
    found = Canary(f"http://127.0.0.2:{named_port}")

    async def called(_reader: Reader, writer: Writer) -> None:
        found.hits += 1
        writer.close()

    server = await asyncio.start_server(called, "127.0.0.2", named_port)
    async with server:
        yield found


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


@pytest.fixture
def stranger_person(sessions: sessionmaker[Session]) -> Known:
    """An owner of another organisation."""
    return new_person(sessions, new_tenant(sessions).organisation_id)
