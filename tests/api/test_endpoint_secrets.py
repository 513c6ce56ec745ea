"""Signing secrets and custom headers of endpoints: made, shown, rotated, kept encrypted."""

import base64
import itertools
import os
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain import signing
from app.features.endpoints.sealing import open_headers, open_secret
from app.kit.encryption import KeyRing, Undecryptable
from app.models import Endpoint, EndpointSecret
from app.settings import Settings
from tests.api.client import Api
from tests.api.world import uuid_of

URL = "http://127.0.0.1:9/hook"


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    return settings.secrets.ring()


@pytest.fixture
async def app(api: Api) -> str:
    return f"/app/{(await api.post('/app', {'name': 'app'})).body['id']}"


async def make(api: Api, app: str, **more: object) -> str:
    reply = await api.post(f"{app}/endpoint", {"url": URL, **more})
    assert reply.status == 201, reply.raw
    return f"{app}/endpoint/{reply.body['id']}"


async def key_of(api: Api, path: str) -> str:
    key: str = (await api.get(f"{path}/secret")).body["key"]
    return key


async def rotate(api: Api, path: str, **more: object) -> str:
    reply = await api.post(f"{path}/secret/rotate", more)
    assert reply.status == 200, reply.raw
    assert list(reply.body) == ["key"]
    key: str = reply.body["key"]
    return key


def rows(sessions: sessionmaker[Session], path: str) -> list[EndpointSecret]:
    """The secrets' rows, the newest first."""
    with sessions() as db:
        statement = select(EndpointSecret).where(EndpointSecret.endpoint_id == uuid_of(path.rsplit("/", 1)[1]))
        return list(db.scalars(statement.order_by(EndpointSecret.id.desc())))


def opened(ring: KeyRing, row: EndpointSecret) -> str:
    return open_secret(ring, row.environment_id, row.endpoint_id, row.secret)


