"""Event types, as an organisation and its portal users see them."""

from typing import Any

import pytest

from tests.api.client import Api


def _names(listing: Any) -> list[str]:  # noqa: ANN401 a body
    return [one["name"] for one in listing["data"]]


async def test_create_answers_with_every_field(api: Api) -> None:
    sent = {
        "name": "invoice.paid",
        "description": "An invoice was paid",
        "deprecated": True,
        "groupName": "invoice",
        "featureFlags": ["beta", "gamma"],
        "schemas": {"1": {"type": "object", "maximum": 12345678901234567890123}},
        "retrySchedule": [0, 60],
    }
    reply = await api.post("/event-type", sent)
    assert reply.status == 201
    assert reply.body | sent == reply.body
    assert (reply.body["archived"], reply.body["featureFlag"]) == (False, "beta")
    assert (await api.get("/event-type/invoice.paid")).body == reply.body


@pytest.mark.parametrize(
    ("sent", "flags"),
    [
        ({"featureFlag": "a"}, ["a"]),
        ({"featureFlags": ["a", "b"]}, ["a", "b"]),
        ({"featureFlag": "a", "featureFlags": ["b"]}, ["b"]),
        ({"featureFlag": None, "featureFlags": []}, None),
        ({}, None),
    ],
)
async def test_feature_flags_in_both_spellings(api: Api, sent: dict[str, object], flags: list[str] | None) -> None:
    made = (await api.post("/event-type", {"name": "a", "description": "", **sent})).body
    assert (made["featureFlags"], made["featureFlag"]) == (flags, flags[0] if flags else None)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"name": "no blanks"}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"description": None}, "body.description"),
        ({"archived": "yes"}, "body.archived"),
        ({"schemas": {"1": []}}, "body.schemas.1"),
        ({"featureFlags": ["a", "a"]}, "body.featureFlags"),
        ({"retrySchedule": [-1]}, "body.retrySchedule.0"),
        ({"retrySchedule": [1.5]}, "body.retrySchedule.0"),
        ({"retrySchedule": []}, "body.retrySchedule"),
        ({"retrySchedule": [10**9]}, "body.retrySchedule.0"),
        ({"retrySchedule": [1] * 21}, "body.retrySchedule"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, sent: dict[str, object], field: str) -> None:
    reply = await api.post("/event-type", {"name": "a", "description": "", **sent})
    assert (reply.status, reply.fields) == (422, [field])


async def test_archiving_hides_and_creating_brings_back(api: Api) -> None:
    await api.post("/event-type", {"name": "a", "description": "old", "groupName": "g"})
    assert (await api.post("/event-type", {"name": "a", "description": ""})).code == "event_type_exists"
    assert (await api.delete("/event-type/a")).status == 204
    assert _names((await api.get("/event-type")).body) == []
    assert _names((await api.get("/event-type", include_archived="true")).body) == ["a"]
    assert (await api.get("/event-type/a")).body["archived"] is True
    back = await api.post("/event-type", {"name": "a", "description": "new"})
    assert (back.status, back.body["archived"]) == (201, False)
    assert (back.body["description"], back.body["groupName"]) == ("new", None)


async def test_expunging_removes(api: Api) -> None:
    await api.post("/event-type", {"name": "a", "description": ""})
    assert (await api.delete("/event-type/a", expunge="true")).status == 204
    assert (await api.get("/event-type/a")).status == 404
    assert (await api.delete("/event-type/a", expunge="true")).status == 404
    assert (await api.delete("/event-type/a")).status == 404


async def test_schemas_are_listed_with_content_only(api: Api) -> None:
    await api.post("/event-type", {"name": "a", "description": "", "schemas": {"1": {}}})
    assert (await api.get("/event-type")).body["data"][0]["schemas"] is None
    assert (await api.get("/event-type", with_content="true")).body["data"][0]["schemas"] == {"1": {}}
    assert (await api.get("/event-type", with_content="maybe")).status == 400


async def test_put_makes_and_replaces(api: Api) -> None:
    made = await api.put("/event-type/a.b", {"description": "one", "featureFlag": "f"})
    assert (made.status, made.body["name"]) == (201, "a.b")
    replaced = await api.put("/event-type/a.b", {"description": "two"})
    assert (replaced.status, replaced.body["featureFlags"]) == (200, None)
    assert replaced.body["createdAt"] == made.body["createdAt"]
    assert replaced.body["updatedAt"] > made.body["updatedAt"]
    assert (await api.put("/event-type/a%20b", {"description": ""})).status == 422


async def test_patch_changes_what_is_given_and_null_clears(api: Api) -> None:
    sent = {"name": "a", "description": "d", "featureFlags": ["f", "g"], "schemas": {"1": {}}, "retrySchedule": [5]}
    made = (await api.post("/event-type", sent)).body
    renamed = (await api.patch("/event-type/a", {"description": "e"})).body
    assert {name for name in made if made[name] != renamed[name]} == {"description", "updatedAt"}
    cleared = (await api.patch("/event-type/a", {"featureFlag": None, "schemas": None, "retrySchedule": None})).body
    assert [cleared[name] for name in ("featureFlags", "schemas", "retrySchedule")] == [None, None, None]
    assert (await api.patch("/event-type/a", {"featureFlag": "h"})).body["featureFlags"] == ["h"]
    assert (await api.patch("/event-type/a", {"featureFlags": []})).body["featureFlags"] is None
    assert (await api.patch("/event-type/a", {"description": None})).fields == ["body.description"]
    assert (await api.patch("/event-type/a", {"archived": True})).body["archived"] is True
    assert (await api.patch("/event-type/none", {"archived": True})).status == 404
    assert (await api.patch("/event-type/none", {})).status == 404


async def test_flagged_types_are_hidden_from_those_without_the_flag(api: Api) -> None:
    await api.post("/app", {"name": "one", "uid": "u"})
    for name, flags in [("open", []), ("beta", ["b"]), ("both", ["b", "c"])]:
        await api.post("/event-type", {"name": name, "description": "", "featureFlags": flags})
    plain, with_c = await api.portal("u"), await api.portal("u", featureFlags=["c", "other"])
    assert _names((await plain.get("/event-type")).body) == ["open"]
    assert _names((await with_c.get("/event-type")).body) == ["both", "open"]
    assert _names((await api.get("/event-type")).body) == ["beta", "both", "open"]
    assert (await plain.get("/event-type/beta")).status == 404
    assert (await with_c.get("/event-type/both")).status == 200


async def test_another_organisation_sees_nothing(api: Api, stranger: Api) -> None:
    await api.post("/event-type", {"name": "a", "description": "mine"})
    assert (await stranger.get("/event-type")).body["data"] == []
    for method in ("GET", "PATCH", "DELETE"):
        assert (await stranger.call(method, "/event-type/a", {"description": "x"})).status == 404
    assert (await stranger.put("/event-type/a", {"description": "theirs"})).status == 201
    assert (await api.get("/event-type/a")).body["description"] == "mine"


async def test_names_that_cannot_be_are_not_found(api: Api) -> None:
    for name in ("%00", "a%20b", "x" * 300):
        for method in ("GET", "DELETE", "PATCH"):
            assert (await api.call(method, f"/event-type/{name}", {"archived": True})).status == 404
