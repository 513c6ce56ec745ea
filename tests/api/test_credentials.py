"""How credentials are given: by a bearer, on some routes as the user name of HTTP Basic, and never two at once."""

import base64
import io
import json

import pytest
from multidict import CIMultiDict

from tests.api.client import Api, Reply
from tests.metrics import counting

LOOKUPS = "postrider_cache_requests_total"
MESSAGE = {"eventType": "a.b", "payload": {}}


def basic(name: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def call(api: Api, method: str, path: str, *credentials: str, **headers: str) -> Reply:
    """A request with these Authorization headers."""
    sent = CIMultiDict(headers)
    for one in credentials:
        sent.add("authorization", one)
    data = None
    if method == "POST":
        data = io.BytesIO(json.dumps(MESSAGE).encode())
        sent.add("content-type", "application/json")
    async with api.http.request(method, f"{api.base}/api/v1{path}", data=data, headers=sent) as answer:
        return Reply(answer.status, answer.headers, await answer.read())


@pytest.fixture
async def messages(api: Api) -> str:
    application = (await api.post("/app", {"name": "a"})).body["id"]
    return f"/app/{application}/msg"


async def test_a_key_is_taken_as_the_user_name_where_a_route_lists_it(api: Api, messages: str) -> None:
    key = str(api.credential)
    assert (await call(api, "GET", "/organisation", basic(key))).status == 200
    assert (await call(api, "POST", messages, basic(key))).status == 202
    assert (await call(api, "POST", f"{messages}?with_content=false", basic(key))).status == 202


async def test_a_key_that_is_remembered_is_counted_apart_from_one_that_is_asked_about(api: Api) -> None:
    # The first has those of others told, and one that nobody knows has these told.
    assert (await api.get("/organisation")).status == 200
    hit, miss = (counting(LOOKUPS, cache="credentials", outcome=one) for one in ("hit", "miss"))
    for _ in range(3):
        assert (await api.get("/organisation")).status == 200
    assert (await call(api, "GET", "/organisation", "Bearer nobody")).status == 401
    # On a machine that is slow one more may be asked about.
    assert (hit.more, miss.more) in {(3, 1), (2, 2)}


@pytest.mark.parametrize("path", ["/app", "/event-type", "/organisation/api-key"])
async def test_elsewhere_it_is_not(api: Api, path: str) -> None:
    refused = await call(api, "GET", path, basic(str(api.credential)))
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("given", ["", "!", "é", "Og==", "eA=="])
async def test_a_user_name_that_is_no_key_is_refused(api: Api, given: str) -> None:
    refused = await call(api, "GET", "/organisation", f"Basic {given}")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")


async def test_a_key_with_a_password_is_refused(api: Api, messages: str) -> None:
    for method, path in (("GET", "/organisation"), ("POST", messages)):
        assert (await call(api, method, path, basic(str(api.credential), "x"))).status == 401


async def test_two_credentials_at_once_are_refused(api: Api, messages: str) -> None:
    bearer = f"Bearer {api.credential}"
    for method, path in (("GET", "/organisation"), ("GET", "/app"), ("POST", messages)):
        for credentials, headers in (
            ([bearer, bearer], {}),
            ([bearer, basic(str(api.credential))], {}),
            ([bearer], {"signature": "sig1=:AA==:"}),
            ([bearer], {"signature-input": "sig1=()"}),
        ):
            refused = await call(api, method, path, *credentials, **headers)
            assert (refused.status, refused.code) == (400, "invalid_request"), (method, path, headers)


async def test_the_document_says_where_basic_is_taken(api: Api) -> None:
    async with api.http.get(f"{api.base}/openapi.json") as answer:
        document = await answer.json()
    taking = {
        f"{method} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if {"Basic": []} in operation.get("security", [])
    }
    assert taking == {"get /api/v1/organisation", "post /api/v1/app/{app_id}/msg"}
    assert document["components"]["securitySchemes"]["Basic"]["scheme"] == "basic"
    assert {"Bearer": []} in document["paths"]["/api/v1/organisation"]["get"]["security"]
