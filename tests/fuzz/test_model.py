"""Whatever is made, changed and deleted in whatever order, the API shows what a small model of it says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.api.client import Reply
from tests.e2e.customer import Caller
from tests.receiver import Receiver
from tests.system import System

RUNS, STEPS = {True: 40, False: 300}, {True: 50, False: 80}
# To make a failure smaller takes minutes.
PHASES = {True: [Phase.generate], False: list(Phase)}
Row = Mapping[str, Any]
# Few, so that they are taken, freed and taken again.
UIDS = st.sampled_from(["a", "b", "c.d", "e-f_g"])
TYPES = st.sampled_from(["four", "one", "two", "two.three"])
LABELS = st.sampled_from(["blue", "green", "red"])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
METADATA = st.dictionaries(TEXT, TEXT, max_size=1)
RATES = st.integers(min_value=1, max_value=2**31 - 1)
PICK = st.integers(min_value=0, max_value=2**16)
SOME_LABELS = st.lists(LABELS, unique=True, max_size=2)
SOME_TYPES = st.lists(TYPES, unique=True, max_size=2)
SPELLINGS = {"eventTypes": "filterTypes", "throttleRate": "rateLimit"}
EMPTY_IS_NONE = ("channels", "eventTypes", "featureFlags", "tags", "throttleRate")
UNSAID = {"version": 1, "headerStyle": "webhook"}

COMMON: dict[str, st.SearchStrategy[Any]] = {
    "uid": st.none() | UIDS,
    "metadata": METADATA,
    "throttleRate": st.none() | RATES,
    "rateLimit": st.none() | RATES,
}
APPLICATION = st.fixed_dictionaries({"name": TEXT}, optional=COMMON)
APPLICATION_PATCH = st.fixed_dictionaries({}, optional={**COMMON, "name": TEXT, "rateLimit": st.just(0) | RATES})
ENDPOINT_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **COMMON,
    "description": TEXT,
    "disabled": st.booleans(),
    "version": st.integers(min_value=1, max_value=2**31 - 1),
    "channels": st.none() | SOME_LABELS,
    "eventTypes": st.none() | SOME_TYPES,
    "filterTypes": st.none() | SOME_TYPES,
    "retrySchedule": st.none() | st.lists(st.integers(min_value=0, max_value=86400), min_size=1, max_size=3),
    "headerStyle": st.none() | st.sampled_from(["svix", "webhook"]),
}
ENDPOINT = st.fixed_dictionaries({}, optional=ENDPOINT_FIELDS)
EVENT_TYPE_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "archived": st.booleans(),
    "deprecated": st.booleans(),
    "groupName": st.none() | UIDS,
    "featureFlags": st.none() | st.lists(UIDS, unique=True, max_size=2),
    "schemas": st.none() | st.just({"1": {"type": "object"}}),
    "retrySchedule": ENDPOINT_FIELDS["retrySchedule"],
}
EVENT_TYPE = st.fixed_dictionaries({"description": TEXT}, optional=EVENT_TYPE_FIELDS)
EVENT_TYPE_PATCH = st.fixed_dictionaries({}, optional={**EVENT_TYPE_FIELDS, "description": TEXT})
MESSAGE = st.fixed_dictionaries(
    {"eventType": TYPES, "payload": st.dictionaries(TEXT, TEXT, max_size=1)},
    optional={"eventId": UIDS, "channels": SOME_LABELS, "tags": SOME_LABELS},
)
FILTERS = st.fixed_dictionaries({}, optional={"event_types": TYPES, "channel": LABELS, "tag": LABELS})
PAGE = st.fixed_dictionaries(
    {"limit": st.integers(min_value=1, max_value=4)}, optional={"order": st.sampled_from(["ascending", "descending"])}
)

NEW_APPLICATION: Row = {"uid": None, "metadata": {}, "throttleRate": None}
NEW_ENDPOINT: Row = {
    **NEW_APPLICATION,
    **UNSAID,
    "description": "",
    "disabled": False,
    "channels": None,
    "eventTypes": None,
    "retrySchedule": None,
}
NEW_EVENT_TYPE: Row = {"archived": False, "deprecated": False} | dict.fromkeys(
    ("groupName", "featureFlags", "schemas", "retrySchedule")
)
NEW_MESSAGE: Row = dict.fromkeys(("eventId", "channels", "tags"))
# What a PUT that leaves them out does not touch.
KEPT = ("uid", "version", "headerStyle", "retrySchedule")


def changed(row: Row, body: Row) -> Row:
    """The row as the body makes it: the newer spelling wins, and some ways to say nothing are the same."""
    older = {old: new for new, old in SPELLINGS.items()}
    given = {older[name]: value for name, value in body.items() if name in older}
    result = {**row, **given, **{name: value for name, value in body.items() if name not in older}}
    result |= {name: result[name] or None for name in EMPTY_IS_NONE if name in result}
    return result | {name: result[name] or value for name, value in UNSAID.items() if name in result}


@dataclass
class Shelf:
    """The things of one list by what it is ordered by, and what a new one has."""

    path: str
    new: Row
    order: str = "ascending"
    key: str = "id"
    rows: dict[str, Row] = field(default_factory=dict)

    def named(self, reference: str) -> str | None:
        """The key of what has this id or uid."""
        names = (key for key, row in self.rows.items() if reference in {key, row.get("uid"), row.get("eventId")})
        return next(names, None)

    def clashes(self, row: Row, key: str | None = None) -> bool:
        """Whether another one has the row's uid."""
        return row["uid"] is not None and self.named(row["uid"]) not in {None, key}

    def page(
        self, keys: Iterable[str], at: str | None, limit: int, order: str, *, back: bool
    ) -> tuple[list[str], bool]:
        """The keys beyond `at` in the order, and whether they are the last ones in the direction."""
        descending = (order == "descending") != back
        rest = sorted((one for one in keys if at is None or (one < at if descending else one > at)), reverse=descending)
        return rest[:limit][:: -1 if back else 1], len(rest) <= limit


