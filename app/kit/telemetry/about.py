"""What the work at hand is about: the ids that its log lines, spans and error reports share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Self
from uuid import UUID

from app.domain.ids import encode


@dataclass(slots=True)
class About:
    """Ids; None where there is none, or none is known yet.

    One object for a request, an attempt or a task: whoever learns an id sets it, and all that belongs to the same work
    sees it, in whatever thread or task it runs. An id may be set as it is at hand: `known` writes it as the wire does.
    """

    request_id: str | None = None
    trace_id: str | None = None
    organisation_id: UUID | str | None = None
    application_id: UUID | str | None = None
    message_id: UUID | str | None = None
    endpoint_id: UUID | str | None = None
    attempt_id: UUID | str | None = None
    task: str | None = None

    def known(self) -> dict[str, str]:
        """Those that are known, by name."""
        pairs = ((name, getattr(self, name)) for name in NAMES)
        return {name: _written(name, value) for name, value in pairs if value is not None}

    @classmethod
    def read(cls, known: Mapping[str, str]) -> Self:
        """What `known` wrote; names that mean nothing here are passed over."""
        return cls(**{name: known[name] for name in NAMES if isinstance(known.get(name), str)})


NAMES = tuple(one.name for one in fields(About))
_PREFIXES = {
    "organisation_id": "org",
    "application_id": "app",
    "message_id": "msg",
    "endpoint_id": "ep",
    "attempt_id": "atmpt",
}
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


def _written(name: str, value: UUID | str) -> str:
    return value if isinstance(value, str) else encode(_PREFIXES[name], value)
