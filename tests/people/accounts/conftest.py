"""The limits that production has, and an address of one's own for each who knocks."""

import itertools
import os
from collections.abc import Callable
from unittest import mock

import aiohttp
import pytest

from app.settings import Settings, read_settings
from tests.people.visitor import Visitor

ADDRESSES = (f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    """The settings of the module's database; a proxy on loopback says who asks."""
    theirs = environment | {"POSTRIDER_HTTP__TRUSTED_PROXIES": "127.0.0.1/32"}
    del theirs["POSTRIDER_PEOPLE__FAILURES_PER_ADDRESS"]
    with mock.patch.dict(os.environ, theirs, clear=True):
        return read_settings()


@pytest.fixture
def stranger(http: aiohttp.ClientSession, base_url: str) -> Callable[[], Visitor]:
    """Somebody new at each call, from an address of its own."""

    def new() -> Visitor:
        headers = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Tester/1", "x-forwarded-for": next(ADDRESSES)}
        return Visitor(http, base_url, headers)

    return new


@pytest.fixture
def visitor(stranger: Callable[[], Visitor]) -> Visitor:
    """Nobody yet."""
    return stranger()
