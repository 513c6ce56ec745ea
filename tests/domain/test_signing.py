"""Signatures: published vectors, the PyPI judge, and everything that must not verify."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from app.domain import signing
from app.domain.signing import AsymmetricKey, Key, SymmetricKey

ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1614265330
BODY = b'{"test": 2432232314}'
SYMMETRIC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SYMMETRIC_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
PRIVATE_SIGNATURE = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
SEED_ONLY = "whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk="
SEED_ONLY_SIGNATURE = "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag=="

VECTORS = [(SYMMETRIC, SYMMETRIC_SIGNATURE), (PRIVATE, PRIVATE_SIGNATURE), (SEED_ONLY, SEED_ONLY_SIGNATURE)]
# HMAC fills short keys up with zeros, so keys that differ only there are the same key.
SECRETS = st.binary(min_size=23, max_size=63).map(lambda secret: secret + b"\x01")
SEEDS = st.binary(min_size=32, max_size=32)
KEYS = st.one_of(SECRETS.map(SymmetricKey), SEEDS.map(AsymmetricKey))


@pytest.mark.parametrize(("secret", "signature"), VECTORS)
def test_published_vectors(secret: str, signature: str) -> None:
    keys = [signing.parse_secret(secret)]
    assert signing.sign(ID, AT, BODY, keys) == signature
    assert signing.verify(ID, str(AT), BODY, signature, keys, now=AT)


def test_public_key_is_what_a_receiver_is_shown() -> None:
    key = signing.parse_secret(PRIVATE)
    assert isinstance(key, AsymmetricKey)
    assert key.public == key.shown == PUBLIC
    assert key.text == PRIVATE
    assert signing.parse_secret(SYMMETRIC).shown == SYMMETRIC


def test_rotation_signs_with_every_live_key_in_order() -> None:
    new, old = signing.parse_secret(PRIVATE), signing.parse_secret(SYMMETRIC)
    header = signing.sign(ID, AT, BODY, [new, old])
    assert header == f"{PRIVATE_SIGNATURE} {SYMMETRIC_SIGNATURE}"
    assert signing.verify(ID, str(AT), BODY, header, [old], now=AT)
    assert signing.verify(ID, str(AT), BODY, header, [new], now=AT)


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(exclude_categories=["Cs"])))
def test_w01_the_judge_verifies(secret: bytes, text: str) -> None:
    """W01: PyPI `standardwebhooks` accepts our headers over the raw bytes."""
    now = int(time.time())
    key = SymmetricKey(secret)
    headers = signing.delivery_headers("webhook", ID, now, signing.sign(ID, now, text.encode(), [key]))
    Webhook(key.text).verify(text.encode(), headers, json_parse=False)


def test_header_names() -> None:
    assert signing.delivery_headers("webhook", ID, AT, "v1,x") == {
        "webhook-id": ID,
        "webhook-timestamp": str(AT),
        "webhook-signature": "v1,x",
    }
    assert list(signing.delivery_headers("svix", ID, AT, "v1,x")) == [
        "svix-id",
        "svix-timestamp",
        "svix-signature",
    ]


@given(KEYS, st.binary())
def test_round_trip(key: Key, body: bytes) -> None:
    keys = [signing.parse_secret(key.text)]
    assert keys == [key]
    assert signing.verify(ID, str(AT), body, signing.sign(ID, AT, body, keys), keys, now=AT)


@given(KEYS, KEYS, st.binary(max_size=50), st.binary(max_size=50))
def test_another_key_or_body_does_not_verify(key: Key, other: Key, body: bytes, changed: bytes) -> None:
    header = signing.sign(ID, AT, body, [key])
    assert signing.verify(ID, str(AT), body, header, [other], now=AT) == (key == other)
    assert signing.verify(ID, str(AT), changed, header, [key], now=AT) == (body == changed)


@pytest.mark.parametrize(("shift", "accepted"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_tolerance(shift: int, accepted: bool) -> None:  # noqa: FBT001
    keys = [signing.parse_secret(SYMMETRIC)]
    assert signing.verify(ID, str(AT), BODY, SYMMETRIC_SIGNATURE, keys, now=AT + shift) is accepted


@pytest.mark.parametrize("stamp", ["", " ", "1614265330.0", "+1614265330", "1_614_265_330", "١", "9" * 5000, "x"])
def test_malformed_timestamp_does_not_verify(stamp: str) -> None:
    keys = [signing.parse_secret(SYMMETRIC)]
    assert not signing.verify(ID, stamp, BODY, SYMMETRIC_SIGNATURE, keys, now=AT, tolerance=10**9)


@pytest.mark.parametrize(
    "header",
    ["", " ", "v1", "v1,", "v1,!!", "v1,é", "v1a," + SYMMETRIC_SIGNATURE[3:], "v2," + SYMMETRIC_SIGNATURE[3:],
     SYMMETRIC_SIGNATURE[:-6], SYMMETRIC_SIGNATURE[3:]],
)  # fmt: skip
def test_malformed_signature_does_not_verify(header: str) -> None:
    keys = [signing.parse_secret(SYMMETRIC), signing.parse_secret(PRIVATE)]
    assert not signing.verify(ID, str(AT), BODY, header, keys, now=AT)


@pytest.mark.parametrize("form", [SYMMETRIC, SYMMETRIC.removeprefix("whsec_")])
def test_the_prefix_of_a_symmetric_secret_is_optional(form: str) -> None:
    assert signing.parse_secret(form).text == SYMMETRIC


def test_missing_padding_is_forgiven() -> None:
    padded = signing.generate_symmetric(bytes(32))
    assert padded.endswith("=")
    assert signing.parse_secret(padded.rstrip("=")).text == padded


def secret_of(prefix: str, size: int) -> str:
    return prefix + base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whsec_%", "not base64"),
        ("whsec_Ünicode", "not base64"),
        ("", "24 to 64"),
        (secret_of("whsec_", 23), "24 to 64"),
        (secret_of("", 65), "24 to 64"),
        (PUBLIC, "cannot sign"),
        (secret_of("whsk_", 31), "32 bytes"),
        (secret_of("whsk_", 64), "does not belong"),
    ],
)
def test_bad_secrets_are_refused_without_being_repeated(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        signing.parse_secret(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("size", [24, 64])
def test_sizes_at_the_edge_are_accepted(size: int) -> None:
    assert signing.parse_secret(signing.generate_symmetric(bytes(size))) == SymmetricKey(bytes(size))


def test_generated_pair_reads_back() -> None:
    assert signing.parse_secret(signing.generate_asymmetric(bytes(32))) == AsymmetricKey(bytes(32))


def test_secrets_stay_out_of_repr() -> None:
    assert repr(signing.parse_secret(SYMMETRIC)) == "SymmetricKey()"
    assert repr(signing.parse_secret(PRIVATE)) == "AsymmetricKey()"


def test_w02_an_id_with_a_dot_is_never_signed() -> None:
    with pytest.raises(ValueError, match="dot"):
        signing.sign("msg_1.2", AT, BODY, [signing.parse_secret(SYMMETRIC)])
