"""Messages that did not come in, by what they were answered; those that did are counted by their commits."""

from starlette.types import Scope

from app.features.messages.ingest_router import CREATE
from app.kit.telemetry.access import operation
from app.kit.telemetry.metrics import MESSAGES

_REFUSED, _FAILED = MESSAGES.labels("refused"), MESSAGES.labels("failed")
BAD_REQUEST, SERVER_ERROR = 400, 500


def measure_refused(scope: Scope, status: int | None) -> None:
    """Of a request that is over; None when nothing was answered."""
    if status is not None and status >= BAD_REQUEST and operation(scope) == CREATE:
        (_REFUSED if status < SERVER_ERROR else _FAILED).inc()
