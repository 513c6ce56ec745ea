"""Whatever another organisation has does not exist, by whatever operation its id is tried, and stays as it was."""

import re
import secrets
from collections.abc import Iterator, Mapping

import pytest

from tests.api.client import Reply
from tests.api.operations import OPERATIONS, Operation, is_problem
from tests.e2e.customer import Caller
from tests.tenancy.conftest import Town
from tests.tenancy.resident import Resident
from tests.tenancy.rows import snapshot

# An event type has no id: by PUT each organisation makes one of its own under any name.
OWN_BY_NAME = "PUT /event-type/{event_type_name}"
OF_OBJECTS = [one for one in OPERATIONS if "{" in one.path and str(one) != OWN_BY_NAME]
of_objects = pytest.mark.parametrize("operation", OF_OBJECTS, ids=str)
pytestmark = pytest.mark.acceptance("Z01")


def filled(operation: Operation, ours: Resident, theirs: Resident, foreign: frozenset[str]) -> str:
    """The operation's path with these of its places naming what is theirs."""

    def place(match: re.Match[str]) -> str:
        places = theirs.places if match[1] in foreign else ours.places
        operational = match[1] == "endpoint_id" and operation.path.startswith("/operational-webhook")
        return places["operational_id" if operational else match[1]]

    return re.sub(r"{(\w+)}", place, operation.path)


def choices(operation: Operation) -> Iterator[frozenset[str]]:
    """Everything theirs, and each thing alone among ours."""
    names = re.findall(r"{(\w+)}", operation.path)
    yield from {frozenset(names), *(frozenset([name]) for name in names)}


def call(api: Caller, operation: Operation, path: str) -> Reply:
    return api.call(operation.method, path, operation.least() if operation.body else None)


def everything(town: Town) -> Mapping[str, object]:
    """What both have."""
    sessions = town.system.sessions
    return {"ours": snapshot(sessions, town.ours.tenant), "theirs": snapshot(sessions, town.theirs.tenant)}


def test_objects_are_found() -> None:
    assert len(OF_OBJECTS) >= 45


@pytest.mark.parametrize("operation", [one for one in OF_OBJECTS if one.method == "GET"], ids=str)
def test_whose_it_is_finds_it(town: Town, operation: Operation) -> None:
    """Else a 404 would say nothing."""
    reply = call(town.theirs.api, operation, filled(operation, town.theirs, town.theirs, frozenset()))
    assert reply.status in {200, 204}, reply.raw


@of_objects
def test_what_is_theirs_does_not_exist_for_us(town: Town, operation: Operation) -> None:
    before = everything(town)
    for foreign in choices(operation):
        reply = call(town.ours.api, operation, filled(operation, town.ours, town.theirs, foreign))
        assert is_problem(reply, 404), (foreign, reply.raw)
    assert everything(town) == before


@of_objects
def test_nor_for_a_portal_of_ours(town: Town, operation: Operation) -> None:
    token = town.ours.api.post("/auth/app-portal-access/shared", {}, 200)["token"]
    before = everything(town)
    for foreign in choices(operation):
        path = filled(operation, town.ours, town.theirs, foreign)
        reply = call(Caller(town.system.url, token), operation, path)
        assert is_problem(reply, reply.status), reply.raw
        assert reply.status in {403, 404}, (foreign, reply.raw)
    assert everything(town) == before


def test_an_event_type_of_their_name_is_made_beside_theirs(town: Town) -> None:
    name = f"late.{secrets.token_hex(4)}"
    town.theirs.api.post("/event-type", {"name": name, "description": "theirs"})
    before = snapshot(town.system.sessions, town.theirs.tenant)
    assert town.ours.api.call("PUT", f"/event-type/{name}", {"description": "ours"}).status == 201
    assert snapshot(town.system.sessions, town.theirs.tenant) == before
    assert town.theirs.api.get(f"/event-type/{name}")["description"] == "theirs"
