"""A span's place as it travels with what is done on its behalf: W3C Trace Context in 25 bytes, and as a header."""

import re

from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags

_HEADER = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_FIRST_VERSION = b"00-"
_LENGTH = 55
_TRACE, _SPAN = 16, 24
_SAMPLED = 1

Carried = bytes
"""Trace id (16 bytes), span id (8) and whether it is sampled (1)."""


def from_header(value: bytes) -> Carried | None:
    """What a `traceparent` names; None for one that is malformed, which counts as none."""
    match = _HEADER.fullmatch(value)
    if match is None or (value.startswith(_FIRST_VERSION) and len(value) != _LENGTH):
        return None
    trace, span, flags = match.groups()
    return bytes.fromhex((trace + span).decode()) + bytes([int(flags, 16) & _SAMPLED])


def to_header(carried: Carried) -> str:
    """The `traceparent` that names it."""
    return f"00-{carried[:_TRACE].hex()}-{carried[_TRACE:_SPAN].hex()}-{carried[_SPAN]:02x}"


def trace_id(carried: Carried) -> str:
    """The trace, as logs and the wire write it."""
    return carried[:_TRACE].hex()


def is_sampled(carried: Carried | None) -> bool:
    """Whether its trace is recorded."""
    return carried is not None and carried[_SPAN] == _SAMPLED


def of_span(span: Span) -> Carried:
    """The place of a span."""
    context = span.get_span_context()
    ids = context.trace_id.to_bytes(_TRACE) + context.span_id.to_bytes(_SPAN - _TRACE)
    return ids + bytes([context.trace_flags & _SAMPLED])


def as_context(carried: Carried) -> SpanContext:
    """The place as the SDK knows it: somewhere else."""
    return SpanContext(
        int.from_bytes(carried[:_TRACE]),
        int.from_bytes(carried[_TRACE:_SPAN]),
        is_remote=True,
        trace_flags=TraceFlags(carried[_SPAN]),
    )


def as_span(carried: Carried) -> Span:
    """A span that stands for it, to begin others under."""
    return NonRecordingSpan(as_context(carried))
