"""A payload arrives as the bytes that were posted, or is refused by name, on both ways into the API."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.client import Reply
from tests.api.operations import is_problem
from tests.e2e.customer import Caller, Customer
from tests.fuzz.json_texts import PAYLOADS, broken
from tests.receiver import Receiver
from tests.sdk.verifiers import Delivery, standardwebhooks_python
from tests.system import System

SENT = {True: 150, False: 2000}
POSTED = {True: 800, False: 8000}
PATIENCE_SECONDS = {True: 60.0, False: 300.0}
REFUSALS = {400, 413, 415, 422}
BODIES = PAYLOADS.map(lambda text: b'{"eventType":"a","tags":["b"],"payload":' + text.encode() + b"}")
CONTENT_TYPES = st.sampled_from(["application/json"] * 9 + ["text/plain", "application/jsonx", ""])
pytestmark = pytest.mark.timeout(900)


def many(examples: int, *, bounded: bool) -> settings:
    """So many examples, the same ones each time in the short form."""
    calm = [HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large]
    return settings(max_examples=examples, derandomize=bounded, deadline=None, suppress_health_check=calm)


@pytest.fixture
def customer(system: System) -> Customer:
    return Customer(Caller(system.url, system.new_tenant().key))


def test_what_arrives_is_what_was_sent(customer: Customer, receiver: Receiver, bounded: bool) -> None:  # noqa: FBT001  # a fixture
    path = receiver.path()
    endpoint = customer.endpoint(receiver.base + path)
    sent: dict[str, bytes] = {}

    @many(SENT[bounded], bounded=bounded)
    @given(payload=PAYLOADS.map(str.encode), raw=st.booleans())
    def send(payload: bytes, raw: bool) -> None:  # noqa: FBT001  # drawn
        if raw:
            message = customer.send(transformationsParams={"rawPayload": payload.decode()})
        else:
            message = customer.send_bytes(payload)
            assert payload in customer.api.call("GET", f"/app/{customer.app}/msg/{message}").raw
        sent[message] = payload

    send()
    arrived = receiver.wait_until(
        path, lambda seen: sent.keys() <= {one.id for one in seen}, seconds=PATIENCE_SECONDS[bounded]
    )
    assert {one.id: one.body for one in arrived} == sent
    secret = customer.secret(endpoint)
    assert set(standardwebhooks_python([Delivery.of(secret, one) for one in arrived])) == {True}


def test_a_broken_body_is_refused_in_the_same_words_on_both_ways(customer: Customer, bounded: bool) -> None:  # noqa: FBT001  # a fixture
    @many(POSTED[bounded], bounded=bounded)
    @given(body=broken(BODIES) | BODIES, content_type=CONTENT_TYPES)
    def post(body: bytes, content_type: str) -> None:
        path, headers = f"/app/{customer.app}/msg", {"content-type": content_type}
        # A query leads around the lane in which messages come in fast.
        lane, route = (
            customer.api.call("POST", f"{path}{query}", raw=body, headers=headers)
            for query in ("", "?with_content=true")
        )
        assert said(lane) == said(route), (lane.raw, route.raw)
        if lane.status != 202:
            assert lane.status in REFUSALS
            assert is_problem(lane, lane.status), lane.raw
            assert lane.status != 422 or all(one.split(".")[0] == "body" for one in lane.fields), lane.raw
            # Of what there is nothing there is no type either.
            assert (lane.status == 415) == (body != b"" and content_type != "application/json"), lane.raw
        else:
            assert content_type == "application/json"
            assert lane.raw.partition(b', "payload": ')[2][:-1] in body

    post()


def said(reply: Reply) -> tuple[int, object]:
    """What an answer says, without what is new in each."""
    shown = {name: value for name, value in reply.body.items() if name not in {"id", "timestamp", "requestId"}}
    return reply.status, json.dumps(shown)
