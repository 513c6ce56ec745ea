"""Two installations: one in production behind a proxy, and a developer's."""

from collections.abc import AsyncIterator

import pytest_asyncio

from app.main import create_app
from app.settings import Settings
from tests.api.client import served
from tests.api.surface.door import BEHIND, HOST, PLAIN, Door, production, with_routes


@pytest_asyncio.fixture(scope="module")
async def front(settings: Settings) -> AsyncIterator[Door]:
    """A production behind a proxy, called over HTTPS by its name."""
    async with served(with_routes(create_app(production(settings)))) as url:
        yield Door(url, {"host": HOST, **BEHIND})


@pytest_asyncio.fixture(scope="module")
async def plain(front: Door) -> Door:
    """The same, called over plain HTTP."""
    return Door(front.url, {"host": HOST, **PLAIN})


@pytest_asyncio.fixture(scope="module")
async def bare(settings: Settings) -> AsyncIterator[Door]:
    """A developer's, which has no proxy and no HTTPS."""
    async with served(with_routes(create_app(settings))) as url:
        yield Door(url)
