"""Whatever breaks the contract is answered by a 4xx in JSON that says what is wrong, over every operation there is."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import aiohttp
import pytest
import pytest_asyncio
import yarl
from multidict import CIMultiDict
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.models import Application, ApplicationKind, Endpoint, EventType, Message
from app.settings import Settings, read_settings
from tests.api.client import Api, Reply, Tenant, new_tenant
from tests.api.operations import OPERATIONS, WITH_BODY, Operation, Places, is_problem
from tests.api.world import World, uuid_of

MIB = 1024 * 1024
LIMIT = MIB + 64 * 1024
TEXTS = {
    "nothing": b"",
    "blanks": b" \n\t ",
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "cut UTF-8": b'{"name": "\xe2\x82"}',
    "overlong UTF-8": b'{"name": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"name": "\xed\xa0\x80"}',
    "invalid UTF-8 in a name": b'{"\xff": 1}',
    "a byte order mark": b'\xef\xbb\xbf{"name": "a"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "UTF-32 without a mark": '{"name": "a"}'.encode("utf-32-le"),
    "a raw NUL": b'{"name": "a\x00b"}',
    "a NUL behind the end": b'{"name": "a"}\x00',
    "an escaped NUL": rb'{"name": "\u0000"}',
    "an escaped NUL in a name": rb'{"a\u0000b": 1}',
    "an escaped NUL deep down": rb'{"unknown": [{"a": ["x\u0000"]}]}',
    "half of a pair": rb'{"name": "\ud800"}',
    "the other half": rb'{"name": "\uDC00 a"}',
    "a pair in the wrong order": rb'{"name": "\udc00\ud800"}',
    "half of a pair in a name": rb'{"\ud800": 1}',
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"unknown": [Infinity]}',
    "-Infinity": b'{"unknown": {"a": -Infinity}}',
    "a number beyond all": b'{"unknown": 1e999}',
    "a repeated name": b'{"name": "a", "name": "b"}',
    "a repeated name deep down": b'{"unknown": [{"a": {"b": 1, "b": 1}}]}',
    "a name repeated by escapes": rb'{"unknown": {"a": 1, "\u0061": 2}}',
    "an unknown name repeated": b'{"unknown": 1, "unknown": 2}',
    "65 levels": b'{"unknown":' + b"[" * 64 + b"]" * 64 + b"}",
    "65 levels of objects": b'{"a":' * 64 + b"{}" + b"}" * 64,
    "100,000 levels": b"[" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000,
    "an array": b"[]",
    "an array of objects": b'[{"name": "a"}]',
    "a string": b'"text"',
    "a number": b"17",
    "true": b"true",
    "null": b"null",
    "trailing text": b'{"name": "a"} trailing',
    "two objects": b'{"name": "a"}{"name": "b"}',
    "a trailing comma": b'{"name": "a",}',
    "single quotes": b"{'name': 'a'}",
    "a comment": b'{"name": "a" /* b */}',
    "a line break in a string": b'{"name": "a\nb"}',
    "a name without quotes": b'{name: "a"}',
    "a leading zero": b'{"unknown": 01}',
    "a leading plus": b'{"unknown": +1}',
    "hexadecimal": b'{"unknown": 0x10}',
    "an unfinished object": b'{"name": "a"',
    "more members than fit": b"{%b}" % b",".join(b'"%d":1' % number for number in range(10_001)),
    "more items than fit": b'{"unknown":[%b]}' % b",".join([b"1"] * 10_001),
    "more members deep down": b'{"unknown":[%b]}' % b",".join([b'{"a":1}'] * 5_001),
    "a number of 1001 digits": b'{"unknown":%b}' % (b"9" * 1001),
    "a form": b"name=a&uid=b",
    "XML": b"<name>a</name>",
}
CONTENT_TYPES = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=a",
    "application/xml",
    "application/jsonx",
    "application/json, text/plain",
    "text/json",
    "json",
    "*/*",
    "",
    "é",
)
NO_NAMES = (
    "%00",
    "a%00b",
    "%0a",
    "a%20b",
    "%20",
    "%C3%A9",
    "%ff",
    "%",
    "%zz",
    "%252e",
    "..%2f..%2fapp",
    "%2e%2e%5c",
    "a;b",
    "a:b",
    "a,b",
    "'",
    "%27%20OR%20%271%27=%271",
    "{app_id}",
    "*",
    "<script>",
    "x" * 257,
    "x" * 20_000,
)
HUGE = (2**31, 2**63, 2**64, 10**30, 10**999, -(2**63) - 1)
with_body = pytest.mark.parametrize("operation", WITH_BODY, ids=str)
of_the_contract = pytest.mark.parametrize("operation", [one for one in WITH_BODY if not one.is_ours], ids=str)
ours = pytest.mark.parametrize("operation", [one for one in WITH_BODY if one.is_ours], ids=str)


@pytest.fixture(scope="module")
def settings(environment: dict[str, str]) -> Settings:
    """Nothing is refused because there is too much of it."""
    limits = {"POSTRIDER_LIMITS__ADMINISTRATION__KEY": "0", "POSTRIDER_LIMITS__ADMINISTRATION__ORGANISATION": "0"}
    with mock.patch.dict(os.environ, environment | limits, clear=True):
        return read_settings()


@pytest_asyncio.fixture
async def places(api: Api, tenant: Tenant, sessions: sessionmaker[Session]) -> Places:
    return await Places.of(World(api, sessions, tenant.id))


@pytest_asyncio.fixture(scope="module")
async def untouched(http: aiohttp.ClientSession, base_url: str, sessions: sessionmaker[Session]) -> Places:
    """One organisation for all that is refused, since that changes nothing."""
    tenant = new_tenant(sessions)
    return await Places.of(World(Api(http, base_url, tenant.key), sessions, tenant.id))


def test_operations_are_found() -> None:
    assert len(OPERATIONS) >= 58
    assert {"POST /app/{app_id}/msg", "POST /auth/dashboard-access/{app_id}"} <= {str(one) for one in WITH_BODY}


@pytest.mark.acceptance("H08")
@with_body
async def test_a_body_that_is_no_json_object_is_refused(untouched: Places, operation: Operation) -> None:
    for name, text in TEXTS.items():
        reply = await untouched.send_raw(operation, text)
        assert is_problem(reply, 422), (name, reply.raw)
        assert reply.fields[0].startswith("body"), (name, reply.fields)


@of_the_contract
async def test_64_levels_are_taken(places: Places, operation: Operation) -> None:
    deep = json.loads("[" * 63 + "]" * 63)
    assert (await places.send(operation, unknown=deep)).status < 300


async def test_a_payload_may_have_any_number_of_parts(places: Places) -> None:
    payload = b'{"items":[%b],%b}' % (b",".join([b"1"] * 20_000), b",".join(b'"%d":1' % one for one in range(20_000)))
    reply = await places.send_raw(_ingest(), b'{"eventType":"a","payload":%b}' % payload)
    assert reply.status == 202
    assert payload in reply.raw


@pytest.mark.acceptance("H08")
async def test_what_is_wrong_in_many_ways_is_refused_too(untouched: Places) -> None:
    deep, long = b"[" * 65 + b"]" * 65, b",".join([b"1"] * 10_001)
    both = b'{"a":%b,"a":[%b],"b":"\x00","c":%b,"d":"\xff"}' % (deep, long, b"9" * 2000)
    for text in (
        both,
        both.replace(b"\xff", b""),
        both.replace(b"\xff", b"").replace(b"\x00", b""),
        both[:-1],
        both * 2,
    ):
        for operation in WITH_BODY:
            assert is_problem(await untouched.send_raw(operation, text), 422), str(operation)


async def test_a_payload_may_use_all_of_the_levels(places: Places) -> None:
    for levels, status in ((63, 202), (64, 422)):
        raw = b'{"eventType":"a","payload":' + b'{"a":' * (levels - 1) + b"{}" + b"}" * levels
        assert (await places.send_raw(_ingest(), raw)).status == status


@pytest.mark.acceptance("H09")
@with_body
async def test_other_content_types_are_refused(untouched: Places, operation: Operation) -> None:
    for content_type in CONTENT_TYPES:
        raw = json.dumps(operation.least()).encode()
        reply = await untouched.send_raw(operation, raw, **{"content-type": content_type})
        assert is_problem(reply, 415), (content_type, reply.raw)


@with_body
async def test_a_body_without_a_content_type_is_refused(untouched: Places, operation: Operation) -> None:
    answer = await _exchange(untouched, operation, b"content-length: 2\r\n", b"{}")
    assert is_problem(answer, 415)


@pytest.mark.acceptance("H08")
@with_body
async def test_a_long_body_is_refused_before_it_is_sent(untouched: Places, operation: Operation) -> None:
    for length in (LIMIT + 1, 10**12, 2**63 - 1):
        head = f"content-type: application/json\r\ncontent-length: {length}\r\n".encode()
        answer = await _exchange(untouched, operation, head, b"")
        assert is_problem(answer, 413), answer.raw
        assert answer.code == "payload_too_large"


@pytest.mark.acceptance("H08")
@with_body
async def test_a_long_body_without_a_length_is_cut_as_it_comes(untouched: Places, operation: Operation) -> None:
    head = b"content-type: application/json\r\ntransfer-encoding: chunked\r\n"
    sent, answer = await _pour(untouched, operation, head, b"10000\r\n%b\r\n" % (b" " * 65536))
    assert is_problem(answer, 413), answer.raw
    # What lies in the buffers of both sides comes on top.
    assert sent < 32 * MIB


async def test_a_payload_of_a_mebibyte_is_taken_and_one_byte_more_is_not(places: Places) -> None:
    operation = _ingest()
    for size, status in ((MIB, 202), (MIB + 1, 413)):
        payload = b'{"a":"' + b"x" * (size - 8) + b'"}'
        assert len(payload) == size
        reply = await places.send_raw(operation, b'{"eventType":"a","payload":' + payload + b"}")
        assert reply.status == status
        if status == 413:
            assert is_problem(reply, 413)
        else:
            shown = await places.api.get(f"{places.world.path}/msg/{reply.body['id']}")
            assert payload in shown.raw


@pytest.mark.acceptance("H08")
@with_body
async def test_integers_beyond_all_bounds_are_refused_by_name(untouched: Places, operation: Operation) -> None:
    for name in operation.fields:
        if "integer" not in json.dumps(operation.fields[name]):
            continue
        for huge in HUGE:
            value: object = [huge] if "array" in json.dumps(operation.fields[name]) else huge
            if name == "application":
                value = {"name": "a", "throttleRate": huge}
            reply = await untouched.send(operation, **{name: value})
            assert is_problem(reply, 422), (name, huge, reply.raw)
            assert reply.fields[0].startswith(f"body.{name}"), (name, reply.fields)


@with_body
async def test_a_field_of_another_type_is_refused_by_name(untouched: Places, operation: Operation) -> None:
    for name, schema in operation.fields.items():
        for value in _of_other_types(schema):
            reply = await untouched.send(operation, **{name: value})
            assert is_problem(reply, 422), (name, value, reply.raw)
            assert reply.fields[0].startswith(f"body.{name}"), (name, value, reply.fields)


@with_body
async def test_a_missing_field_is_named(untouched: Places, operation: Operation) -> None:
    for name in operation.body.get("required", ()):
        least = {key: value for key, value in operation.least().items() if key != name}
        reply = await untouched.send_raw(operation, json.dumps(least).encode())
        assert is_problem(reply, 422)
        assert reply.fields == [f"body.{name}"]


INTEGERS = b'{"a":123456789012345678901234567890,"b":-%b,"c":1.000000000000000000010,"d":1E400,"e":0,"f":[%b]}' % (
    b"9" * 5000,
    b"1" * 100_000,
)


async def test_numbers_of_any_size_come_back_unchanged(places: Places) -> None:
    reply = await places.send_raw(_ingest(), b'{"eventType":"a","payload":' + INTEGERS + b"}")
    assert reply.status == 202
    assert INTEGERS in reply.raw
    endpoint = places.world.endpoints[0]
    message = json.loads(reply.raw[: reply.raw.index(b",")] + b"}")["id"]
    for path in (f"/msg/{message}", "/msg", f"/endpoint/{endpoint}/msg"):
        assert INTEGERS in (await places.api.get(places.world.path + path)).raw, path


UNKNOWN = {"unknown": {"a": [1]}, "Name": 7, "__proto__": {"admin": True}, "constructor": 1, "": None, "é": "ü"}


@of_the_contract
async def test_unknown_fields_are_ignored(places: Places, operation: Operation) -> None:
    reply = await places.send(operation, **UNKNOWN)
    assert reply.status < 300, reply.raw
    if reply.raw:
        assert not UNKNOWN.keys() & reply.body.keys()


OURS = "org_00000000000000000000000000"
PAST = "2001-01-01T00:00:00Z"
PROTECTED: Mapping[str, object] = {
    "id": "app_00000000000000000000000000",
    "organisationId": OURS,
    "environment_id": OURS,
    "applicationId": "app_00000000000000000000000000",
    "application_id": "app_00000000000000000000000000",
    "createdAt": PAST,
    "created_at": PAST,
    "updatedAt": PAST,
    "deletedAt": PAST,
    "deleted_at": PAST,
    "kind": 1,
    "disabledReason": "gone",
    "exampleTat": PAST,
    "timestamp": PAST,
    "fanOut": 0,
    "payloadExpiresAt": PAST,
    "contentType": "text/evil",
    "token": "forged",
    "status": 0,
    "task": "forged",
}


@of_the_contract
async def test_protected_fields_never_bind(places: Places, operation: Operation, tenant: Tenant) -> None:
    forged = {name: value for name, value in PROTECTED.items() if name not in operation.fields}
    began = datetime.now(UTC) - timedelta(minutes=1)
    reply = await places.send(operation, **forged)
    assert reply.status < 300, reply.raw
    for name, value in (reply.body if reply.raw else {}).items():
        assert value != forged.get(name, object()), name
        if name in {"createdAt", "updatedAt", "timestamp"}:
            assert datetime.fromisoformat(value) > began, name
    _all_is_ours(places, tenant)


def _all_is_ours(places: Places, tenant: Tenant) -> None:
    with places.world.sessions() as db:
        for table in (Application, Endpoint, EventType, Message):
            made = db.scalars(select(table.created_at).where(table.environment_id == tenant.id)).all()
            assert all(moment > datetime(2002, 1, 1, tzinfo=UTC) for moment in made)
        kinds = db.scalars(select(Application.kind).filter_by(environment_id=tenant.id)).all()
        assert kinds.count(ApplicationKind.operational) == 1
        assert db.scalars(select(Application).where(Application.id == uuid_of(OURS))).all() == []


@ours
async def test_our_own_routes_refuse_unknown_fields(untouched: Places, operation: Operation) -> None:
    forged = {name: value for name, value in PROTECTED.items() if name not in operation.fields}
    for name, value in {**UNKNOWN, **forged}.items():
        reply = await untouched.send(operation, **{name: value})
        assert is_problem(reply, 422), reply.raw
        assert reply.fields == [f"body.{name}"]


NAMING = [one for one in OPERATIONS if "{" in one.path]


@pytest.mark.parametrize("operation", NAMING, ids=str)
async def test_what_is_no_name_is_not_found(untouched: Places, operation: Operation) -> None:
    body = json.dumps(operation.least()).encode() if operation.body else None
    for place in re.findall(r"{(\w+)}", operation.path):
        wrong = (*NO_NAMES, *(() if operation.method == "PUT" else _of_other_kinds(untouched, place)))
        for name in wrong:
            reply = await _call_exactly(untouched, operation.method, untouched.path(operation, **{place: name}), body)
            assert reply.status in {404, 422}, (place, name, reply.raw)
            assert is_problem(reply, reply.status), (place, name)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.parameters("query")], ids=str)
async def test_values_in_the_query_that_cannot_be(untouched: Places, operation: Operation) -> None:
    body = json.dumps(operation.least()).encode() if operation.body else None
    for name, schema in operation.parameters("query").items():
        for value, status in _wrong_values(name, schema):
            path = untouched.path(operation)
            headers = operation.whatever_version
            reply = await untouched.api.call(operation.method, path, raw=body, query={name: value}, headers=headers)
            assert is_problem(reply, status), (name, value, reply.raw)
            if status == 422:
                assert reply.fields[0].startswith(f"query.{name}"), (name, value, reply.fields)
            else:
                assert name in reply.body["detail"]


KEYED = [one for one in OPERATIONS if "idempotency-key" in one.parameters("header")]


@pytest.mark.parametrize("operation", KEYED, ids=str)
async def test_an_idempotency_key_that_cannot_be_is_named(untouched: Places, operation: Operation) -> None:
    body = json.dumps(operation.least()).encode() if operation.body else b""
    head = b"content-type: application/json\r\ncontent-length: %d\r\nidempotency-key: " % len(body)
    for key in (b"", b"x" * 257, b"x" * 20_000, b"\xc3\xa9", b"\xff", b"a\tb"):
        reply = await _exchange(untouched, operation, head + key + b"\r\n", body)
        assert is_problem(reply, 422), (key, reply.raw)
        assert reply.fields == ["header.idempotency-key"]


# It asks a name server between two transactions, and changes nothing when it is done once more.
ASKS_AGAIN = "/organisation/identity-provider/{provider_id}/domain/{domain}/verify"


def test_every_post_takes_an_idempotency_key() -> None:
    assert [one for one in OPERATIONS if one.method == "POST" and one.path != ASKS_AGAIN] == KEYED


WITHOUT_CREDENTIAL = ("/health", "/health/ping", "/audit/download.csv")


@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer  ", "Basic YTpi", "Bearer x", "Bearer \xff", "Bearer " + "x" * 60_000, "Bearer a.b.c", "é"],
)
async def test_a_credential_that_cannot_be_is_refused(untouched: Places, credential: str) -> None:
    for operation in OPERATIONS:
        if operation.path in WITHOUT_CREDENTIAL:
            continue
        headers = f"authorization: {credential}\r\n".encode("latin-1")
        reply = await _exchange(untouched, operation, headers, b"", credential=b"")
        assert is_problem(reply, 401), (str(operation), reply.raw)
        assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "lines",
    [
        b"\xff\r\n",
        b"content-length: -1\r\n",
        b"content-length: abc\r\n",
        b"content-length: 1e3\r\n",
        b"content-length: %b\r\n" % (b"9" * 40),
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip\r\n",
        b"a\x00b: c\r\n",
        b"a: b\x00c\r\n",
        b"a b: c\r\n",
        b"no colon\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_json(untouched: Places, lines: bytes) -> None:
    reply = await _exchange(untouched, _ingest(), lines, b"{}")
    assert is_problem(reply, 400)


@pytest.mark.parametrize("more", [b"x" * 65536, b"x: y\r\n" * 10_000])
async def test_a_head_without_end_is_cut_as_it_comes(untouched: Places, more: bytes) -> None:
    sent, answer = await _pour(untouched, _ingest(), b"a: b", more)
    assert is_problem(answer, 431), answer.raw
    assert answer.code == "headers_too_large"
    assert sent < 32 * MIB


@pytest.mark.parametrize("query", ["", "?with_content=true"])
async def test_who_goes_away_in_the_middle_of_a_body_is_no_error(
    places: Places, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = _head(places, _ingest(), b"content-type: application/json\r\ncontent-length: 9\r\n", None)
    async with _connected(places) as (_, writer):
        writer.write(head.replace(b"/msg ", b"/msg%b " % query.encode()) + b'{"a"')
        await writer.drain()
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.2)
    assert [one for one in caplog.records if one.levelname in {"ERROR", "CRITICAL"}] == []
    assert (await places.api.get("/health")).status == 200


@pytest.mark.acceptance("H09")
@pytest.mark.parametrize("path", ["/app", "/app/u", "/event-type/u", "/health", "/app/u/msg", "/auth/logout"])
async def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_takes(api: Api, path: str) -> None:
    there = {one.method for one in OPERATIONS if re.sub(r"{\w+}", "u", one.path) == path}
    taken = sorted(there | {"OPTIONS"} | ({"HEAD"} if "GET" in there else set()))
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - there:
        reply = await api.call(method, path)
        assert is_problem(reply, 405), method
        assert (reply.code, reply.headers["allow"].split(", ")) == ("method_not_allowed", taken)
    options = await api.with_credential(None).call("OPTIONS", path)
    assert (options.status, options.raw, options.headers["allow"].split(", ")) == (204, b"", taken)


async def test_head_answers_as_get_without_the_body(places: Places) -> None:
    for path in ("/health", "/app", places.world.path, "/app/none", "/nothing"):
        get, head = [await places.api.call(method, path) for method in ("GET", "HEAD")]
        assert (head.status, head.raw) == (get.status, b"")
        assert head.headers["content-type"] == "application/json"
        if get.status == 200:
            assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("path", ["/nothing", "/app/a/b/c", "/app//msg", "/event-type/a/b", "/", "", "/%00", "/APP"])
async def test_a_path_that_is_not_there_is_not_found(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS", "TRACE"):
        assert is_problem(await api.call(method, path), 404), method


async def test_a_message_of_a_taken_event_id_gives_its_idempotency_key_back(places: Places) -> None:
    path = places.path(_ingest())
    body = {"eventType": "a", "eventId": "e", "payload": {}}
    assert (await places.api.post(path, body, key="first")).status == 202
    for _ in range(2):
        assert is_problem(await places.api.post(path, body, key="second"), 409)
    assert (await places.api.post(path, {**body, "eventId": "f"}, key="second")).status == 202


def _ingest() -> Operation:
    return next(one for one in OPERATIONS if str(one) == "POST /app/{app_id}/msg")


def _of_other_types(schema: Mapping[str, Any]) -> Iterator[object]:
    """Values of every type that the field does not take; text and objects that it may take are left out."""
    taken = {one.get("type", "string") for one in schema.get("anyOf", [schema])}
    samples: dict[str, object] = {
        "boolean": True,
        "integer": 1,
        "number": 1.5,
        "string": "x",
        "array": [1],
        "object": {"x": 1},
        "null": None,
    }
    yield from (value for name, value in samples.items() if name not in taken)


def _of_other_kinds(places: Places, place: str) -> tuple[str, ...]:
    """Names that are well formed, of things that are something else or gone."""
    suffix = places.world.app_id.split("_")[1]
    kinds = {"app_id": "app", "endpoint_id": "ep", "msg_id": "msg", "attempt_id": "atmpt", "task_id": "qtask"}
    others = [f"{prefix}_{suffix}" for prefix in (*kinds.values(), "org", "key") if prefix != kinds.get(place)]
    return (*others, "null", "undefined", "..", "0", f"{kinds.get(place, 'x')}_{suffix[:-1]}", suffix)


def _wrong_values(name: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Values that the parameter does not take, with the status: 400 cannot be read, 422 is out of range."""
    every = schema.get("anyOf", [schema])
    types = {one.get("type") for one in every}
    if "integer" in types:
        yield from ((text, 400) for text in ("x", "1.5", "", "0x1", "1e1", "٣x", "null"))
        bounds = next(one for one in every if one.get("type") == "integer")
        yield from ((str(bounds["maximum"] + 1), 422) for _ in range("maximum" in bounds))
        yield from ((str(bounds["minimum"] - 1), 422) for _ in range("minimum" in bounds))
        yield from ((text, 422) for text in ("9" * 40, "-" + "9" * 40))
    if "boolean" in types:
        yield from ((text, 400) for text in ("maybe", "", "2", "null"))
    if any("enum" in one for one in every):
        yield from ((text, 400) for text in ("x", "", "ASCENDING", "\x00"))
    if any(one.get("format") == "date-time" for one in every):
        yield from ((text, 400) for text in ("x", "", "0", "2020-01-01", "2020-01-01T00:00:00", "2020-13-01T00:00:00Z"))
    if any("pattern" in one for one in every):
        yield from ((text, 422) for text in ("\x00", "x" * 257))
    if name == "iterator":
        yield from ((text, 422) for text in ("x", "-", "\x00", "é", "x" * 20_000))


