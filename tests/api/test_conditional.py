"""Conditional requests: nobody undoes a change that they have not seen, and who has a thing need not get it again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest

from tests.api.client import Api, Reply

URL = "http://127.0.0.1:9/hook"
GONE = '"1-0"'


@dataclass
class Resource:
    """Something that people edit, by its path; `more` is what a PUT of it says, `changes` what a PATCH may."""

    api: Api
    path: str
    more: Mapping[str, object]
    changes: Mapping[str, object]
    patches: bool = True
    other: str = ""

    async def call(self, method: str, **headers: str) -> Reply:
        """Without a body for GET and DELETE."""
        bodies = {"PUT": self.more, "PATCH": self.changes}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api.call(method, self.path, bodies.get(method), headers=named)

    async def tag(self) -> str:
        """The tag that it bears now."""
        found = (await self.call("GET")).headers["etag"]
        assert isinstance(found, str)
        return found


Make = Callable[[Api], Awaitable[Resource]]


async def application(api: Api) -> Resource:
    await api.post("/app", {"name": "one", "uid": "one"})
    return Resource(api, "/app/one", {"name": "two"}, {"name": "three"}, other="/app/none")


async def event_type(api: Api) -> Resource:
    await api.post("/event-type", {"name": "a.b", "description": "one"})
    return Resource(api, "/event-type/a.b", {"description": "two"}, {"description": "three"}, other="/event-type/none")


async def endpoint(api: Api) -> Resource:
    await api.post("/app", {"name": "one", "uid": "one"})
    await api.post("/app/one/endpoint", {"url": URL, "uid": "ep"})
    path = "/app/one/endpoint"
    return Resource(api, f"{path}/ep", {"url": URL}, {"description": "three"}, other=f"{path}/none")


async def operational_endpoint(api: Api) -> Resource:
    path = "/operational-webhook/endpoint"
    await api.post(path, {"url": URL, "uid": "ep"})
    return Resource(api, f"{path}/ep", {"url": URL}, {"description": "three"}, other=f"{path}/none")


async def headers(api: Api) -> Resource:
    one = await endpoint(api)
    return Resource(api, f"{one.path}/headers", {"headers": {"X-A": "1"}}, {"headers": {"X-B": "2"}})


async def operational_headers(api: Api) -> Resource:
    one = await operational_endpoint(api)
    return Resource(api, f"{one.path}/headers", {"headers": {"X-A": "1"}}, {}, patches=False)


WHOLE: tuple[Make, ...] = (application, event_type, endpoint, operational_endpoint)
EVERY: tuple[Make, ...] = (*WHOLE, headers, operational_headers)
each = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)
each_whole = pytest.mark.parametrize("make", WHOLE, ids=lambda make: make.__name__)


@each
async def test_every_change_gives_a_new_tag(api: Api, make: Make) -> None:
    one = await make(api)
    seen = [await one.tag()]
    for method in ("PUT", "PATCH") if one.patches else ("PUT",):
        reply = await one.call(method)
        assert reply.status in {200, 204}
        assert reply.headers["etag"] == await one.tag()
        seen.append(reply.headers["etag"])
    assert len(set(seen)) == len(seen)
    assert all(tag.startswith('"') for tag in seen)


@each
async def test_a_stale_tag_changes_nothing(api: Api, make: Make) -> None:
    one = await make(api)
    stale = await one.tag()
    await one.call("PUT")
    before = await one.call("GET")
    for method in ("PUT", "PATCH") if one.patches else ("PUT",):
        for given in (stale, f"W/{before.headers['etag']}", GONE):
            refused = await one.call(method, if_match=given)
            assert (refused.status, refused.code) == (412, "precondition_failed"), (method, given)
    after = await one.call("GET")
    assert (after.raw, after.headers["etag"]) == (before.raw, before.headers["etag"])


@each
async def test_the_current_tag_and_any_let_a_change_through(api: Api, make: Make) -> None:
    one = await make(api)
    for method in ("PUT", "PATCH") if one.patches else ("PUT",):
        for given in (await one.tag(), "*"):
            assert (await one.call(method, if_match=given)).status in {200, 204}
        assert (await one.call(method, if_match=f'"x", {await one.tag()}')).status in {200, 204}


@each_whole
async def test_only_what_was_seen_is_deleted(api: Api, make: Make) -> None:
    one = await make(api)
    stale = await one.tag()
    await one.call("PUT")
    assert (await one.call("DELETE", if_match=stale)).status == 412
    assert (await one.call("GET")).status == 200
    assert (await one.call("DELETE", if_match=await one.tag())).status == 204


@each_whole
async def test_a_put_that_would_make_something_is_refused(api: Api, make: Make) -> None:
    one = await make(api)
    for given in ("*", await one.tag()):
        reply = await api.call("PUT", one.other, one.more, headers={"if-match": given})
        assert (reply.status, reply.code) == (412, "precondition_failed")
    assert (await api.get(one.other)).status == 404
    made = await api.put(one.other, one.more)
    assert (made.status, made.headers["etag"]) == (201, (await api.get(one.other)).headers["etag"])


@each_whole
async def test_of_two_who_change_the_same_version_one_is_told(api: Api, make: Make) -> None:
    one = await make(api)
    for method in ("PATCH", "PUT"):
        tag = await one.tag()
        replies = await asyncio.gather(*(one.call(method, if_match=tag) for _ in range(2)))
        assert sorted(reply.status for reply in replies) == [200, 412]


@each
async def test_who_has_it_is_told_so(api: Api, make: Make) -> None:
    one = await make(api)
    tag = await one.tag()
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        reply = await one.call("GET", if_none_match=given)
        assert (reply.status, reply.raw, reply.headers["etag"]) == (304, b"", tag)
    await one.call("PUT")
    assert (await one.call("GET", if_none_match=tag)).status == 200


@each
async def test_what_is_no_tag_is_named(api: Api, make: Make) -> None:
    one = await make(api)
    for method, name in (("PUT", "if_match"), ("GET", "if_none_match")):
        for given in ("3", '"3', '*, "3"', "x" * 2000):
            reply = await one.call(method, **{name: given})
            assert (reply.status, reply.fields) == (422, [f"header.{name.replace('_', '-')}"])


async def test_a_namesake_bears_another_tag(api: Api) -> None:
    for path, body, query in (
        ("/app", {"name": "one", "uid": "n"}, {}),
        ("/event-type", {"name": "n", "description": ""}, {"expunge": "true"}),
    ):
        first = await api.post(path, body)
        assert (await api.delete(f"{path}/n", **query)).status == 204
        second = await api.post(path, body)
        assert first.headers["etag"] != second.headers["etag"]
        had = {"if-none-match": first.headers["etag"]}
        assert (await api.call("GET", f"{path}/n", headers=had)).status == 200
        wanted = {"if-match": first.headers["etag"]}
        assert (await api.call("DELETE", f"{path}/n", headers=wanted)).status == 412


async def test_a_replayed_answer_bears_no_tag(api: Api) -> None:
    first = await api.post("/app", {"name": "one"}, key="k")
    again = await api.post("/app", {"name": "one"}, key="k")
    assert first.headers["etag"] == (await api.get(f"/app/{first.body['id']}")).headers["etag"]
    assert (again.raw, "etag" in again.headers) == (first.raw, False)


async def test_an_unknown_thing_is_not_found_whatever_is_demanded(api: Api) -> None:
    await api.post("/app", {"name": "one", "uid": "one"})
    for path in ("/app/none", "/event-type/none", "/app/one/endpoint/none", "/operational-webhook/endpoint/none"):
        for method, body in (("PATCH", {}), ("DELETE", None)):
            reply = await api.call(method, path, body, headers={"if-match": "*"})
            assert (reply.status, reply.code) == (404, "not_found")


async def test_a_rotated_secret_is_a_change_of_the_endpoint(api: Api) -> None:
    one = await endpoint(api)
    before = await one.tag()
    assert (await api.post(f"{one.path}/secret/rotate", {})).status == 200
    assert await one.tag() != before