@dataclass(frozen=True)
class Mark:
    """Iterators of a page that was read, and between which keys they lead."""

    shelf: Shelf
    query: Row
    first: str
    last: str
    back: str
    onward: str


class Model(RuleBasedStateMachine):
    """One organisation, called over HTTP in every way that changes what it has."""

    def __init__(self, system: System, url: str) -> None:
        super().__init__()
        self.api = Caller(system.url, system.new_tenant().key)
        self.url = url
        self.applications = Shelf("/app", NEW_APPLICATION)
        self.event_types = Shelf("/event-type", NEW_EVENT_TYPE, key="name")
        self.endpoints: dict[str, Shelf] = {}
        self.messages: dict[str, Shelf] = {}
        self.destinations: dict[str, set[str]] = {}
        self.marks: list[Mark] = []
        self.requests = 0

    @initialize(bodies=st.lists(EVENT_TYPE, min_size=2, max_size=2))
    def begin(self, bodies: Sequence[Row]) -> None:
        for name, body in zip(("one", "two"), bodies, strict=True):
            self.put_event_type(name=name, body=body)
        for uid in ("a", "b"):
            self.make_application(body={"name": uid, "uid": uid}, get_if_exists=False, twice=False)
        self.make_endpoint(body={}, pick=0, twice=False)

    @rule(body=APPLICATION, get_if_exists=st.booleans(), twice=st.booleans())
    def make_application(self, body: Row, *, get_if_exists: bool, twice: bool) -> None:
        there = self.applications.named(body.get("uid") or "nobody")
        path = "/app?get_if_exists=true" if get_if_exists else "/app"
        reply = self.post(path, body, twice=twice)
        if there and get_if_exists:
            assert (reply.status, reply.body["id"]) == (200, there)
        elif made := self.made(self.applications, reply, changed(NEW_APPLICATION, body)):
            self.endpoints[made] = Shelf(f"/app/{made}/endpoint", NEW_ENDPOINT, "descending")
            self.messages[made] = Shelf(f"/app/{made}/msg", NEW_MESSAGE, "descending")

    @rule(body=APPLICATION, pick=PICK, uid=UIDS)
    def put_application(self, body: Row, pick: int, uid: str) -> None:
        if made := self.put(self.applications, self.reference(self.applications, pick, uid), body):
            self.endpoints[made] = Shelf(f"/app/{made}/endpoint", NEW_ENDPOINT, "descending")
            self.messages[made] = Shelf(f"/app/{made}/msg", NEW_MESSAGE, "descending")

    @rule(body=APPLICATION_PATCH, pick=PICK, uid=UIDS)
    def patch_application(self, body: Row, pick: int, uid: str) -> None:
        self.patch(self.applications, self.reference(self.applications, pick, uid), body)

    @precondition(lambda self: len(self.applications.rows) > 1)
    @rule(pick=PICK, uid=UIDS)
    def delete_application(self, pick: int, uid: str) -> None:
        if gone := self.delete(self.applications, self.reference(self.applications, pick, uid)):
            for shelf in (self.endpoints.pop(gone), self.messages.pop(gone)):
                assert self.api.call("GET", shelf.path).status == 404

    @precondition(lambda self: self.applications.rows)
    @rule(body=ENDPOINT, pick=PICK, twice=st.booleans())
    def make_endpoint(self, body: Row, pick: int, *, twice: bool) -> None:
        shelf = self.picked(self.endpoints, pick)
        body = {**body, "url": self.url}
        reply = self.post(shelf.path, body, twice=twice)
        if not self.refuses_event_types(reply, body):
            self.made(shelf, reply, changed(NEW_ENDPOINT, body))

    @precondition(lambda self: self.applications.rows)
    @rule(body=ENDPOINT, pick=PICK, uid=UIDS)
    def put_endpoint(self, body: Row, pick: int, uid: str) -> None:
        shelf = self.picked(self.endpoints, pick)
        self.put(shelf, self.reference(shelf, pick, uid), {**body, "url": self.url})

    @precondition(lambda self: self.applications.rows)
    @rule(body=ENDPOINT, pick=PICK, uid=UIDS)
    def patch_endpoint(self, body: Row, pick: int, uid: str) -> None:
        shelf = self.picked(self.endpoints, pick)
        self.patch(shelf, self.reference(shelf, pick, uid), body)

    @precondition(lambda self: any(one.rows for one in self.endpoints.values()))
    @rule(pick=PICK, uid=UIDS)
    def delete_endpoint(self, pick: int, uid: str) -> None:
        shelf = self.picked(self.endpoints, pick)
        self.delete(shelf, self.reference(shelf, pick, uid))

    @rule(name=TYPES, body=EVENT_TYPE, twice=st.booleans())
    def make_event_type(self, name: str, body: Row, *, twice: bool) -> None:
        reply = self.post("/event-type", {**body, "name": name}, twice=twice)
        if self.event_types.rows.get(name, {"archived": True})["archived"]:
            self.shown(self.event_types, reply, 201, changed(NEW_EVENT_TYPE, {**body, "name": name}))
        else:
            assert (reply.status, reply.code) == (409, "event_type_exists")

    @rule(name=TYPES, body=EVENT_TYPE)
    def put_event_type(self, name: str, body: Row) -> None:
        status = 200 if name in self.event_types.rows else 201
        reply = self.api.call("PUT", f"/event-type/{name}", body)
        self.shown(self.event_types, reply, status, changed(NEW_EVENT_TYPE, {**body, "name": name}))

    @rule(name=TYPES, body=EVENT_TYPE_PATCH)
    def patch_event_type(self, name: str, body: Row) -> None:
        self.patch(self.event_types, name, body)

    @rule(name=TYPES, expunge=st.booleans())
    def delete_event_type(self, name: str, *, expunge: bool) -> None:
        row = self.event_types.rows.get(name)
        reply = self.api.call("DELETE", f"/event-type/{name}?expunge={str(expunge).lower()}")
        assert reply.status == (404 if row is None else 204)
        if row and expunge:
            del self.event_types.rows[name]
        elif row:
            self.event_types.rows[name] = {**row, "archived": True}

    @precondition(lambda self: self.applications.rows)
    @rule(bodies=st.lists(MESSAGE, min_size=1, max_size=4), pick=PICK, twice=st.booleans())
    def send(self, bodies: Sequence[Row], pick: int, *, twice: bool) -> None:
        shelf, endpoints = self.picked(self.messages, pick), self.picked(self.endpoints, pick).rows
        for body in bodies:
            reply = self.post(shelf.path, body, twice=twice)
            if shelf.named(body.get("eventId", "nobody")):
                assert (reply.status, reply.code) == (409, "conflict")
            else:
                made = self.shown(shelf, reply, 202, changed(NEW_MESSAGE, body))
                self.destinations[made] = {one for one, row in endpoints.items() if listens(row, body)}

    @precondition(lambda self: any(one.rows for one in self.messages.values()))
    @rule(pick=PICK, uid=UIDS)
    def look_at_message(self, pick: int, uid: str) -> None:
        shelf = self.picked(self.messages, pick)
        reference = self.reference(shelf, pick, uid)
        there = shelf.named(reference)
        self.seen(shelf, self.api.call("GET", f"{shelf.path}/{reference}"), there)
        if there:
            self.went_where_it_should(shelf, there)

    @precondition(lambda self: any(one.rows for one in self.messages.values()))
    @rule(pick=PICK, uid=UIDS)
    def expunge(self, pick: int, uid: str) -> None:
        shelf = self.picked(self.messages, pick)
        reference = self.reference(shelf, pick, uid)
        there = shelf.named(reference)
        assert self.api.call("DELETE", f"{shelf.path}/{reference}/content").status == (204 if there else 404)
        if there:
            shelf.rows[there] = {**shelf.rows[there], "payload": {"expired": True}}

    @rule(pick=PICK, page=PAGE, filters=FILTERS, archived=st.booleans())
    def read_list(self, pick: int, page: Row, filters: Row, *, archived: bool) -> None:
        shelves = [shelf for shelf in self.shelves if shelf.rows]
        shelf = shelves[pick % len(shelves)] if shelves else self.applications
        narrowed = filters if shelf.new is NEW_MESSAGE else {}
        if shelf is self.event_types:
            narrowed = {"with_content": "true", "include_archived": str(archived).lower()}
        self.walk(shelf, {**page, **narrowed})

    @precondition(lambda self: self.marks)
    @rule(pick=PICK, back=st.booleans())
    def go_on_from_where_one_was(self, pick: int, *, back: bool) -> None:
        mark = self.marks.pop(pick % len(self.marks))
        if any(shelf is mark.shelf for shelf in self.shelves):
            self.read(mark.shelf, mark.query, mark, back=back)

    @property
    def shelves(self) -> list[Shelf]:
        """Every list there is."""
        return [self.applications, self.event_types, *self.endpoints.values(), *self.messages.values()]

    def teardown(self) -> None:
        for shelf in self.shelves:
            for key, row in shelf.rows.items():
                self.seen(shelf, self.api.call("GET", f"{shelf.path}/{row.get('uid') or key}"), key)
                if shelf.new is NEW_MESSAGE:
                    self.went_where_it_should(shelf, key)
            whole = {"with_content": "true", "include_archived": "true"} if shelf is self.event_types else {}
            self.walk(shelf, {"limit": 2, **whole})

    def went_where_it_should(self, shelf: Shelf, message: str) -> None:
        """The message is owed to the endpoints that listened when it came."""
        found = self.api.get(f"{shelf.path}/{message}/endpoint", limit=250)
        assert {one["id"] for one in found["data"]} == self.destinations[message]

    def post(self, path: str, body: Row, *, twice: bool) -> Reply:
        """The answer; asked again under the same idempotency key, it must be the same one."""
        self.requests += 1
        headers = {"idempotency-key": f"{self.requests}"}
        reply = self.api.call("POST", path, body, headers=headers)
        if twice:
            again = self.api.call("POST", path, body, headers=headers)
            assert again.status == reply.status
            assert reply.status >= 300 or again.body == reply.body
        return reply

    def put(self, shelf: Shelf, reference: str, body: Row) -> str | None:
        """The key of what was made; None when it was there, or was refused."""
        there = shelf.named(reference)
        before = shelf.rows[there] if there else {}
        start = {**shelf.new, **{name: before[name] for name in KEPT if name in before}}
        reply = self.api.call("PUT", f"{shelf.path}/{reference}", body)
        if self.refuses_event_types(reply, body):
            return None
        if there:
            self.changed(shelf, reply, there, changed(start, body))
            return None
        if reference.partition("_")[0] in {"app", "ep"}:
            assert (reply.status, reply.code) == (404, "not_found")
            return None
        return self.made(shelf, reply, changed(start, {**body, "uid": body.get("uid") or reference}))

    def patch(self, shelf: Shelf, reference: str, body: Row) -> None:
        """Changes what is there."""
        reply = self.api.call("PATCH", f"{shelf.path}/{reference}", body)
        there = shelf.named(reference)
        if there is None:
            assert (reply.status, reply.code) == (404, "not_found")
        elif not self.refuses_event_types(reply, body):
            self.changed(shelf, reply, there, changed(shelf.rows[there], body))

    def delete(self, shelf: Shelf, reference: str) -> str | None:
        """The key of what is gone now, if anything was there."""
        there = shelf.named(reference)
        assert self.api.call("DELETE", f"{shelf.path}/{reference}").status == (204 if there else 404)
        if there:
            del shelf.rows[there]
            assert self.api.call("GET", f"{shelf.path}/{there}").status == 404
        return there

    def made(self, shelf: Shelf, reply: Reply, row: Row) -> str | None:
        """The key of what was made; None when its uid is taken."""
        if shelf.clashes(row):
            assert (reply.status, reply.code) == (409, "conflict")
            return None
        return self.shown(shelf, reply, 201, row)

    def changed(self, shelf: Shelf, reply: Reply, key: str, row: Row) -> None:
        """What is there is as the row says now, or its new uid is taken."""
        if "uid" in row and shelf.clashes(row, key):
            assert (reply.status, reply.code) == (409, "conflict")
        else:
            assert self.shown(shelf, reply, 200, row) == key

    def shown(self, shelf: Shelf, reply: Reply, status: int, row: Row) -> str:
        """The key of what an answer shows, which is as the row says; it is there from now on."""
        assert reply.status == status, reply.raw
        assert_same(row, reply.body)
        key: str = reply.body[shelf.key]
        shelf.rows[key] = row
        return key

    def seen(self, shelf: Shelf, reply: Reply, key: str | None) -> None:
        """An answer shows what is there under this key."""
        assert reply.status == (200 if key else 404), reply.raw
        if key:
            assert_same(shelf.rows[key], reply.body)
            assert reply.body[shelf.key] == key

    def refuses_event_types(self, reply: Reply, body: Row) -> bool:
        """Whether the body names event types that there are none of, which the answer must say."""
        name = "eventTypes" if "eventTypes" in body else "filterTypes"
        if set(body.get(name) or ()) <= self.event_types.rows.keys():
            return False
        assert (reply.status, reply.fields) == (422, [f"body.{name}"]), reply.raw
        return True

    def walk(self, shelf: Shelf, query: Row) -> None:
        """Reads a list page by page to its end."""
        mark, done = self.read(shelf, query, None, back=False)
        while not done:
            mark, done = self.read(shelf, query, mark, back=False)

    def read(self, shelf: Shelf, query: Row, mark: Mark | None, *, back: bool) -> tuple[Mark | None, bool]:
        """A page must hold what the model says lies there. Its iterators, kept too, and whether it is the last."""
        asked = dict(query)
        if mark:
            asked["iterator"] = mark.back if back else mark.onward
        at = (mark.first if back else mark.last) if mark else None
        page = self.api.get(shelf.path, **asked)
        keys = [key for key, row in shelf.rows.items() if passes(row, query)]
        expected = shelf.page(keys, at, query["limit"], query.get("order", shelf.order), back=back)
        assert ([one[shelf.key] for one in page["data"]], page["done"]) == expected, f"{shelf.path}?{urlencode(asked)}"
        for one in page["data"]:
            assert_same(shelf.rows[one[shelf.key]], one)
        found, done = expected
        if found:
            mark = Mark(shelf, query, found[0], found[-1], page["prevIterator"], page["iterator"])
            self.marks.append(mark)
        return mark, done

    def picked(self, shelves: Mapping[str, Shelf], pick: int) -> Shelf:
        """One of the shelves."""
        return list(shelves.values())[pick % len(shelves)]

    def reference(self, shelf: Shelf, pick: int, uid: str) -> str:
        """An id or uid of something that is there, or sometimes a uid that may be."""
        names = [name for key, row in shelf.rows.items() for name in (key, row.get("uid"), row.get("eventId")) if name]
        return names[pick % len(names)] if names and pick % 4 else uid