async def _call_exactly(places: Places, method: str, path: str, body: bytes | None) -> Reply:
    """The request with its path as it is written, which clients otherwise clean."""
    headers = {"authorization": f"Bearer {places.api.credential}", "content-type": "application/json"}
    url = yarl.URL(f"{places.api.base}/api/v1{path}", encoded=True)
    async with places.api.http.request(method, url, data=body, headers=headers) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


async def _exchange(
    places: Places, operation: Operation, lines: bytes, body: bytes, *, credential: bytes | None = None
) -> Reply:
    """What is answered to a request written by hand; nothing is sent behind `body`."""
    async with _connected(places) as (reader, writer):
        writer.write(_head(places, operation, lines, credential) + body)
        return await asyncio.wait_for(_read(reader), 10)


async def _pour(places: Places, operation: Operation, lines: bytes, chunk: bytes) -> tuple[int, Reply]:
    """How many bytes were taken until an answer came, and the answer."""
    async with _connected(places) as (reader, writer):
        writer.write(_head(places, operation, lines, None))
        answer = asyncio.create_task(_read(reader))
        sent = 0
        while not answer.done() and sent < 64 * MIB:
            writer.write(chunk)
            sent += len(chunk)
            await asyncio.wait({answer, asyncio.create_task(writer.drain())}, return_when=asyncio.FIRST_COMPLETED)
        return sent, await asyncio.wait_for(answer, 10)


@asynccontextmanager
async def _connected(places: Places) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = yarl.URL(places.api.base)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def _head(places: Places, operation: Operation, lines: bytes, credential: bytes | None) -> bytes:
    who = f"authorization: Bearer {places.api.credential}\r\n".encode() if credential is None else credential
    path = f"{operation.method} /api/v1{places.path(operation)} HTTP/1.1\r\nhost: localhost\r\n".encode()
    return path + who + lines + b"\r\n"


async def _read(reader: asyncio.StreamReader) -> Reply:
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = CIMultiDict((name, value) for name, _, value in (line.partition(": ") for line in lines if line))
    return Reply(int(status.split()[1]), headers, await reader.readexactly(int(headers["content-length"])))
