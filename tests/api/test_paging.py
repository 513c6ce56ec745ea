"""Lists, page by page, both ways; and iterators that were not made for them."""

import pytest

from tests.api.client import Api


async def _make(api: Api, count: int) -> list[str]:
    return [(await api.post("/app", {"name": f"n{one}"})).body["id"] for one in range(count)]


async def _walk(api: Api, path: str, **query: str | int) -> list[list[str]]:
    pages: list[list[str]] = []
    while True:
        page = (await api.get(path, **query)).body
        pages.append([one.get("id", one["name"]) for one in page["data"]])
        if page["done"]:
            return pages
        query["iterator"] = page["iterator"]


async def test_an_empty_list_has_every_member(api: Api) -> None:
    assert (await api.get("/app")).body == {"data": [], "iterator": None, "prevIterator": None, "done": True}


@pytest.mark.parametrize("order", ["ascending", "descending"])
async def test_pages_hold_everything_once_and_say_when_they_end(api: Api, order: str) -> None:
    ids = await _make(api, 6)
    expected = ids if order == "ascending" else ids[::-1]
    pages = await _walk(api, "/app", limit=2, order=order)
    assert pages == [expected[:2], expected[2:4], expected[4:]]
    assert await _walk(api, "/app", limit=250, order=order) == [expected]


@pytest.mark.parametrize("order", ["ascending", "descending"])
async def test_the_previous_iterator_leads_back(api: Api, order: str) -> None:
    ids = await _make(api, 5)
    expected = ids if order == "ascending" else ids[::-1]
    first = (await api.get("/app", limit=2, order=order)).body
    second = (await api.get("/app", limit=2, order=order, iterator=first["iterator"])).body
    third = (await api.get("/app", limit=2, order=order, iterator=second["iterator"])).body
    assert third["prevIterator"].startswith("-")
    back = (await api.get("/app", limit=2, order=order, iterator=third["prevIterator"])).body
    assert [one["id"] for one in back["data"]] == expected[2:4]
    assert not back["done"]
    start = (await api.get("/app", limit=2, order=order, iterator=back["prevIterator"])).body
    assert [one["id"] for one in start["data"]] == expected[:2]
    assert start["done"]
    onward = (await api.get("/app", limit=2, order=order, iterator=start["iterator"])).body
    assert [one["id"] for one in onward["data"]] == expected[2:4]


async def test_names_are_keys_too(api: Api) -> None:
    for name in ("b", "a-long-name", "c.d_e"):
        await api.post("/event-type", {"name": name, "description": ""})
    assert sorted(await _walk(api, "/event-type", limit=1)) == [["a-long-name"], ["b"], ["c.d_e"]]


@pytest.mark.acceptance("H11")
async def test_an_iterator_shows_nothing_of_what_is_in_it(api: Api) -> None:
    (identifier,) = await _make(api, 1)
    first, second = [(await api.get("/app")).body["iterator"] for _ in range(2)]
    assert first != second
    assert identifier.removeprefix("app_") not in first


@pytest.mark.acceptance("H11")
async def test_a_foreign_or_forged_iterator_is_refused(api: Api, stranger: Api) -> None:
    await _make(api, 2)
    iterator = (await api.get("/app", limit=1)).body["iterator"]
    changed = iterator[:-1] + ("A" if iterator[-1] != "A" else "B")
    forged = ["x", "-", "--", "é", changed, "-" + changed, "app_01h455vb4pex5vsknk084sn02q", "0" * 5000]
    for one in forged:
        reply = await api.get("/app", iterator=one)
        assert (reply.status, reply.fields) == (422, ["query.iterator"]), one
    assert (await stranger.get("/app", iterator=iterator)).status == 422
    assert (await api.get("/event-type", iterator=iterator)).status == 422


@pytest.mark.acceptance("H11")
@pytest.mark.parametrize(
    ("limit", "status"), [("0", 422), ("251", 422), ("-1", 422), ("x", 400), ("1.5", 400), ("9" * 40, 422)]
)
async def test_limits_out_of_range_and_unreadable_ones_differ(api: Api, limit: str, status: int) -> None:
    assert (await api.get("/app", limit=limit)).status == status


@pytest.mark.acceptance("H11")
async def test_no_change_of_an_iterator_is_taken(api: Api) -> None:
    await _make(api, 3)
    iterator = (await api.get("/app", limit=1)).body["iterator"]
    assert (await api.get("/app", iterator=iterator)).status == 200
    for place in range(len(iterator)):
        changed = iterator[:place] + ("A" if iterator[place] != "A" else "B") + iterator[place + 1 :]
        reply = await api.get("/app", iterator=changed)
        # The last character may hold bits that no byte is made of.
        assert reply.status == 422 or (place == len(iterator) - 1 and reply.status == 200), place


@pytest.mark.acceptance("H11")
async def test_an_iterator_is_good_for_one_application_alone(api: Api) -> None:
    first, second = await _make(api, 2)
    for one in (first, second):
        for _ in range(2):
            await api.post(f"/app/{one}/endpoint", {"url": "http://127.0.0.1:9/hook"})
    iterator = (await api.get(f"/app/{first}/endpoint", limit=1)).body["iterator"]
    assert (await api.get(f"/app/{first}/endpoint", iterator=iterator)).status == 200
    assert (await api.get(f"/app/{second}/endpoint", iterator=iterator)).status == 422


@pytest.mark.acceptance("H11")
@pytest.mark.parametrize("path", ["/app", "/event-type", "/background-task", "/operational-webhook/endpoint"])
async def test_every_list_is_capped(api: Api, path: str) -> None:
    assert (await api.get(path, limit=250)).status == 200
    assert (await api.get(path, limit=251)).status == 422


async def test_an_order_that_is_none_is_unreadable(api: Api) -> None:
    assert (await api.get("/app", order="up")).status == 400