def listens(endpoint: Row, message: Row) -> bool:
    """Whether an endpoint gets a message."""
    return (
        not endpoint["disabled"]
        and message["eventType"] in (endpoint["eventTypes"] or [message["eventType"]])
        and (not endpoint["channels"] or bool({*endpoint["channels"]} & {*message.get("channels", ())}))
    )


def passes(row: Row, query: Row) -> bool:
    """Whether a list that is narrowed so shows the row."""
    return (
        query.get("event_types", row.get("eventType")) == row.get("eventType")
        and ("channel" not in query or query["channel"] in (row["channels"] or ()))
        and ("tag" not in query or query["tag"] in (row["tags"] or ()))
        and (query.get("include_archived") != "false" or not row["archived"])
    )


def assert_same(row: Row, shown: Row) -> None:
    """What is shown has the row's values, in both spellings."""
    both = {**row, **{old: row[new] for new, old in SPELLINGS.items() if new in row}}
    assert {name: shown[name] for name in both} == both


@pytest.mark.timeout(1500)
def test_the_api_shows_what_the_model_says(system: System, receiver: Receiver, bounded: bool) -> None:  # noqa: FBT001  # a fixture
    class Here(Model):
        def __init__(self) -> None:
            super().__init__(system, receiver.base + receiver.path())

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=RUNS[bounded],
            stateful_step_count=STEPS[bounded],
            derandomize=bounded,
            deadline=None,
            phases=PHASES[bounded],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
