"""The keys that tokens are signed with: made, published before they sign, turned under load, ended at once."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import aiohttp
import jwt
import pytest
from joserfc.jwk import RSAKey
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.access_tokens import AccessTokens
from app.auth.signing_keys import REMEMBERED_SECONDS, SigningKeys
from app.domain.audit import SYSTEM, Actor
from app.features.oauth import keys
from app.features.oauth.tokens import ACCESS_LIFETIME, Minter
from app.kit.cache import Cache
from app.kit.clock import new_id, utc_now
from app.kit.db import make_async_engine, make_async_sessions
from app.kit.encryption import BadKeyRing
from app.kit.token_keys import Algorithm, WeakKey, make, private_half, public_half, sealed_for
from app.main import create_app
from app.models import AuditEvent, SigningKey
from app.settings import Settings, read_settings
from tests.api.client import Api, Tenant, served
from tests.metrics import counting
from tests.people.oidc.granting import Granter
from tests.people.visitor import Known
from tests.servers import ROOT

SOON = 1.2
"""Within which every process sees what the database says."""


@pytest.fixture(autouse=True)
async def as_before(sessions: sessionmaker[Session], settings: Settings) -> None:
    """Each test begins with fresh keys, of which every process knows."""
    with sessions.begin() as db:
        db.execute(delete(SigningKey))
        keys.make_missing(db, settings.secrets.ring(), keys.fresh(Algorithm))
    await asyncio.sleep(SOON)


async def published(http: aiohttp.ClientSession, base_url: str) -> list[dict[str, Any]]:
    async with http.get(f"{base_url}/oauth/jwks") as response:
        assert response.status == 200
        found: list[dict[str, Any]] = (await response.json(content_type=None))["keys"]
        return found


def command(environment: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "app.cli.main", "signing-keys", *arguments],
        env=dict(environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.acceptance("T08")
async def test_public_halves_are_published_and_nothing_else(http: aiohttp.ClientSession, base_url: str) -> None:
    async with http.get(f"{base_url}/oauth/jwks") as response:
        assert response.headers["cache-control"] == "public, max-age=300"
        assert response.content_type == "application/jwk-set+json"
    found = await published(http, base_url)
    members = {"RSA": {"kty", "n", "e"}, "EC": {"kty", "crv", "x", "y"}}
    assert {one["kty"] for one in found} == set(members)
    for one in found:
        assert set(one) == members[one["kty"]] | {"kid", "alg", "use"}
        assert (one["use"], one["alg"]) == ("sig", {"RSA": "RS256", "EC": "ES256"}[one["kty"]])
    assert len({one["kid"] for one in found}) == len(found)
    assert len(jwt.PyJWKSet.from_dict({"keys": found}).keys) == len(found)


@pytest.mark.acceptance("T09")
async def test_a_key_is_published_before_it_signs_and_the_old_one_verifies_for_a_while(
    http: aiohttp.ClientSession,
    base_url: str,
    granter: Granter,
    tenant: Tenant,
    sessions: sessionmaker[Session],
) -> None:
    grant, ring = granter.grant(granter.client(tenant)), granter.settings.secrets.ring()
    old, key = granter.access(grant).text, make(Algorithm.rs256)
    with sessions.begin() as db:
        later = timedelta(seconds=3)
        new = keys.rotate(db, ring, Algorithm.rs256, key, ahead=later, kept=later).id.hex
    begun = time.monotonic()
    await asyncio.sleep(SOON)
    assert new in {one["kid"] for one in await published(http, base_url)}
    assert jwt.get_unverified_header(granter.access(grant).text)["kid"] != new
    await asyncio.sleep(max(0.0, 3.2 - (time.monotonic() - begun)))
    now = granter.access(grant).text
    assert jwt.get_unverified_header(now)["kid"] == new
    api = Api(http, base_url, now)
    assert [(await api.with_credential(one).get("/organisation")).status for one in (now, old)] == [200, 200]
    await asyncio.sleep(max(0.0, 6 + SOON - (time.monotonic() - begun)))
    assert [(await api.with_credential(one).get("/organisation")).status for one in (now, old)] == [200, 401]
    assert jwt.get_unverified_header(old)["kid"] not in {one["kid"] for one in await published(http, base_url)}


@pytest.mark.acceptance("T09")
async def test_by_default_no_token_outlives_its_key_and_nobody_meets_a_key_that_he_has_not_seen() -> None:
    kept_by_others = timedelta(seconds=300)
    assert kept_by_others < keys.PUBLISHED_AHEAD
    assert keys.VERIFIES_ON > ACCESS_LIFETIME


@pytest.mark.acceptance("T09")
async def test_the_operator_ends_a_key_at_once_and_another_one_signs(
    http: aiohttp.ClientSession,
    base_url: str,
    granter: Granter,
    tenant: Tenant,
    environment: dict[str, str],
    sessions: sessionmaker[Session],
) -> None:
    grant = granter.grant(granter.client(tenant))
    token = granter.access(grant).text
    kid = jwt.get_unverified_header(token)["kid"]
    assert (await Api(http, base_url, token).get("/organisation")).status == 200
    await asyncio.to_thread(command, environment, "revoke", kid)
    await asyncio.sleep(SOON)
    assert (await Api(http, base_url, token).get("/organisation")).status == 401
    assert kid not in {one["kid"] for one in await published(http, base_url)}
    assert (await Api(http, base_url, granter.access(grant).text).get("/organisation")).status == 200
    listed = await asyncio.to_thread(command, environment, "list")
    states = {line.split("\t")[0]: line.split("\t")[2] for line in listed.splitlines()}
    assert states[kid] == "revoked"
    assert sorted(states.values()) == ["revoked", "signs", "signs"]
    with sessions.begin() as db:
        event = db.scalars(select(AuditEvent).filter_by(action="signing_key.revoked", target_id=kid)).one()
    assert event.actor_kind == "operator"


async def test_the_operator_turns_keys(environment: dict[str, str]) -> None:
    kid = (await asyncio.to_thread(command, environment, "rotate", "--algorithm", "ES256")).strip()
    listed = await asyncio.to_thread(command, environment, "list")
    assert f"{kid}\tES256\tpublished" in listed


async def test_keys_are_turned_each_month_and_forgotten_when_they_are_over(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    ring, worker, made = settings.secrets.ring(), Actor("worker"), keys.fresh(Algorithm)
    with sessions.begin() as db:
        assert keys.turn(db, ring, made, worker) == []
        db.execute(update(SigningKey).values(signs_from=utc_now() - keys.TURNED_AFTER))
    with sessions.begin() as db:
        assert sorted(one.algorithm for one in keys.turn(db, ring, made, worker)) == ["ES256", "RS256"]
    with sessions.begin() as db:
        assert keys.turn(db, ring, made, worker) == []
        old = db.scalars(select(SigningKey).where(SigningKey.verifies_until.is_not(None))).all()
        assert len(old) == len(Algorithm)
        db.execute(update(SigningKey).where(SigningKey.verifies_until.is_not(None)).values(verifies_until=utc_now()))
    with sessions.begin() as db:
        # Those that were published are not in time: somebody has to sign meanwhile.
        keys.turn(db, ring, made, worker)
        assert not set(db.scalars(select(SigningKey.id))) & {one.id for one in old}


async def test_two_that_make_the_first_keys_at_once_make_them_once(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    ring = settings.secrets.ring()
    with sessions.begin() as db:
        db.execute(delete(SigningKey))

    def make_first() -> None:
        made = keys.fresh(Algorithm)
        with sessions.begin() as db:
            keys.make_missing(db, ring, made)

    await asyncio.gather(*(asyncio.to_thread(make_first) for _ in range(4)))
    with sessions.begin() as db:
        assert len(db.scalars(select(SigningKey)).all()) == len(Algorithm)


@pytest.mark.acceptance("T10")
async def test_no_good_token_is_refused_while_keys_are_turned(
    granter: Granter, tenant: Tenant, person: Known, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    ring, client = settings.secrets.ring(), granter.client(tenant)
    grants = [granter.grant(client), granter.grant(client, person)]
    engine = make_async_engine(settings.database.url.get_secret_value(), pool_size=4)
    cache = Cache(settings.redis.url.get_secret_value(), ring)
    try:
        signing = SigningKeys(make_async_sessions(engine), ring)
        reading = SigningKeys(make_async_sessions(engine), ring)
        verifying = AccessTokens(engine, reading, settings.issuer, cache)
        count, kids = 0, set()
        for turn in range(20):
            algorithm = list(Algorithm)[turn % 2]
            key = await asyncio.to_thread(make, algorithm)
            with sessions.begin() as db:
                keys.rotate(db, ring, algorithm, key, ahead=timedelta(seconds=1.5))
            end = time.monotonic() + 0.6
            while count < 500 * (turn + 1) or time.monotonic() < end:
                minter = Minter(settings.issuer, await signing.current())
                texts = [minter.access_token(grants[one % 2]).text for one in range(4)]
                kids |= {jwt.get_unverified_header(one)["kid"] for one in texts}
                found = await asyncio.gather(*(verifying.caller(one) for one in texts * 25))
                count += len(found)
    finally:
        await cache.close()
        await engine.dispose()
    assert count >= 10_000
    assert len(kids) > 3


def _weak(ring: Any, bits: int) -> SigningKey:  # noqa: ANN401 a key ring
    key, key_id = RSAKey.generate_key(bits), new_id()
    sealed = ring.encrypt(private_half(key), sealed_for(key_id))
    row = {"organisation_id": SYSTEM, "id": key_id, "algorithm": "RS256", "signs_from": utc_now()}
    return SigningKey(**row, public_jwk=public_half(key), sealed=sealed)


@pytest.mark.acceptance("T10")
async def test_a_key_that_signs_at_once_is_known_at_once(
    http: aiohttp.ClientSession, base_url: str, granter: Granter, tenant: Tenant, sessions: sessionmaker[Session]
) -> None:
    grant, made = granter.grant(granter.client(tenant)), keys.fresh(Algorithm)
    before = granter.access(grant).text
    assert (await Api(http, base_url, before).get("/organisation")).status == 200
    await asyncio.sleep(0.2)
    with sessions.begin() as db:
        kid = UUID(jwt.get_unverified_header(before)["kid"])
        assert keys.revoke(db, granter.settings.secrets.ring(), kid, made)
    assert (await Api(http, base_url, granter.access(grant).text).get("/organisation")).status == 200


@pytest.mark.acceptance("T07")
@pytest.mark.filterwarnings("ignore:Key size should be")
async def test_the_api_does_not_start_with_an_rsa_key_of_less_than_2048_bits(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    with sessions.begin() as db:
        db.add(_weak(settings.secrets.ring(), 1024))
    app = create_app(settings)
    with pytest.raises(WeakKey, match="1024 bits; 2048 are the least"):
        async with app.router.lifespan_context(app):
            raise AssertionError("it started")


@pytest.mark.acceptance("T07")
async def test_nothing_starts_with_a_secret_of_less_than_32_bytes(environment: dict[str, str]) -> None:
    short = {"POSTRIDER_SECRETS__KEYS": '{"test": "c2hvcnQ="}'}
    with mock.patch.dict(os.environ, {**environment, **short}, clear=True):
        settings = read_settings()
    with pytest.raises(BadKeyRing, match="has 5 bytes, 32 are needed"):
        create_app(settings)


async def test_without_a_key_that_signs_tokens_are_not_to_be_had(
    http: aiohttp.ClientSession, sessions: sessionmaker[Session], settings: Settings
) -> None:
    with sessions.begin() as db:
        db.execute(delete(SigningKey))
    async with served(create_app(settings)) as url:
        assert await published(http, url) == []


async def test_keys_that_are_remembered_are_counted_apart_from_those_that_are_read(settings: Settings) -> None:
    hit, miss = (
        counting("postrider_cache_requests_total", cache="signing_keys", outcome=one) for one in ("hit", "miss")
    )
    engine = make_async_engine(settings.database.url.get_secret_value(), pool_size=1)
    try:
        keys_of = SigningKeys(make_async_sessions(engine), settings.secrets.ring())
        for _ in range(3):
            await keys_of.current()
        await asyncio.sleep(REMEMBERED_SECONDS)
        await keys_of.current()
    finally:
        await engine.dispose()
    assert (hit.more, miss.more) == (2, 2)
