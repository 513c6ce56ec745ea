"""Ids: RFC 9562 bits, published TypeID vectors, round trips."""

from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import ids

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2500, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001

# From the TypeID specification's valid.json; the vectors without a prefix are given one.
VALID = [
    ("prefix", "prefix_00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
    ("prefix", "prefix_00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
    ("prefix", "prefix_0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
    ("prefix", "prefix_0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
    ("prefix", "prefix_00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
    ("prefix", "prefix_7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ("prefix", "prefix_0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
    ("prefix", "prefix_01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ("pre_fix", "pre_fix_00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
]

# From invalid.json, as far as a fixed prefix can meet them, and what int(text, 32) would let pass.
INVALID = [
    "PREFIX_00000000000000000000000000",
    "12345_00000000000000000000000000",
    "pre.fix_00000000000000000000000000",
    "préfix_00000000000000000000000000",
    "  prefix_00000000000000000000000000",
    "_00000000000000000000000000",
    "_",
    "",
    "prefix",
    "prefix_",
    "prefix_1234567890123456789012345",
    "prefix_123456789012345678901234567",
    "prefix_1234567890123456789012345 ",
    "prefix_0123456789ABCDEFGHJKMNPQRS",
    "prefix_123456789-123456789-123456",
    "prefix_ooooooiiiiiiuuuuuuulllllll",
    "prefix_i23456789ol23456789oi23456",
    "prefix_123456789-0123456789-0123456",
    "prefix_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    "_prefix_00000000000000000000000000",
    "prefix__00000000000000000000000000",
    "prefix-00000000000000000000000000",
    "prefix_0000000000000_000000000000",
    "prefix_00000000000000000000000é00",
    "prefix_0000000000000000000000000\n",
    "prefix_٠0000000000000000000000000",
    "other_01h455vb4pex5vsknk084sn02q",
]


@pytest.mark.parametrize(("prefix", "text", "value"), VALID)
def test_published_vectors(prefix: str, text: str, value: str) -> None:
    assert ids.encode(prefix, UUID(value)) == text
    assert ids.decode(prefix, text) == UUID(value)


@pytest.mark.parametrize("text", INVALID)
def test_malformed_text_is_none(text: str) -> None:
    assert ids.decode("prefix", text) is None


@given(st.uuids())
def test_round_trip(value: UUID) -> None:
    assert ids.decode("msg", ids.encode("msg", value)) == value


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    value = ids.decode("msg", "msg_" + text)
    assert value is None or ids.encode("msg", value) == "msg_" + text


@given(st.uuids(), st.uuids())
def test_text_sorts_as_the_value(first: UUID, second: UUID) -> None:
    assert (ids.encode("msg", first) < ids.encode("msg", second)) == (first < second)


@given(st.integers(0, 2**48 - 1), st.integers(0, 4095), st.binary(min_size=8, max_size=8))
def test_uuid7_bits(milliseconds: int, sequence: int, random: bytes) -> None:
    value = ids.uuid7(milliseconds, sequence, random)
    assert value.version == 7
    assert value.variant == RFC_4122
    assert value.int >> 80 == milliseconds
    assert value.int >> 64 & 0xFFF == sequence
    assert value.int & (2**62 - 1) == int.from_bytes(random, "big") & (2**62 - 1)


def test_uuid7_of_rfc_9562() -> None:
    value = ids.uuid7(0x017F22E279B0, 0xCC3, bytes.fromhex("18C4DC0C0C07398F"))
    assert value == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert ids.timestamp(value) == datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)


@pytest.mark.parametrize("parts", [(2**48, 0, bytes(8)), (-1, 0, bytes(8)), (0, 4096, bytes(8)), (0, 0, bytes(7))])
def test_uuid7_refuses_what_does_not_fit(parts: tuple[int, int, bytes]) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        ids.uuid7(*parts)


@given(MOMENTS, st.integers(0, 4095), st.binary(min_size=8, max_size=8))
def test_lowest_bounds_its_millisecond(moment: datetime, sequence: int, random: bytes) -> None:
    bound = ids.lowest(moment)
    value = ids.uuid7(bound.int >> 80, sequence, random)
    assert bound.version == 7
    assert ids.timestamp(bound) <= moment < ids.timestamp(bound) + timedelta(milliseconds=1)
    assert bound <= value < ids.lowest(moment + timedelta(milliseconds=1))
