"""What can be wrong with an endpoint, in the wire's codes."""

from collections.abc import Sequence

from app.kit.errors import Fault, Kind, Problem, conflict


def uid_taken() -> Problem:
    """Another endpoint of the application has this uid."""
    return conflict("Another endpoint of the application has this uid")


def uid_taken_meanwhile() -> Problem:
    """Another endpoint got the uid of a deleted one."""
    return conflict("Another endpoint has this uid by now; restore it under another one, or with null under none")


def too_many_secrets(limit: int) -> Problem:
    """As many retired secrets as there may be are still in their grace period."""
    detail = f"{limit} retired secrets are still in their grace period; wait until one expires"
    return Problem(Kind.bad_request, "limit_reached", detail)


def no_example(event_type: str) -> Problem:
    """The event type has nothing that could be sent as an example."""
    detail = f"The event type {event_type} has no schema to make an example of; give a payload"
    return Problem(Kind.bad_request, "no_example", detail)


def too_many_examples(retry_after: float) -> Problem:
    """Examples are for trying an endpoint out, not for load; `retry_after` is in seconds."""
    detail = "Too many examples were sent to this endpoint; wait a little"
    return Problem(Kind.too_many, "limit_reached", detail, retry_after=retry_after)


def endpoint_disabled() -> Problem:
    """A disabled endpoint gets nothing."""
    return conflict("The endpoint is disabled; enable it first")


def unknown_event_types(field: str, names: Sequence[str]) -> Problem:
    """The subscription names event types that there are none of, or that the caller may not know."""
    message = f"there is no event type {', '.join(names)}"
    return Problem(Kind.invalid, "invalid", message, faults=(Fault(("body", field), message, "event_type_unknown"),))


def bad_header(name: str, reason: str) -> Problem:
    """A custom header may not be set; names it."""
    loc = ("body", "headers", name) if name else ("body", "headers")
    return Problem(Kind.invalid, "invalid", reason, faults=(Fault(loc, reason, "header_refused"),))
