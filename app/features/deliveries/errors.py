"""Refusals of this slice."""

from app.kit.errors import Kind, Problem


def missing_payload() -> Problem:
    """The payload expired or was expunged."""
    return Problem(Kind.bad_request, "missing_payload", "The payload is gone: it expired or was expunged")


def endpoint_disabled() -> Problem:
    """Nothing is sent to an endpoint that is disabled."""
    return Problem(Kind.bad_request, "endpoint_disabled", "The endpoint is disabled; enable it first")
