"""What the work at hand is about: the ids that its log lines, spans and error reports share."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass


@dataclass(slots=True)
class About:
    """Ids as the wire writes them; None where there is none, or none is known yet.

    One object for a request, an attempt or a task: whoever learns an id sets it, and all that belongs to the same work
    sees it, in whatever thread or task it runs.
    """

    request_id: str | None = None
    trace_id: str | None = None
    organisation_id: str | None = None
    application_id: str | None = None
    message_id: str | None = None
    endpoint_id: str | None = None
    attempt_id: str | None = None
    task: str | None = None

    def known(self) -> dict[str, str]:
        """Those that are known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


_about: ContextVar[About | None] = ContextVar("about", default=None)


def begin(about: About) -> None:
    """Says what this task or thread works on from here on."""
    _about.set(about)


def current() -> About:
    """What is worked on; what is set on it where nothing was begun is forgotten."""
    return _about.get() or About()


@contextmanager
def during(about: About) -> Iterator[About]:
    """Says so for the block."""
    token = _about.set(about)
    try:
        yield about
    finally:
        _about.reset(token)
