"""A line for each attempt: of whose message, where to, what came of it, how long it took."""

from uuid import UUID

from app.kit.telemetry.about import About, begin
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.sampling import Sampler
from app.kit.telemetry.trace_context import trace_id
from app.models import Lane
from worker.delivery.job import Job, Sent

EVENT = "attempt_made"
logger = get_logger(__name__)


class AttemptLines:
    """At most so many lines a second of one process, and as many of attempts that failed; the rest is counted."""

    def __init__(self, per_second: int) -> None:
        self._delivered, self._failed = Sampler(EVENT, per_second), Sampler(EVENT, per_second)

    def tell(self, sent: Sent) -> None:
        """Of an attempt that has ended. That an endpoint fails is nothing to warn of: its owner is told."""
        success = sent.verdict.success
        if (self._delivered if success else self._failed).takes():
            logger.info(
                EVENT,
                success=success,
                status=sent.status,
                failure=sent.failure,
                duration_ms=sent.duration_ms,
                lane=Lane(sent.job.lane).name,
                attempt=sent.job.attempt,
                event_type=sent.job.event_type,
            )


def begin_note(job: Job, attempt_id: UUID, traceparent: bytes | None) -> None:
    """Says what the task at hand is about: an attempt, for the request that brought its message."""
    begin(
        About(
            request_id=job.request_id,
            trace_id=None if traceparent is None else trace_id(traceparent),
            organisation_id=job.destination.organisation_id,
            application_id=job.application_id,
            message_id=job.key.message_id,
            endpoint_id=job.key.endpoint_id,
            attempt_id=attempt_id,
        )
    )
