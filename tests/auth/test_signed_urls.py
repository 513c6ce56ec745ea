"""Signed URLs over a socket: what was changed, what is over, and links that work once."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from unittest import mock
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from app.auth.signed_urls import LONGEST, SignedUrls
from app.domain.ids import encode
from app.features.retention.operations import retain
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing
from app.models import Organisation, UsedLink
from tests.api.client import Reply
from tests.verifier import call, links

ONE, TWO = (b64encode(bytes([byte]) * 32).decode() for byte in (1, 2))
RING = KeyRing.parse({"one": ONE}, "one")
URLS = SignedUrls(RING)
HOUR = timedelta(hours=1)
Sessions = async_sessionmaker[AsyncSession]


@pytest_asyncio.fixture(scope="module")
async def base_url(api_sessions: Sessions) -> AsyncIterator[str]:
    async with links(api_sessions, RING) as url:
        yield url


def is_refused(reply: Reply, word: str) -> bool:
    return (reply.status, reply.code, reply.body["type"]) == (403, word, f"urn:postrider:error:{word}")


@pytest.mark.parametrize("once", [False, True])
async def test_a_link_opens_its_file_for_its_organisation_alone(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, *, once: bool
) -> None:
    link = URLS.sign(organisation_id, "/files/a b/", [("part", "1 ä")], lifetime=HOUR, once=once)
    reply = await call(http, "GET", base_url + link.replace("/?", "?"))
    assert is_refused(reply, "link_invalid")

    link = URLS.sign(organisation_id, "/files/a b", [("part", "1 ä")], lifetime=HOUR, once=once)
    reply = await call(http, "GET", base_url + link)

    assert reply.status == 200, reply.raw
    assert reply.body == {"name": "a b", "organisation": str(organisation_id), "seen": [str(organisation_id)]}


@pytest.mark.acceptance("K09")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/files/one", "/files/two"),
        ("part=1", "part=2"),
        ("part=1&", ""),
        ("part=1&", "part=1&more=1&"),
        ("~0", "~1"),
        ("link=one~", "link=two~"),
        ("link=", "was="),
    ],
)
async def test_a_changed_link_is_refused(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, old: str, new: str
) -> None:
    link = URLS.sign(organisation_id, "/files/one", [("part", "1")], lifetime=HOUR)
    changed = (
        re.sub(r"~(\d{10})~", lambda match: f"~{int(match[1]) + 1}~", link) if old == "~0" else link.replace(old, new)
    )
    assert changed != link

    assert is_refused(await call(http, "GET", base_url + changed), "link_invalid")
    assert (await call(http, "GET", base_url + link)).status == 200


@pytest.mark.acceptance("K09")
async def test_a_link_of_another_organisation_is_refused(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR)
    changed = link.replace(encode("org", organisation_id), encode("org", uuid4()))
    assert changed != link

    assert is_refused(await call(http, "GET", base_url + changed), "link_invalid")


@pytest.mark.acceptance("K09")
async def test_a_link_is_for_get_alone(http: aiohttp.ClientSession, base_url: str, organisation_id: UUID) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR)

    assert is_refused(await call(http, "POST", base_url + link), "link_invalid")


@pytest.mark.acceptance("K09")
async def test_a_link_expires(http: aiohttp.ClientSession, base_url: str, organisation_id: UUID) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR)

    with mock.patch("app.auth.signed_urls.utc_now", return_value=utc_now() + HOUR - timedelta(seconds=5)):
        assert (await call(http, "GET", base_url + link)).status == 200
    with mock.patch("app.auth.signed_urls.utc_now", return_value=utc_now() + HOUR):
        assert is_refused(await call(http, "GET", base_url + link), "link_expired")


@pytest.mark.acceptance("K09")
async def test_a_link_ends_with_its_key(
    http: aiohttp.ClientSession, api_sessions: Sessions, organisation_id: UUID
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR)

    async with links(api_sessions, KeyRing.parse({"one": ONE, "two": TWO}, "two")) as turned:
        assert (await call(http, "GET", turned + link)).status == 200
    async with links(api_sessions, KeyRing.parse({"two": TWO}, "two")) as retired:
        assert is_refused(await call(http, "GET", retired + link), "link_invalid")
    async with links(api_sessions, KeyRing.parse({"one": TWO}, "one")) as replaced:
        assert is_refused(await call(http, "GET", replaced + link), "link_invalid")


@pytest.mark.acceptance("K09")
async def test_a_one_time_link_works_once(
    http: aiohttp.ClientSession, base_url: str, api_sessions: Sessions, organisation_id: UUID
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, once=True)
    other = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, once=True)

    assert (await call(http, "GET", base_url + link)).status == 200
    assert is_refused(await call(http, "GET", base_url + link), "link_used")
    async with links(api_sessions, RING) as another:
        assert is_refused(await call(http, "GET", another + link), "link_used")
    assert (await call(http, "GET", base_url + other)).status == 200


@pytest.mark.acceptance("K09")
async def test_of_concurrent_uses_one_works(
    http: aiohttp.ClientSession, base_url: str, api_sessions: Sessions, organisation_id: UUID
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, once=True)
    async with links(api_sessions, RING) as another:
        replies = await asyncio.gather(*(call(http, "GET", url + link) for url in (base_url, another) * 10))

    assert sorted(reply.status for reply in replies) == [200] + [403] * 19
    assert all(is_refused(reply, "link_used") for reply in replies if reply.status == 403)


async def test_looking_does_not_use_a_link_up(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID
) -> None:
    """Mail programs look at links before people do."""
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, once=True)

    statuses = [(await call(http, method, base_url + link)).status for method in ("HEAD", "HEAD", "GET", "HEAD")]

    assert statuses == [200, 200, 200, 403]


async def test_a_use_that_failed_does_not_count(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, worker_sessions: sessionmaker[Session]
) -> None:
    link = URLS.sign(organisation_id, "/broken", lifetime=HOUR, once=True)

    assert [(await call(http, "GET", base_url + link)).status for _ in range(2)] == [503, 503]
    with worker_sessions() as db:
        own = select(func.count()).where(UsedLink.organisation_id == organisation_id)
        assert db.scalar(own) == 0


@pytest.mark.acceptance("K09")
@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1"])
async def test_a_bound_link_opens_from_its_address(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, address: str
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, address=address)

    assert (await call(http, "GET", base_url + link)).status == 200


@pytest.mark.acceptance("K09")
@pytest.mark.parametrize("address", ["127.0.0.2", "::1", "192.0.2.1"])
async def test_a_bound_link_does_not_open_from_elsewhere(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, address: str
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, address=address)

    assert is_refused(await call(http, "GET", base_url + link), "link_invalid")


async def test_a_link_ends_with_its_organisation(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, worker_sessions: sessionmaker[Session]
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR)
    assert (await call(http, "GET", base_url + link)).status == 200

    with worker_sessions.begin() as db:
        db.get_one(Organisation, organisation_id).deleted_at = utc_now()

    assert is_refused(await call(http, "GET", base_url + link), "link_invalid")


@pytest.mark.parametrize("lifetime", [timedelta(0), -HOUR, LONGEST + timedelta(seconds=1)])
def test_a_link_lives_for_seven_days_at_most(lifetime: timedelta) -> None:
    with pytest.raises(ValueError, match="seven days"):
        URLS.sign(uuid4(), "/files/one", lifetime=lifetime)
    assert URLS.sign(uuid4(), "/files/one", lifetime=LONGEST)


@pytest.mark.parametrize("address", ["", "localhost", "10.0.0.0/8"])
def test_a_link_is_bound_to_an_address_alone(address: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        URLS.sign(uuid4(), "/files/one", lifetime=HOUR, address=address)


async def test_used_links_go_when_they_would_have_expired(
    http: aiohttp.ClientSession, base_url: str, organisation_id: UUID, worker_sessions: sessionmaker[Session]
) -> None:
    link = URLS.sign(organisation_id, "/files/one", lifetime=HOUR, once=True)
    assert (await call(http, "GET", base_url + link)).status == 200
    with worker_sessions.begin() as db:
        over = utc_now() - timedelta(seconds=1)
        db.add(UsedLink(organisation_id=organisation_id, link_id=uuid4(), expires_at=over))

    assert retain(worker_sessions).deleted["used_links"] == 1
    assert is_refused(await call(http, "GET", base_url + link), "link_used")
