"""Signed requests over a socket: what was changed, what is old, what comes twice, and who is unknown."""

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.auth.signed_requests import KEPT, SigningSecret
from app.domain import http_signatures
from app.features.retention.operations import retain
from app.kit.clock import utc_now
from app.models import SignatureNonce
from tests.api.client import Reply
from tests.signer import Ask
from tests.verifier import Keys, call, verifier

SECRET, OLDER = b"a secret of this key", b"the secret that it had before"
Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


@pytest_asyncio.fixture(scope="module")
async def base_url(api_sessions: Sessions, keys: Keys) -> AsyncIterator[str]:
    async with verifier(api_sessions, keys) as url:
        yield url


@pytest.fixture
def key(keys: Keys, organisation_id: UUID) -> SigningSecret:
    """A key with two live secrets, whose id is its text."""
    return keys.add("key_1", organisation_id, SECRET, OLDER)


async def send(
    http: aiohttp.ClientSession,
    base_url: str,
    ask: Ask,
    *,
    headers: dict[str, str] | None = None,
    secret: bytes = SECRET,
) -> Reply:
    url = f"{base_url}{ask.path}" + (f"?{ask.query}" if ask.query else "")
    return await call(http, ask.method, url, headers or ask.signed(secret), ask.body)


def is_refused(reply: Reply, word: str) -> bool:
    assert reply.status == 401
    assert reply.code == "authentication_failed"
    assert reply.headers["www-authenticate"] == f'Signature error="{reply.body["type"].rpartition(":")[2]}"'
    return bool(reply.body["type"] == f"urn:postrider:error:{word}")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"method": "GET", "query": "", "body": b""},
        {"method": "HEAD", "body": b""},
        {"method": "DELETE", "path": "/api/v1/app/a%2Fb%20c", "query": "a=%20&b=+", "body": b""},
        {"method": "GET", "path": "/api/v1/app/", "body": b""},
        {"method": "GET", "path": "/", "body": b""},
        {"method": "PUT", "body": b" " * 100_000, "headers": {"idempotency-key": "k"}},
    ],
    ids=" ".join,
)
async def test_a_signed_request_is_let_in(
    http: aiohttp.ClientSession, base_url: str, key: SigningSecret, asked: dict[str, Any]
) -> None:
    # Made now and not with the module: between the two may lie more than a signature lives.
    ask = Ask(**asked)
    reply = await send(http, base_url, ask)

    assert reply.status == 200, reply.raw
    if ask.method != "HEAD":
        assert reply.body == {"organisation": str(key.organisation_id), "key": str(key.key_id), "secret": SECRET.hex()}


async def test_either_of_two_secrets_signs(http: aiohttp.ClientSession, base_url: str, key: SigningSecret) -> None:
    reply = await send(http, base_url, Ask(), secret=OLDER)

    assert reply.body["secret"] == OLDER.hex()


@pytest.mark.acceptance("K06")
@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/api/v1/apps"},
        {"path": "/api/v1/app/"},
        {"path": "/api/v1/%61pp"},
        {"query": "order=ascending&limit=5"},
        {"query": "limit=5&order=ascending&"},
        {"query": "limit=6&order=ascending"},
        {"query": ""},
        {"body": b'{"name": "two"}'},
        {"body": b""},
    ],
    ids=str,
)
async def test_a_changed_request_is_refused(
    http: aiohttp.ClientSession, base_url: str, key: SigningSecret, change: dict[str, str | bytes]
) -> None:
    ask = Ask()

    assert is_refused(await send(http, base_url, ask.but(**change), headers=ask.signed(SECRET)), "bad_signature")
    assert (await send(http, base_url, ask)).status == 200


