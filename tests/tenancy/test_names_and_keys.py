"""What organisations name is their own, and whatever is remembered of a request is remembered with its organisation."""

from collections.abc import Mapping
from itertools import product

import pytest

from app.domain.ids import decode
from tests.api.operations import OPERATIONS, Operation
from tests.e2e.customer import Caller
from tests.tenancy.conftest import Town
from tests.tenancy.resident import Resident

LISTS = [one for one in OPERATIONS if "iterator" in one.parameters("query")]


def fresh(town: Town) -> tuple[Caller, Caller]:
    """Two new organisations."""
    first, second = (Caller(town.system.url, town.system.new_tenant().key) for _ in range(2))
    return first, second


@pytest.mark.acceptance("Z09")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/app", {"name": "same", "uid": "same"}),
        ("/event-type", {"name": "same", "description": ""}),
        ("/operational-webhook/endpoint", {"url": "http://127.0.0.1:9/", "uid": "same"}),
    ],
)
def test_a_name_that_another_has_is_free(town: Town, path: str, body: Mapping[str, object]) -> None:
    for caller in fresh(town):
        assert caller.call("POST", path, body).status == 201
        assert caller.call("POST", path, body).status == 409


@pytest.mark.acceptance("Z09")
def test_names_below_an_application_of_the_same_name_are_free(town: Town) -> None:
    endpoint = {"url": "http://127.0.0.1:9/", "uid": "same", "disabled": True}
    message = {"eventType": "same", "eventId": "same", "payload": {}}
    for caller in fresh(town):
        caller.post("/app", {"name": "same", "uid": "same"})
        for path, body, status in (("endpoint", endpoint, 201), ("msg", message, 202)):
            answers = [caller.call("POST", f"/app/same/{path}", body).status for _ in range(2)]
            assert answers == [status, 409]


@pytest.mark.acceptance("Z09")
@pytest.mark.acceptance("Z10")
@pytest.mark.parametrize("path", ["/app", "/app/same/msg"])
def test_an_idempotency_key_that_another_used_is_new(town: Town, path: str) -> None:
    ids = set()
    for caller in fresh(town):
        caller.post("/app", {"name": "same", "uid": "same"})
        body = {"name": "again"} if path == "/app" else {"eventType": "same", "payload": {}}
        replies = [caller.call("POST", path, body, headers={"idempotency-key": "same"}) for _ in range(2)]
        assert [("idempotency-replayed" in one.headers) for one in replies] == [False, True]
        ids |= {one.body["id"] for one in replies}
    assert len(ids) == 2


@pytest.mark.acceptance("Z09")
def test_an_event_type_of_the_same_name_has_a_description_of_its_own(town: Town) -> None:
    first, second = fresh(town)
    for caller, text in ((first, "first"), (second, "second")):
        caller.post("/event-type", {"name": "same", "description": text})
    assert [one.get("/event-type/same")["description"] for one in (first, second)] == ["first", "second"]
    assert first.call("PATCH", "/event-type/same", {"description": "changed"}).status == 200
    assert second.get("/event-type/same")["description"] == "second"


@pytest.mark.acceptance("Z10")
@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_an_iterator_leads_through_ones_own_list_only(town: Town, operation: Operation) -> None:
    pages = {one.tenant.key: listed(one, operation) for one in (town.ours, town.theirs)}
    iterators = [page["iterator"] for page in pages.values() if page["iterator"]]
    assert iterators, "nothing is listed, and nothing would be seen"
    for resident, iterator in product((town.ours, town.theirs), iterators):
        reply = resident.api.call("GET", f"{path_of(resident, operation)}?iterator={iterator}")
        is_own = pages[resident.tenant.key]["iterator"] == iterator
        assert reply.status == (200 if is_own else 422), reply.raw


def listed(resident: Resident, operation: Operation) -> Mapping[str, str]:
    page: Mapping[str, str] = resident.api.get(path_of(resident, operation), limit=1)
    return page


def path_of(resident: Resident, operation: Operation) -> str:
    places = dict(resident.places)
    if operation.path.startswith("/operational-webhook"):
        places["endpoint_id"] = places["operational_id"]
    return operation.path.format(**places)


@pytest.mark.acceptance("Z10")
def test_a_task_belongs_to_who_asked_for_it(town: Town) -> None:
    for mine, other in ((town.ours, town.theirs), (town.theirs, town.ours)):
        task = mine.places["task_id"]
        assert mine.api.get(f"/background-task/{task}")["id"] == task
        assert other.api.call("GET", f"/background-task/{task}").status == 404
        assert task not in {one["id"] for one in other.api.get("/background-task")["data"]}


@pytest.mark.acceptance("Z10")
def test_a_portal_token_opens_its_own_application_only(town: Town) -> None:
    """Both have an application of this uid, and the token says whose it is."""
    for resident in (town.ours, town.theirs):
        token = resident.api.post("/auth/app-portal-access/shared", {}, 200)["token"]
        portal = Caller(town.system.url, token)
        assert portal.get("/app/shared")["id"] == resident.places["app_id"]


@pytest.mark.acceptance("Z10")
def test_a_token_that_one_logged_out_with_leaves_the_others_in_force(town: Town) -> None:
    ours, theirs = (
        Caller(town.system.url, one.api.post("/auth/app-portal-access/shared", {}, 200)["token"])
        for one in (town.ours, town.theirs)
    )
    assert ours.call("POST", "/auth/logout").status == 204
    assert ours.call("GET", "/app/shared").status == 401
    assert theirs.call("GET", "/app/shared").status == 200


@pytest.mark.acceptance("Z10")
def test_a_remembered_caller_is_found_by_the_whole_credential(town: Town) -> None:
    """Two callers in turn, so that each is remembered while the other asks."""
    for _ in range(20):
        for resident in (town.ours, town.theirs):
            assert resident.api.get("/app/shared")["id"] == resident.places["app_id"]
            assert Caller(town.system.url, resident.tenant.key[:-1]).call("GET", "/app/shared").status == 401


def test_the_ids_that_are_tried_are_real(town: Town) -> None:
    kinds = {"app_id": "app", "endpoint_id": "ep", "msg_id": "msg", "attempt_id": "atmpt", "task_id": "qtask"}
    for name, prefix in kinds.items():
        ours, theirs = (decode(prefix, one.places[name]) for one in (town.ours, town.theirs))
        assert ours is not None
        assert ours != theirs
