"""Deliveries as independent verifiers see them, on the bytes that arrived."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.e2e.customer import Customer
from tests.receiver import Answer, Received, Receiver
from tests.sdk.verifiers import Delivery, npm, standardwebhooks_python, svix_python

NO_MATCH = "No matching signature found"
# Numbers beyond doubles, escapes, blanks and an order of names that no serialiser would make again.
PAYLOADS = (
    '{"text": "Grüße, 世界 ✓ 🎉", "z": 1, "a": 2}'.encode(),
    b'{"n":123456789012345678901234567890,"f":1.000000000000000000010,"e":1E400}',
    rb'{"escaped":"\u00fc\/\ud83d\ude00","nested":{"deep":[[[ {} ]]]}}',
    b'{  "blank" :\t[ 1 ,2 ]\r\n}',
    b"{}",
)
RAW = "<event>Grüße & 世界</event>\n"


def raw(text: str, content_type: str) -> dict[str, object]:
    """The fields of a message that is sent as it stands."""
    return {"payload": {}, "transformationsParams": {"rawPayload": text, "headers": {"content-type": content_type}}}


@pytest.mark.timeout(420)  # the first test installs the judges
@pytest.mark.acceptance("W01")
def test_independent_verifiers_accept_the_bytes_that_arrive(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    endpoint = customer.endpoint(f"{receiver.base}{path}")
    for payload in PAYLOADS:
        customer.send_bytes(payload)
    customer.send(**raw(RAW, "application/xml; charset=utf-8"))
    seen = receiver.wait(path, len(PAYLOADS) + 1)
    assert {one.body for one in seen} == {*PAYLOADS, RAW.encode()}
    assert {one.headers["content-type"] for one in seen} == {"application/json", "application/xml; charset=utf-8"}

    deliveries = [Delivery.of(customer.secret(endpoint), one) for one in seen]
    changed = [replace(one, body=one.body + b" ") for one in deliveries]
    for verdicts in (standardwebhooks_python(deliveries), *npm(deliveries).values(), svix_python("2.9.1", deliveries)):
        assert verdicts == [True] * len(seen)
    for verdicts in (standardwebhooks_python(changed), *npm(changed).values(), svix_python("2.9.1", changed)):
        assert True not in verdicts


@pytest.mark.timeout(420)
@pytest.mark.acceptance("W01")
def test_the_older_names_of_the_headers_are_an_option_of_the_endpoint(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    endpoint = customer.endpoint(f"{receiver.base}{path}", headerStyle="svix")
    message = customer.send({"text": "Grüße"})
    (seen,) = receiver.wait(path)
    assert seen.headers["svix-id"] == message
    assert not [name for name in seen.headers if name.startswith("webhook-")]
    delivery = [Delivery.of(customer.secret(endpoint), seen)]
    assert svix_python("1.99.1", delivery) == [True]
    assert npm(delivery)["svix"] == [True]


@pytest.mark.acceptance("W02")
def test_the_id_stays_over_retries_and_the_timestamp_is_of_the_attempt(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path(Answer(500), Answer(500), Answer(200))
    endpoint = customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 2, 2])
    message = customer.send()
    seen = receiver.wait(path, 3)
    assert [one.id for one in seen] == [message] * 3
    assert "." not in message
    stamps = [int(one.headers["webhook-timestamp"]) for one in seen]
    assert stamps == sorted(set(stamps))
    assert abs(stamps[-1] - time.time()) < 5
    assert len({one.headers["webhook-signature"] for one in seen}) == 3
    assert standardwebhooks_python([Delivery.of(customer.secret(endpoint), one) for one in seen]) == [True] * 3


@pytest.mark.acceptance("W03")
def test_secrets_are_long_enough_and_each_endpoint_has_its_own(customer: Customer, receiver: Receiver) -> None:
    secrets = [customer.secret(customer.endpoint(f"{receiver.base}/unused")) for _ in range(20)]
    assert len(set(secrets)) == 20
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64


@pytest.mark.acceptance("W03")
@pytest.mark.parametrize("length", [0, 16, 23, 65, 128])
def test_a_secret_of_another_length_is_refused(customer: Customer, receiver: Receiver, length: int) -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(length))).decode()
    body = {"url": f"{receiver.base}/unused", "secret": secret}
    reply = customer.api.call("POST", f"/app/{customer.app}/endpoint", body)
    assert (reply.status, reply.fields) == (422, ["body.secret"])


@pytest.mark.acceptance("W03")
def test_an_ed25519_key_signs_v1a_and_only_its_public_half_is_shown(customer: Customer, receiver: Receiver) -> None:
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes_raw() + private.public_key().public_bytes_raw()
    path = receiver.path()
    url = f"{receiver.base}{path}"
    endpoint = customer.endpoint(url, secret="whsk_" + base64.b64encode(secret).decode())
    shown = customer.secret(endpoint)
    assert shown == "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode()
    customer.send({"text": "Grüße"})
    (seen,) = receiver.wait(path)
    assert is_signed_by(shown, seen)
    assert not is_signed_by(shown, replace(seen, body=seen.body + b" "))


def is_signed_by(public: str, seen: Received) -> bool:
    """Whether an entry `v1a` of the signature is of this key, judged by the primitive alone."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    version, signature = seen.headers["webhook-signature"].split(",")
    content = f"{seen.id}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    try:
        key.verify(base64.b64decode(signature), content)
    except InvalidSignature:
        return False
    return version == "v1a"