@pytest.mark.acceptance("K06")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (";created=17", ";created=18"),
        ('"@method" "@path"', '"@path" "@method"'),
        (' "date"', ""),
        (' "date"', ' "date" "accept"'),
        ('keyid="key_1"', 'keyid="key_2"'),
        ('nonce="', 'nonce="0'),
        (';nonce="', ';expires=9999999999;nonce="'),
        ("sig=", "other="),
    ],
)
async def test_a_changed_date_header_list_or_nonce_is_refused(
    http: aiohttp.ClientSession, base_url: str, keys: Keys, key: SigningSecret, old: str, new: str
) -> None:
    keys.by_id["key_2"] = keys.by_id["key_1"]
    ask = Ask(headers={"date": "Tue, 24 Nov 2026 03:00:00 GMT"})
    headers = ask.signed(SECRET)
    assert old in headers["signature-input"]
    changed = {**headers, "signature-input": headers["signature-input"].replace(old, new, 1)}

    assert is_refused(await send(http, base_url, ask, headers=changed), "bad_signature")
    assert is_refused(await send(http, base_url, ask, headers={**headers, "date": "today"}), "bad_signature")
    assert (await send(http, base_url, ask, headers=headers)).status == 200


@pytest.mark.acceptance("K07")
async def test_a_request_is_let_in_once(http: aiohttp.ClientSession, base_url: str, key: SigningSecret) -> None:
    ask = Ask()

    assert (await send(http, base_url, ask)).status == 200
    assert is_refused(await send(http, base_url, ask), "replayed")
    assert is_refused(await send(http, base_url, ask.but(path="/other", more=';tag="new"')), "replayed")


@pytest.mark.acceptance("K07")
async def test_a_replay_is_refused_by_another_process_too(
    http: aiohttp.ClientSession, base_url: str, api_sessions: Sessions, keys: Keys, key: SigningSecret
) -> None:
    """Nothing is remembered but in the database."""
    ask = Ask()
    assert (await send(http, base_url, ask)).status == 200

    async with verifier(api_sessions, keys) as another:
        assert is_refused(await send(http, another, ask), "replayed")


@pytest.mark.acceptance("K07")
async def test_of_concurrent_replays_one_is_let_in(
    http: aiohttp.ClientSession, base_url: str, api_sessions: Sessions, keys: Keys, key: SigningSecret
) -> None:
    ask = Ask()
    async with verifier(api_sessions, keys) as another:
        replies = await asyncio.gather(*(send(http, url, ask) for url in (base_url, another) * 10))

    assert sorted(reply.status for reply in replies) == [200] + [401] * 19
    assert all(is_refused(reply, "replayed") for reply in replies if reply.status == 401)


@pytest.mark.acceptance("K07")
@pytest.mark.parametrize("seconds", [-310, -301, 310, 3600, -(10**6)])
async def test_a_stale_request_is_refused(
    http: aiohttp.ClientSession, base_url: str, key: SigningSecret, seconds: int
) -> None:
    assert is_refused(await send(http, base_url, Ask(created=int(time.time()) + seconds)), "stale")


@pytest.mark.acceptance("K07")
async def test_an_expired_request_is_refused(http: aiohttp.ClientSession, base_url: str, key: SigningSecret) -> None:
    now = int(time.time())

    assert is_refused(await send(http, base_url, Ask(more=f";expires={now - 1}")), "stale")
    assert (await send(http, base_url, Ask(more=f";expires={now + 60}"))).status == 200


async def test_a_request_of_almost_five_minutes_ago_is_let_in(
    http: aiohttp.ClientSession, base_url: str, key: SigningSecret
) -> None:
    assert (await send(http, base_url, Ask(created=int(time.time()) - 270))).status == 200
    assert (await send(http, base_url, Ask(created=int(time.time()) + 270))).status == 200


async def test_a_nonce_is_a_keys_own(
    http: aiohttp.ClientSession, base_url: str, keys: Keys, key: SigningSecret
) -> None:
    other = keys.add("key_of_the_same", key.organisation_id, SECRET)
    ask = Ask()

    assert (await send(http, base_url, ask)).status == 200
    reply = await send(http, base_url, ask.but(key_id="key_of_the_same"))
    assert reply.body["key"] == str(other.key_id)


