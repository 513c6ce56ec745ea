"""A line for each request: what was asked, what came of it, how long it took."""

import time

from starlette.types import Scope

from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.sampling import Sampler

SERVER_ERROR = 500
OPERATION = "postrider.operation"
"""Where the scope holds the name of the operation, where no route says it."""
EVENT = "request_served"
logger = get_logger(__name__)


class AccessLines:
    """At most so many lines a second of one process, and as many of requests that it failed; the rest is counted.

    A line names the route, never the path or the query, in which anything may stand.
    """

    def __init__(self, per_second: int) -> None:
        self._usual, self._failed = Sampler(EVENT, per_second), Sampler(EVENT, per_second)

    def tell(self, scope: Scope, status: int | None, began: float) -> None:
        """Of a request that came at `began` (`perf_counter`); the status is None when nothing was answered."""
        sampler = self._usual if status is not None and status < SERVER_ERROR else self._failed
        if sampler.takes():
            logger.info(
                EVENT,
                method=scope["method"],
                operation=operation(scope),
                status=status,
                duration_ms=round((time.perf_counter() - began) * 1000, 2),
            )


def operation(scope: Scope) -> str | None:
    """The name of the operation that a request asked for, as far as anybody found one."""
    named: str | None = scope.get(OPERATION)
    return named or getattr(scope.get("route"), "unique_id", None)
