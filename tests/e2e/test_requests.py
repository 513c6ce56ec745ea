"""What customers may ask of deliveries, and what is refused when they write it."""

import json
import urllib.request

import pytest

from tests.e2e.customer import Customer, eventually
from tests.receiver import Receiver
from tests.system import System

FORBIDDEN = (
    "webhook-id",
    "Webhook-Signature",
    "webhook-timestamp",
    "svix-id",
    "SVIX-SIGNATURE",
    "Host",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Upgrade",
    "Proxy-Authorization",
    "Proxy-Connection",
    "X-Forwarded-For",
    "Forwarded",
    "Via",
    "X-Amz-Security-Token",
    "X-Google-Metadata-Request",
    "Metadata-Flavor",
    "X-Azure-Anything",
    "X-MS-Token",
    "X-Real-IP",
    "Cookie",
)
INJECTIONS = (
    ("x-ok", "a\r\nHost: evil"),
    ("x-ok", "a\nb"),
    ("x-ok", "a\rb"),
    ("x-ok", "a\0b"),
    ("x-ok\r\nhost", "a"),
    ("x ok", "a"),
    ("x-ok:", "a"),
    ("", "a"),
    ("x-ök", "a"),
    ("x-ok", "a" * 4097),
)


def assert_refused(customer: Customer, endpoint: str, headers: dict[str, str]) -> None:
    """Every way to set headers answers 422, and changes nothing."""
    at = f"/app/{customer.app}/endpoint"
    before = customer.api.get(f"{at}/{endpoint}/headers")
    asked = (
        ("POST", at, {"url": "http://127.0.0.1/", "headers": headers}),
        ("PUT", f"{at}/{endpoint}/headers", {"headers": headers}),
        ("PATCH", f"{at}/{endpoint}/headers", {"headers": headers}),
        ("POST", "/operational-webhook/endpoint", {"url": "http://127.0.0.1/", "headers": headers}),
    )
    for method, path, body in asked:
        reply = customer.api.call(method, path, body)
        assert reply.status == 422, (method, path, reply.raw)
        assert reply.fields[0].startswith("body")
    assert customer.api.get(f"{at}/{endpoint}/headers") == before


@pytest.mark.acceptance("W12")
def test_protected_headers_are_refused_wherever_they_are_set(customer: Customer, receiver: Receiver) -> None:
    endpoint = customer.endpoint(f"{receiver.base}/unused", headers={"x-kept": "1"})
    for name in FORBIDDEN:
        assert_refused(customer, endpoint, {name: "x"})
    for name, value in INJECTIONS:
        assert_refused(customer, endpoint, {name: value})


@pytest.mark.acceptance("W12")
def test_custom_headers_go_along_and_replace_none_of_ours(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    headers = {"X-Tenant": "größe", "Authorization": "Bearer t"}
    customer.endpoint(f"{receiver.base}{path}", headers=headers)
    message = customer.send()
    (seen,) = receiver.wait(path)
    assert seen.headers["x-tenant"].encode("latin-1") in {"größe".encode(), "größe".encode("latin-1")}
    assert seen.headers["authorization"] == "Bearer t"
    assert seen.headers["host"] == receiver.base.removeprefix("http://")
    assert (seen.id, int(seen.headers["content-length"])) == (message, len(seen.body))


@pytest.mark.acceptance("W13")
def test_test_sends_are_limited(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    endpoint = customer.endpoint(f"{receiver.base}{path}")
    at = f"/app/{customer.app}/endpoint/{endpoint}/send-example"
    replies = [customer.api.call("POST", at, {"eventType": "svix.ping"}) for _ in range(25)]
    sent = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    assert 10 <= len(sent) < 20
    assert len(sent) + len(refused) == 25
    assert refused[0].code == "limit_reached"
    assert int({name.lower(): value for name, value in refused[0].headers.items()}["retry-after"]) >= 1
    assert {one.id for one in receiver.wait(path, len(sent))} == {reply.body["id"] for reply in sent}


@pytest.mark.acceptance("W13", offered=False)
def test_no_ownership_challenge_is_advertised(customer: Customer, receiver: Receiver) -> None:
    endpoint = customer.endpoint(f"{receiver.base}/unused")
    with urllib.request.urlopen(f"{customer.api.base}/openapi.json", timeout=10) as answer:  # noqa: S310  # our server
        document = json.load(answer)
    every = [*document["paths"], *document["components"]["schemas"]]
    names = " ".join(name for name in every if "endpoint" in name.lower()).lower()
    for word in ("challenge", "verify", "verification", "ownership"):
        assert word not in names
        at = f"/app/{customer.app}/endpoint/{endpoint}/{word}"
        assert [customer.api.call(method, at, {}).status for method in ("POST", "PUT")] == [404, 404]


OWN = ("{own}/app/x/msg", "{own}/app/x/msg/", "{own}//app/x/msg", "{own}/%61pp/x/msg", "{own}/app/../app/x/msg?a=b")


@pytest.mark.acceptance("W14")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.0.0.9"])
@pytest.mark.parametrize("form", OWN)
def test_our_own_api_is_no_endpoint(customer: Customer, system: System, host: str, form: str) -> None:
    port = system.url.rpartition(":")[2]
    url = form.format(own=f"http://{host}:{port}/api/v1")
    reply = customer.api.call("POST", f"/app/{customer.app}/endpoint", {"url": url})
    assert (reply.status, reply.fields) == (422, ["body.url"])


@pytest.mark.acceptance("W14")
def test_a_delivery_that_comes_back_is_cut(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    customer.send_bytes(b'{"n": 1}')
    (seen,) = receiver.wait(path)
    # A relay hands our request on to our own ingest, headers included, with a key that may post there.
    passed_on = {name: value for name, value in seen.headers.items() if name not in {"host", "content-length"}}
    reply = customer.api.call(
        "POST", f"/app/{customer.app}/msg", {"eventType": "e2e.test", "payload": {"n": 2}}, headers=passed_on
    )
    assert (reply.status, reply.code) == (400, "loop_detected")
    assert [one["payload"] for one in customer.api.get(f"/app/{customer.app}/msg")["data"]] == [{"n": 1}]
    eventually(lambda: len(receiver.at(path)) == 1)


def test_numbers_of_any_size_reach_the_receiver_unchanged(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    digits = b"9" * 5000, b"1" * 100_000
    payload = b'{"a":123456789012345678901234567890,"b":-%b,"c":1.000000000000000000010,"d":1E400,"f":[%b]}' % digits
    raw = b'{"eventType":"a","payload":' + payload + b"}"
    assert customer.api.call("POST", f"/app/{customer.app}/msg", raw=raw).status == 202
    assert [one.body for one in receiver.wait(path, 1)] == [payload]