async def test_a_refused_request_leaves_its_nonce_unused(
    http: aiohttp.ClientSession, base_url: str, key: SigningSecret
) -> None:
    """Nobody can spoil the nonces of a key that is not his."""
    ask = Ask()

    assert is_refused(await send(http, base_url, ask, secret=b"not the secret"), "bad_signature")
    assert (await send(http, base_url, ask)).status == 200


@pytest.mark.acceptance("K08")
async def test_an_unknown_key_is_answered_as_a_bad_signature_is(
    http: aiohttp.ClientSession, base_url: str, keys: Keys, key: SigningSecret
) -> None:
    keys.by_id["key_without_secrets"] = []
    requests = [
        (Ask(), b"not the secret"),
        (Ask(key_id="nobody's"), SECRET),
        (Ask(key_id="key_without_secrets"), bytes(32)),
        (Ask(created=1), b"not the secret"),
        (Ask(created=1, key_id="nobody's"), SECRET),
    ]
    replies = [await send(http, base_url, ask, secret=secret) for ask, secret in requests]
    bodies = [{**reply.body, "requestId": None} for reply in replies]

    assert all(is_refused(reply, "bad_signature") for reply in replies)
    assert bodies == [bodies[0]] * len(bodies)
    named = [{name.lower() for name in reply.headers} for reply in replies]
    assert named == [named[0]] * len(named)


@pytest.mark.acceptance("K08")
@pytest.mark.parametrize("known", [[], [SECRET], [SECRET, OLDER], [OLDER, SECRET]])
def test_the_work_is_the_same_whoever_signed(known: list[bytes]) -> None:
    """Two MACs are made, and each is compared in constant time: for no secret as for two, matching or not."""
    ask = Ask()
    request = http_signatures.Request(ask.method, ask.path, ask.query, tuple(ask.signed(SECRET).items()), ask.body)
    signature = http_signatures.read(request)

    with (
        mock.patch.object(hmac, "digest", wraps=hmac.digest) as made,
        mock.patch.object(hmac, "compare_digest", wraps=hmac.compare_digest) as compared,
    ):
        http_signatures.maker(signature, known)

    assert (made.call_count, compared.call_count) == (2, 2)
    assert all(len(call.args[0]) == len(call.args[1]) == 44 for call in compared.call_args_list)


async def test_what_is_not_signed_is_told_what_to_do(http: aiohttp.ClientSession, base_url: str) -> None:
    reply = await send(http, base_url, Ask(), headers=Ask().sent)

    assert is_refused(reply, "bad_signature")
    assert reply.body["detail"] == "The header signature-input is missing"


def test_a_secret_is_not_shown() -> None:
    secret = secrets.token_hex(8).encode()

    assert secret.decode() not in repr(SigningSecret(uuid4(), uuid4(), secret))


async def test_nonces_go_when_their_signatures_are_stale(
    http: aiohttp.ClientSession, base_url: str, key: SigningSecret, worker_sessions: sessionmaker[Session]
) -> None:
    ask = Ask()
    assert (await send(http, base_url, ask)).status == 200
    with worker_sessions.begin() as db:
        row = db.get_one(SignatureNonce, (key.organisation_id, key.key_id, ask.nonce))
        assert row.expires_at.timestamp() == ask.created + KEPT.total_seconds()
        for number in range(3):
            db.add(
                SignatureNonce(
                    organisation_id=key.organisation_id,
                    key_id=key.key_id,
                    nonce=f"{number}",
                    expires_at=utc_now() - timedelta(seconds=1),
                )
            )

    assert retain(worker_sessions).deleted["signature_nonces"] == 3
    with worker_sessions() as db:
        own = select(func.count()).where(SignatureNonce.key_id == key.key_id)
        assert db.scalar(own) == 1
