"""The place of a span as it travels: 25 bytes in the database, a header on the wire."""

import pytest

from app.kit.telemetry.trace_context import as_context, as_span, from_header, is_sampled, of_span, to_header, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("header", [HEADER, f"00-{TRACE}-{SPAN}-00"])
def test_a_header_comes_back_as_it_was(header: str) -> None:
    carried = from_header(header.encode())
    assert carried is not None
    assert len(carried) == 25
    assert to_header(carried) == header


def test_a_later_version_may_say_more() -> None:
    carried = from_header(f"cc-{TRACE}-{SPAN}-09-what-comes-next".encode())
    assert carried is not None
    assert to_header(carried) == HEADER


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        HEADER + "-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f" {HEADER}",
        f"{HEADER}\n",
    ],
)
def test_what_is_malformed_counts_as_none(header: str) -> None:
    assert from_header(header.encode()) is None


def test_a_place_is_the_sdks_place() -> None:
    carried = from_header(HEADER.encode())
    assert carried is not None
    context = as_context(carried)
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (TRACE, SPAN)
    assert context.trace_flags.sampled
    assert of_span(as_span(carried)) == carried
    assert trace_id(carried) == TRACE


def test_only_what_says_so_is_sampled() -> None:
    assert is_sampled(from_header(HEADER.encode()))
    assert not is_sampled(from_header(HEADER[:-1].encode() + b"0"))
    assert not is_sampled(None)