@pytest.mark.acceptance("W03")
async def test_a_secret_is_made_for_each_endpoint(api: Api, app: str) -> None:
    keys = [await key_of(api, await make(api, app)) for _ in range(20)]
    assert len(set(keys)) == 20
    for key in keys:
        assert key.startswith("whsec_")
        assert 24 <= len(base64.b64decode(key.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.acceptance("W03")
@pytest.mark.parametrize("size", [24, 64])
@pytest.mark.parametrize("prefix", ["whsec_", ""])
async def test_a_secret_of_ones_own_is_taken(api: Api, app: str, size: int, prefix: str) -> None:
    text = base64.b64encode(os.urandom(size)).decode()
    assert await key_of(api, await make(api, app, secret=prefix + text)) == f"whsec_{text}"


@pytest.mark.acceptance("W03")
@pytest.mark.parametrize("size", [0, 23, 65, 75])
async def test_a_secret_of_another_length_is_refused(api: Api, app: str, size: int) -> None:
    text = base64.b64encode(os.urandom(size)).decode()
    reply = await api.post(f"{app}/endpoint", {"url": URL, "secret": f"whsec_{text}"})
    assert (reply.status, reply.fields) == (422, ["body.secret"])
    assert text not in reply.body["detail"][0]["msg"] or not text
    path = await make(api, app)
    reply = await api.post(f"{path}/secret/rotate", {"key": f"whsec_{text}"})
    assert (reply.status, reply.fields) == (422, ["body.key"])


@pytest.mark.acceptance("W03")
async def test_of_an_ed25519_secret_only_the_public_half_is_shown(
    api: Api, app: str, ring: KeyRing, sessions: sessionmaker[Session]
) -> None:
    private = signing.generate_asymmetric(os.urandom(32))
    path = await make(api, app, secret=private)
    public = await key_of(api, path)
    assert public == signing.parse_secret(private).shown
    assert public.startswith("whpk_")
    assert opened(ring, rows(sessions, path)[0]) == private
    renewed = await rotate(api, path)
    assert renewed.startswith("whpk_")
    assert renewed != public
    assert (await key_of(api, path)) == renewed


async def test_rotation_keeps_the_old_secret_for_the_grace_period(
    api: Api, app: str, ring: KeyRing, sessions: sessionmaker[Session]
) -> None:
    path = await make(api, app)
    old = await key_of(api, path)
    new = await rotate(api, path)
    assert new != old
    assert await key_of(api, path) == new
    current, retired = rows(sessions, path)
    assert (opened(ring, current), current.expires_at) == (new, None)
    assert opened(ring, retired) == old
    with sessions() as db:
        left = db.execute(select(retired_for(retired))).scalar_one()
    assert 86300 < float(left) <= 86400


def retired_for(row: EndpointSecret) -> Any:  # noqa: ANN401 a SQL expression
    expires = select(EndpointSecret.expires_at).where(EndpointSecret.id == row.id).scalar_subquery()
    return func.extract("epoch", expires - func.now())


async def test_the_grace_period_can_be_chosen(api: Api, app: str, sessions: sessionmaker[Session]) -> None:
    path = await make(api, app)
    given = "whsec_" + base64.b64encode(os.urandom(24)).decode()
    assert await rotate(api, path, key=given, gracePeriodSeconds=604800) == given
    with sessions() as db:
        left = db.execute(select(retired_for(rows(sessions, path)[1]))).scalar_one()
    assert 604700 < float(left) <= 604800
    await rotate(api, path, gracePeriodSeconds=None)
    await rotate(api, path, gracePeriodSeconds=0)
    assert len(rows(sessions, path)) == 4
    await rotate(api, path)
    assert len(rows(sessions, path)) == 4, "the one without a grace period is dropped by the next rotation"


@pytest.mark.parametrize("seconds", [-1, 604801, "5", 1.5])
async def test_a_grace_period_out_of_bounds_is_refused(api: Api, app: str, seconds: object) -> None:
    path = await make(api, app)
    reply = await api.post(f"{path}/secret/rotate", {"gracePeriodSeconds": seconds})
    assert (reply.status, reply.fields) == (422, ["body.gracePeriodSeconds"])


async def test_ten_old_secrets_are_the_most(api: Api, app: str, sessions: sessionmaker[Session]) -> None:
    path = await make(api, app)
    for _ in range(10):
        await rotate(api, path)
    current = await key_of(api, path)
    reply = await api.post(f"{path}/secret/rotate", {})
    assert (reply.status, reply.code) == (400, "limit_reached")
    assert await key_of(api, path) == current
    await rotate(api, path, gracePeriodSeconds=0)
    oldest = rows(sessions, path)[-1]
    with sessions.begin() as db:
        db.execute(update(EndpointSecret).where(EndpointSecret.id == oldest.id).values(expires_at=func.now()))
    await rotate(api, path)


async def test_rotation_is_safe_to_repeat(api: Api, app: str, sessions: sessionmaker[Session]) -> None:
    path = await make(api, app)
    first, again = [await api.post(f"{path}/secret/rotate", {}, key="once") for _ in range(2)]
    assert (again.status, again.body) == (200, first.body)
    assert len(rows(sessions, path)) == 2


async def test_secrets_and_headers_are_encrypted_and_bound_to_their_row(
    api: Api, app: str, ring: KeyRing, sessions: sessionmaker[Session]
) -> None:
    path = await make(api, app, headers={"X-A": "plain text"})
    other = await make(api, app)
    row, stranger = rows(sessions, path)[0], rows(sessions, other)[0]
    key = await key_of(api, path)
    assert key.encode() not in row.secret
    assert opened(ring, row) == key
    with pytest.raises(Undecryptable):
        open_secret(ring, row.environment_id, stranger.endpoint_id, row.secret)
    with pytest.raises(Undecryptable):
        open_secret(ring, stranger.endpoint_id, row.endpoint_id, row.secret)
    with pytest.raises(Undecryptable):
        open_headers(ring, row.environment_id, row.endpoint_id, row.secret)
    with sessions() as db:
        sealed = db.scalars(select(Endpoint.headers).where(Endpoint.id == row.endpoint_id)).one()
    assert sealed is not None
    assert b"plain text" not in sealed
    assert open_headers(ring, row.environment_id, row.endpoint_id, sealed) == {"X-A": "plain text"}


async def test_secret_and_headers_of_a_deleted_endpoint_are_kept_out_of_sight(
    api: Api, app: str, sessions: sessionmaker[Session]
) -> None:
    path = await make(api, app, headers={"X-A": "b"})
    kept = [row.secret for row in rows(sessions, path)]
    await api.delete(path)
    assert [row.secret for row in rows(sessions, path)] == kept != []
    for rest in ("", "/secret", "/headers"):
        assert (await api.get(f"{path}{rest}")).status == 404


async def test_headers_are_shown_but_for_credentials(api: Api, app: str) -> None:
    path = await make(api, app, headers={"X-A": "1", "Authorization": "Bearer x", "x-api-key": "y"})
    assert (await api.get(f"{path}/headers")).body == {
        "headers": {"X-A": "1"},
        "sensitive": ["Authorization", "x-api-key"],
    }
    assert (await api.put(f"{path}/headers", {"headers": {"X-B": "2"}})).raw == b""
    assert (await api.get(f"{path}/headers")).body == {"headers": {"X-B": "2"}, "sensitive": []}
    assert (await api.put(f"{path}/headers", {"headers": {}})).status == 204
    assert (await api.get(f"{path}/headers")).body == {"headers": {}, "sensitive": []}


async def test_headers_are_patched_one_by_one(
    api: Api, app: str, ring: KeyRing, sessions: sessionmaker[Session]
) -> None:
    path = await make(api, app, headers={"X-A": "1", "X-B": "2", "X-C": "3", "X-Token": "kept"})
    patch = {"headers": {"x-a": "new", "X-B": None, "X-D": "4"}, "deleteHeaders": ["x-c", "X-Nothing"]}
    assert (await api.patch(f"{path}/headers", patch)).status == 204
    assert (await api.get(f"{path}/headers")).body == {"headers": {"x-a": "new", "X-D": "4"}, "sensitive": ["X-Token"]}
    with sessions() as db:
        row = db.scalars(select(Endpoint).where(Endpoint.id == uuid_of(path.rsplit("/", 1)[1]))).one()
    assert open_headers(ring, row.environment_id, row.id, row.headers)["X-Token"] == "kept"
    assert (await api.patch(f"{path}/headers", {"deleteHeaders": ["X-Token"]})).status == 204
    assert (await api.get(f"{path}/headers")).body["sensitive"] == []


FORBIDDEN = [
    *(f"{prefix}-{name}" for prefix, name in itertools.product(("webhook", "svix"), ("id", "timestamp", "signature"))),
    "Host",
    "CONTENT-LENGTH",
    "Transfer-Encoding",
    "Connection",
    "Upgrade",
    "Proxy-Authorization",
    "X-Forwarded-For",
    "X-Amz-Date",
    "X-Google-Anything",
    "X-Svix-Id",
    "webhook_id",
    "Postrider-Instance",
]


@pytest.mark.acceptance("W12")
@pytest.mark.parametrize("name", FORBIDDEN)
async def test_a_forbidden_header_is_refused_by_name(api: Api, app: str, name: str) -> None:
    path = await make(api, app, headers={"X-A": "1"})
    for reply in (
        await api.post(f"{app}/endpoint", {"url": URL, "headers": {name: "x"}}),
        await api.put(f"{path}/headers", {"headers": {name: "x"}}),
        await api.patch(f"{path}/headers", {"headers": {name: "x"}}),
    ):
        assert (reply.status, reply.fields) == (422, [f"body.headers.{name}"])
    assert (await api.get(f"{path}/headers")).body["headers"] == {"X-A": "1"}


@pytest.mark.acceptance("W12")
@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "a\rb", "\x01", "x" * 4097, "\u20ac"])
async def test_a_value_that_no_header_can_carry_is_refused(api: Api, app: str, value: str) -> None:
    path = await make(api, app)
    reply = await api.put(f"{path}/headers", {"headers": {"X-A": value}})
    assert (reply.status, reply.fields) == (422, ["body.headers.X-A"])


@pytest.mark.acceptance("W12")
@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ü"])
async def test_a_name_that_is_none_is_refused(api: Api, app: str, name: str) -> None:
    path = await make(api, app)
    reply = await api.put(f"{path}/headers", {"headers": {name: "x"}})
    assert reply.status == 422
    assert reply.fields[0].startswith("body.headers")


async def test_a_header_has_one_value(api: Api, app: str) -> None:
    path = await make(api, app)
    reply = await api.put(f"{path}/headers", {"headers": {"X-A": "1", "x-a": "2"}})
    assert (reply.status, reply.fields) == (422, ["body.headers.x-a"])
    assert (await api.put(f"{path}/headers", {"headers": {"X-A": 1}})).fields == ["body.headers.X-A"]
    assert (await api.put(f"{path}/headers", {})).fields == ["body.headers"]
    assert (await api.put(f"{path}/headers", {"headers": {f"X-{n}": "" for n in range(51)}})).status == 422
