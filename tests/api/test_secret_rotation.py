"""The key ring turns while everything serves: rows move to the active key and still open."""

import base64
import os

import pytest
from sqlalchemy import LargeBinary, select
from sqlalchemy.orm import Session, sessionmaker

from app.features.factors import totp
from app.features.identity_providers import sealing
from app.features.key_ring.columns import SEALED
from app.features.key_ring.rotation import rotate
from app.features.mail.letters import Letter
from app.features.mail.operations import queue, unseal
from app.features.organisations.operations import NewKey
from app.kit.clock import new_id, utc_now
from app.kit.db import Base
from app.kit.encryption import KeyRing, Undecryptable
from app.kit.token_keys import Algorithm, TokenKey, make, private_half, public_half, sealed_for
from app.models import ApiKeySecret, Endpoint, EndpointSecret, IdentityProvider, Mail, SigningKey, Totp, User
from app.settings import Settings
from tests.api.client import Api, Tenant, new_tenant
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


# Digests, signatures and bodies, which are not secrets that must be read again, or lie under keys of their own.
NOT_SEALED = {
    "api_key_secrets.digest",
    "attempts.response",
    "audit_chain.hash",
    "audit_seals.hash",
    "audit_seals.previous_hash",
    "audit_seals.signature",
    "devices.fingerprint",
    "idempotency_keys.body_digest",
    "idempotency_keys.key",
    "idempotency_keys.response",
    "invitations.digest",
    "oauth_client_secrets.digest",
    "oauth_codes.digest",
    "oauth_refresh_tokens.digest",
    "one_time_tokens.digest",
    "passkeys.credential_id",
    "passkeys.public_key",
    "payloads.body",
    "payloads.traceparent",
    "recovery_codes.digest",
    "sessions.digest",
}


def test_every_column_of_bytes_is_turned_or_known_not_to_be_sealed() -> None:
    found = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.c
        if isinstance(column.type, LargeBinary)
    }
    sealed = {f"{one.table.name}.{one.name}" for one in SEALED}
    assert sealed <= found
    assert found - sealed == NOT_SEALED


async def test_what_people_and_providers_are_known_by_opens_under_the_new_key_alone(
    sessions: sessionmaker[Session], settings: Settings, tenant: Tenant
) -> None:
    old, text = settings.secrets.ring(), _new_key()
    user_id, mail_owner, provider_id, kid = new_id(), new_id(), new_id(), new_id()
    key = make(Algorithm.es256)
    signing = new_tenant(sessions, NewKey("signs", "live", ring=old), tenant.organisation_id)
    with sessions.begin() as db:
        db.add(User(id=user_id, email="a@example.test", email_key=f"{user_id.hex}@example.test", name=""))
        db.flush()
        db.add_all(
            [
                Totp(user_id=user_id, id=user_id, sealed=totp.seal(old, user_id, user_id, b"totp")),
                IdentityProvider(
                    organisation_id=tenant.organisation_id,
                    id=provider_id,
                    name="p",
                    issuer="https://idp.example.test",
                    client_id="c",
                    sealed_secret=sealing.seal_secret(old, tenant.organisation_id, provider_id, "secret of the client"),
                    auth_method="client_secret_basic",
                    scopes=["openid"],
                    role="viewer",
                ),
                SigningKey(
                    organisation_id=mail_owner,
                    id=kid,
                    algorithm=Algorithm.es256,
                    public_jwk=public_half(key),
                    sealed=old.encrypt(private_half(key), sealed_for(kid)),
                    signs_from=utc_now(),
                ),
            ]
        )
        queue(db, old, mail_owner, Letter("invitation", "b@example.test", LETTER))
    rotate(sessions, _ring(settings, new=text), lambda _done: None)
    new = KeyRing.parse({"new": text}, "new")
    with sessions() as db:
        assert totp.unseal(new, user_id, user_id, db.get_one(Totp, (user_id, user_id)).sealed) == b"totp"
        provider = db.get_one(IdentityProvider, (tenant.organisation_id, provider_id))
        assert provider.sealed_secret is not None
        opened = sealing.open_secret(new, tenant.organisation_id, provider_id, provider.sealed_secret)
        assert opened == "secret of the client"
        assert provider.version == 1
        assert unseal(new, db.scalars(select(Mail).where(Mail.owner_id == mail_owner)).one()).values == LETTER
        row = db.scalars(select(SigningKey).where(SigningKey.id == kid)).one()
        assert TokenKey.of(row, new).id == kid.hex
        secret = db.scalars(select(ApiKeySecret).where(ApiKeySecret.key_id == signing.key_id)).one()
        assert secret.sealed is not None
        assert new.key_id(secret.sealed) == "new"
    rotate(sessions, _ring_back(settings, _ring(settings, new=text)), lambda _done: None)


LETTER = {"organisation": "Acme", "inviter": "ada", "role": "viewer", "token": "t"}
