"""Links to the audit log's events: for whoever holds one, and nobody who changed one."""

import asyncio
from datetime import timedelta
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
from sqlalchemy.orm import Session, sessionmaker
from yarl import URL

from app.auth import signed_urls
from app.kit.clock import utc_now
from tests.api.client import Api, Reply, Tenant

LINK = "/audit/export-link"


async def linked(api: Api, query: str = "", **wanted: object) -> str:
    """The part of a link behind the public URL."""
    reply = await api.post(LINK + query, wanted)
    assert reply.status == 201, reply.raw
    parts = urlsplit(reply.body["url"])
    return f"{parts.path}?{parts.query}"


async def fetched(http: aiohttp.ClientSession, base_url: str, link: str, method: str = "GET") -> Reply:
    async with http.request(method, URL(base_url + link, encoded=True)) as response:
        return Reply(response.status, response.headers, await response.read())


@pytest.mark.acceptance("K09")
async def test_a_link_opens_what_it_was_made_for(api: Api, http: aiohttp.ClientSession, base_url: str) -> None:
    await api.post("/app", {"name": "a"})
    await api.post("/event-type", {"name": "a.b", "description": ""})
    reply = await fetched(http, base_url, await linked(api, "?action=application.created"))
    assert (reply.status, reply.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
    lines = reply.raw.decode().splitlines()
    assert len(lines) == 2
    assert "application.created" in lines[1]


@pytest.mark.acceptance("K09")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("action=application.created", "action=key.created"),
        ("action=application.created", "action=application.created&action=key.created"),
        ("download.csv", "export.csv"),
        ("link=", "link=x"),
        ("?", "?limit=1&"),
    ],
)
async def test_a_changed_link_opens_nothing(
    api: Api, http: aiohttp.ClientSession, base_url: str, old: str, new: str
) -> None:
    link = await linked(api, "?action=application.created")
    assert old in link
    # The route beside it takes no link at all.
    refused = {403} if new != "export.csv" else {422}
    assert (await fetched(http, base_url, link.replace(old, new, 1))).status in refused


@pytest.mark.acceptance("K09")
async def test_a_link_is_for_reading(api: Api, http: aiohttp.ClientSession, base_url: str) -> None:
    assert (await fetched(http, base_url, await linked(api), "POST")).status == 405


@pytest.mark.acceptance("K09")
async def test_a_link_shows_its_own_organisation(
    api: Api, stranger: Api, http: aiohttp.ClientSession, base_url: str
) -> None:
    await api.post("/app", {"name": "mine alone"})
    mine, other = [(await fetched(http, base_url, await linked(one))).raw for one in (api, stranger)]
    assert b"mine alone" in mine
    assert b"mine alone" not in other


@pytest.mark.acceptance("K09")
async def test_a_link_expires(api: Api, http: aiohttp.ClientSession, base_url: str) -> None:
    link = await linked(api, expirySeconds=60)
    assert (await fetched(http, base_url, link)).status == 200
    with mock.patch.object(signed_urls, "utc_now", return_value=utc_now() + timedelta(seconds=61)):
        reply = await fetched(http, base_url, link)
    assert (reply.status, reply.code) == (403, "link_expired")


@pytest.mark.acceptance("K09")
async def test_a_one_time_link_opens_once(api: Api, http: aiohttp.ClientSession, base_url: str) -> None:
    link = await linked(api, oneTime=True)
    assert (await fetched(http, base_url, link, "HEAD")).status == 200
    replies = await asyncio.gather(*(fetched(http, base_url, link) for _ in range(5)))
    assert sorted(one.status for one in replies) == [200, 403, 403, 403, 403]
    assert {one.code for one in replies if one.status == 403} == {"link_used"}


@pytest.mark.acceptance("K09")
async def test_a_link_of_a_deleted_organisation_opens_nothing(
    api: Api, http: aiohttp.ClientSession, base_url: str
) -> None:
    link = await linked(api)
    name = (await api.get("/organisation")).body["name"]
    assert (await api.delete("/organisation", name=name)).status == 204
    assert (await fetched(http, base_url, link)).status == 403


async def test_a_download_is_an_event(
    api: Api, tenant: Tenant, http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session]
) -> None:
    await fetched(http, base_url, await linked(api))
    found = [(one["action"], one["actor"]["kind"]) for one in (await api.get("/audit")).body["data"]]
    assert found == [("audit.exported", "link"), ("audit.link_made", "key")]


@pytest.mark.parametrize("wanted", [{"expirySeconds": 59}, {"expirySeconds": 604_801}, {"more": 1}])
async def test_what_a_link_cannot_be_is_refused(api: Api, wanted: dict[str, object]) -> None:
    assert (await api.post(LINK, wanted)).status == 422


async def test_a_link_hides_no_other_query(api: Api) -> None:
    link = await linked(api, "?action=a.b&since=2026-01-01T00:00:00Z")
    names = [name for name, _ in parse_qsl(urlsplit(link).query)]
    assert sorted(names) == ["action", "link", "since"]
