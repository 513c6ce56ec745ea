"""The key ring turns while everything serves: rows move to the active key and still open."""

import base64
import os

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.features.endpoints.rotation import rotate
from app.kit.encryption import KeyRing, Undecryptable
from app.models import Endpoint, EndpointSecret
from app.settings import Settings
from tests.api.client import Api, Tenant
from tests.api.world import World


def _ring(settings: Settings, **more: str) -> KeyRing:
    keys = {name: key.get_secret_value() for name, key in settings.secrets.keys.items()}
    return KeyRing.parse({**keys, **more}, next(iter(more), settings.secrets.active))


def _new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
async def world(api: Api, sessions: sessionmaker[Session], tenant: Tenant) -> World:
    found = World(api, sessions, tenant.id)
    return await found.setup(endpoints=3, headers={"x-api-key": "abc"})


async def test_every_secret_and_header_moves_to_the_active_key(
    world: World, sessions: sessionmaker[Session], settings: Settings
) -> None:
    reported: list[int] = []
    turned = _ring(settings, new=_new_key())

    done = rotate(sessions, turned, reported.append)

    with sessions() as db:
        blobs = [*db.scalars(select(EndpointSecret.secret)), *db.scalars(select(Endpoint.headers))]
    assert done >= 6
    assert reported[-1] == done
    assert all(turned.key_id(blob) == "new" for blob in blobs if blob is not None)
    assert rotate(sessions, turned, reported.append) == 0
    assert rotate(sessions, _ring_back(settings, turned), reported.append) == done


def _ring_back(settings: Settings, turned: KeyRing) -> KeyRing:
    return KeyRing(settings.secrets.active, turned._keys)


async def test_a_lost_key_is_named_and_nothing_is_overwritten(world: World, sessions: sessionmaker[Session]) -> None:
    stranger = KeyRing.parse({"other": _new_key()}, "other")
    with sessions() as db:
        before = set(db.scalars(select(EndpointSecret.secret)))

    with pytest.raises(Undecryptable):
        rotate(sessions, stranger, lambda _done: None)

    with sessions() as db:
        assert set(db.scalars(select(EndpointSecret.secret))) == before
