"""Which traces are recorded, decided where they begin."""

import threading
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextvars import ContextVar

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

given_trace_id: ContextVar[str | None] = ContextVar("given_trace_id", default=None)
"""The trace that a request was given before anything about it was recorded."""


class TraceIds(RandomIdGenerator):
    """Begins the trace of a request under the id that its log lines have."""

    def generate_trace_id(self) -> int:
        """A trace id."""
        given = given_trace_id.get()
        return super().generate_trace_id() if given is None else int(given, 16)


class _Choice(Sampler):
    """Leaves a decision to the sampler that it chooses."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The decision, by the first span of a trace here."""
        chosen = self._choose(kind, links or ())
        return chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    @abstractmethod
    def _choose(self, kind: SpanKind | None, links: Sequence[Link]) -> Sampler: ...


class Roots(_Choice):
    """Decides for traces that begin here: a share of them by their ids, and those that go on with one of these.

    What nobody asked for begins none: a statement or a command outside of requests and tasks.
    """

    def __init__(self, share: float) -> None:
        self._share = TraceIdRatioBased(share)

    def get_description(self) -> str:
        """What this is, for people."""
        return f"Roots{{{self._share.get_description()}}}"

    def _choose(self, kind: SpanKind | None, links: Sequence[Link]) -> Sampler:
        if kind in {SpanKind.CLIENT, SpanKind.INTERNAL}:
            return ALWAYS_OFF
        return ALWAYS_ON if any(link.context.trace_flags.sampled for link in links) else self._share


class Callers(_Choice):
    """Decides for requests whose callers record them: so many a second are recorded here as well, others by the share.

    A trace that goes on between our own processes is no caller's any more, and is recorded to its end.
    """

    def __init__(self, share: float, rate: int) -> None:
        self._share = TraceIdRatioBased(share)
        self._rate = rate
        self._left, self._at = float(rate), time.monotonic()
        self._lock = threading.Lock()

    def get_description(self) -> str:
        """What this is, for people."""
        return f"Callers{{{self._rate}/s,{self._share.get_description()}}}"

    def _choose(self, kind: SpanKind | None, links: Sequence[Link]) -> Sampler:  # noqa: ARG002 the other wants them
        return self._share if kind == SpanKind.SERVER and not self._take() else ALWAYS_ON

    def _take(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._left = min(float(self._rate), self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


def head(share: float, callers: int) -> Sampler:
    """Decides for traces that begin here, and follows those who began one elsewhere: so many callers a second."""
    return ParentBased(Roots(share), remote_parent_sampled=Callers(share, callers))