@contextmanager
def steady_messages(customer: Customer) -> Iterator[list[str]]:
    """Messages sent one after another for as long as the block runs; their ids."""
    sent: list[str] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.02):
            sent.append(customer.send({"n": len(sent)}))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


@pytest.mark.acceptance("W04")
def test_rotation_fails_no_verification(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    endpoint = customer.endpoint(f"{receiver.base}{path}")
    old = customer.secret(endpoint)
    with steady_messages(customer) as sent:
        receiver.wait(path, 20)
        new = customer.api.post(
            f"/app/{customer.app}/endpoint/{endpoint}/secret/rotate", {"gracePeriodSeconds": 3}, 200
        )
        rotated = time.monotonic()
        time.sleep(5)
    seen = receiver.wait_until(path, lambda some: len({one.id for one in some}) == len(sent))
    # A receiver may take up the new secret at any moment of the grace period: half a second in, two seconds in.
    for taken_up in (rotated + 0.5, rotated + 2.0):
        secrets = [new["key"] if one.at > taken_up else old for one in seen]
        verdicts = standardwebhooks_python([Delivery.of(key, one) for key, one in zip(secrets, seen, strict=True)])
        assert [one for one in verdicts if one is not True] == []
    overlap = [one for one in seen if rotated + 0.5 < one.at < rotated + 2.0]
    after = [one for one in seen if one.at > rotated + 4.0]
    assert {len(one.headers["webhook-signature"].split(" ")) for one in overlap} == {2}
    assert {len(one.headers["webhook-signature"].split(" ")) for one in after} == {1}
    assert set(verdicts_of(old, after)) == {NO_MATCH}
    assert customer.secret(endpoint) == new["key"]


def verdicts_of(secret: str, seen: Sequence[Received]) -> list[bool | str]:
    """What PyPI's verifier says of deliveries with one secret."""
    return standardwebhooks_python([Delivery.of(secret, one) for one in seen])


@pytest.mark.acceptance("W04")
def test_a_rotation_without_grace_ends_the_old_secret_for_retries_too(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path(Answer(500), Answer(200))
    endpoint = customer.endpoint(f"{receiver.base}{path}", retrySchedule=[0, 2])
    old = customer.secret(endpoint)
    customer.send()
    receiver.wait(path, 1)
    asked = {"gracePeriodSeconds": 0, "key": "whsec_" + base64.b64encode(b"n" * 32).decode()}
    assert customer.api.post(f"/app/{customer.app}/endpoint/{endpoint}/secret/rotate", asked, 200) == {
        "key": asked["key"]
    }
    seen = receiver.wait(path, 2)
    assert verdicts_of(old, seen) == [True, NO_MATCH]
    assert verdicts_of(str(asked["key"]), seen) == [NO_MATCH, True]


@pytest.mark.acceptance("W01")
def test_what_the_api_shows_of_a_payload_is_what_was_sent(customer: Customer, receiver: Receiver) -> None:
    path = receiver.path()
    customer.endpoint(f"{receiver.base}{path}")
    message = customer.send_bytes(PAYLOADS[0])
    (seen,) = receiver.wait(path)
    shown = customer.api.get(f"/app/{customer.app}/msg/{message}")
    assert shown["payload"] == json.loads(seen.body) == json.loads(PAYLOADS[0])
