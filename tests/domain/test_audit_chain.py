"""The chain over events: whatever is changed in it, the first bad record is found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from app.domain.audit_chain import BEGINNING, Document, Fault, Record, Seal, canonical, first_fault, link

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {"k": KEY.public_key()}
START = datetime(2026, 1, 1, tzinfo=UTC)
SIZE = 3


def event(number: int, **changed: object) -> Document:
    at = (START + timedelta(seconds=number)).isoformat()
    return {"id": f"e{number}", "occurred_at": at, "action": f"thing.{number}"} | changed


def chained(events: list[Document]) -> tuple[list[Record], list[Seal]]:
    """Records of events, and a seal for each three of them."""
    records: list[Record] = []
    seals: list[Seal] = []
    digest = BEGINNING
    for begin in range(0, len(events), SIZE):
        before = digest
        for one in events[begin : begin + SIZE]:
            digest = link(digest, one)
            records.append(Record(len(records) + 1, digest, one))
        sealed_at = (START + timedelta(seconds=len(records))).isoformat()
        seal = Seal("o", len(seals) + 1, begin + 1, len(records), digest, before, sealed_at, "k")
        seals.append(replace(seal, signature=seal.sign(KEY)))
    return records, seals


def sequence(fault: Fault | None) -> int | None:
    return None if fault is None else fault.sequence


def test_the_canonical_form_is_the_one_that_is_documented() -> None:
    document: dict[str, Any] = {"b": [1, True, None], "a": {"ü": 'x"\n', "B": 2**53}}
    assert canonical(document) == b'{"a":{"B":9007199254740992,"\\u00fc":"x\\"\\n"},"b":[1,true,null]}'


def test_a_link_is_the_hash_of_the_one_before_and_the_event() -> None:
    # By sha256sum of 32 zero bytes and {"a":1}.
    assert link(BEGINNING, {"a": 1}).hex() == "b06a229070741292512e8760f470dd7a4c46ccfdf253df781d88dabe58c1ccb1"


@given(st.integers(0, 12))
def test_a_chain_that_nobody_touched_is_sound(count: int) -> None:
    records, seals = chained([event(number) for number in range(count)])
    assert first_fault(records, seals, KEYS) is None


@given(st.data(), st.integers(1, 12))
def test_the_first_bad_record_is_named(data: st.DataObject, count: int) -> None:
    records, seals = chained([event(number) for number in range(count)])
    at = data.draw(st.integers(0, count - 1))
    touch = data.draw(st.sampled_from(["alter", "remove", "rehash", "empty", "insert", "swap"]))
    if touch == "alter":
        records[at] = replace(records[at], event=event(at, action="thing.else"))
    elif touch == "remove":
        del records[at]
    elif touch == "rehash":
        records[at] = replace(records[at], hash=bytes(32))
    elif touch == "empty":
        records[at] = replace(records[at], event=None)
    elif touch == "insert":
        records[at:at] = [replace(records[at], event=event(99))]
    else:
        other = (at + 1) % count
        records[at], records[other] = (
            replace(records[at], event=records[other].event),
            replace(records[other], event=records[at].event),
        )
        at = min(at, other)
    is_same = touch == "swap" and count == 1
    assert sequence(first_fault(records, seals, KEYS)) == (None if is_same else at + 1)


@given(st.data(), st.integers(1, 12))
def test_links_made_anew_without_the_key_end_at_the_seal(data: st.DataObject, count: int) -> None:
    events = [event(number) for number in range(count)]
    _, seals = chained(events)
    at = data.draw(st.integers(0, count - 1))
    events[at] = event(at, action="thing.else")
    records, _ = chained(events)
    assert sequence(first_fault(records, seals, KEYS)) == at // SIZE * SIZE + 1


FORGED = {
    "signature": bytes(64),
    "key_id": "other",
    "hash": bytes(32),
    "last": 5,
    "first": 5,
    "number": 7,
    "previous": bytes(32),
    "sealed_at": START.isoformat(),
}


@pytest.mark.parametrize("field", FORGED)
def test_a_forged_seal_is_named_by_where_it_begins(field: str) -> None:
    records, seals = chained([event(number) for number in range(9)])
    forged: dict[str, Any] = {field: FORGED[field]}
    seals[1] = replace(seals[1], **forged)
    assert sequence(first_fault(records, seals, KEYS)) == 4


def test_a_seal_of_another_key_is_no_seal() -> None:
    records, seals = chained([event(number) for number in range(3)])
    assert sequence(first_fault(records, seals, {"k": Ed25519PrivateKey.generate().public_key()})) == 1


def test_records_without_a_seal_are_named() -> None:
    records, seals = chained([event(number) for number in range(9)])
    assert sequence(first_fault(records, seals[:2], KEYS)) == 7


def test_a_log_that_was_cut_short_is_found_out_by_its_anchors() -> None:
    records, anchors = chained([event(number) for number in range(9)])
    assert first_fault(records[:6], anchors[:2], KEYS) is None
    assert sequence(first_fault(records[:6], anchors[:2], KEYS, anchors)) == 7
    assert sequence(first_fault(records, anchors[:2], KEYS, anchors)) == 7
    assert first_fault(records, anchors, KEYS, anchors[1:2]) is None


def test_a_history_written_anew_is_found_out_by_its_anchors() -> None:
    _, anchors = chained([event(number) for number in range(9)])
    records, seals = chained([event(number, action="thing.else") for number in range(9)])
    assert first_fault(records, seals, KEYS) is None
    assert sequence(first_fault(records, seals, KEYS, anchors[1:2])) == 4


def test_an_event_that_is_written_long_after_it_says_is_named() -> None:
    late = event(-7200)
    records, seals = chained([event(0), event(1), event(2), event(3), late])
    assert sequence(first_fault(records, seals, KEYS)) == 5


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**62))
def test_an_anchor_reads_as_the_seal_that_it_is(digest: bytes, number: int) -> None:
    seal = Seal("o", number, number, number + 1, digest, digest, START.isoformat(), "k")
    seal = replace(seal, signature=seal.sign(KEY))
    assert Seal.of_anchor(seal.anchor()) == seal
    assert seal.is_signed(KEYS)


@pytest.mark.parametrize("line", ["", "{}", "[]", "7", '{"number": 1}', "\x00"])
def test_what_is_no_anchor_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 of JSON or of our own
        Seal.of_anchor(line)
