"""Rate, errors and duration of requests: the ready-made instrumentation within the frame, a hook for all before it."""

import time
from functools import cache

from fastapi import FastAPI
from prometheus_client import Counter, Histogram
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator.metrics import Info
from starlette.types import Scope

from app.kit.surface.bodies import WAITED
from app.kit.telemetry.metrics import HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS, REFUSALS, Exemplar, exemplar
from app.kit.telemetry.traces import carried

ROUTE = "postrider.route"
"""Where the scope holds the template of a route that the frame does not serve."""
EXEMPLAR = "postrider.exemplar"
"""Where the scope holds the trace of such a request, if it is recorded."""
_MEASURED = "postrider.measured"
_BEFORE = "(before any route)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REFUSED = {status: REFUSALS.labels(str(status)) for status in (401, 403)}


def measure_frame(app: FastAPI) -> None:
    """Has what the app's routes answer measured, by their templates; all that has none is one."""
    Instrumentator(should_group_status_codes=False).add(_measure).instrument(app)


def arrived() -> None:
    """A request has come."""
    HTTP_IN_FLIGHT.inc()


def served(scope: Scope, status: int | None, began: float) -> None:
    """A request that began at `began` (`perf_counter`) is over; measures what the frame has not seen."""
    HTTP_IN_FLIGHT.dec()
    if status in _REFUSED:
        _REFUSED[status].inc()
    if _MEASURED not in scope and status is not None:
        took = time.perf_counter() - began - scope.get(WAITED, 0.0)
        _observe(scope["method"], scope.get(ROUTE, _BEFORE), str(status), took, scope.get(EXEMPLAR))


def _measure(info: Info) -> None:
    info.request.scope[_MEASURED] = True
    took = info.modified_duration - info.request.scope.get(WAITED, 0.0)
    _observe(info.method, info.modified_handler, info.modified_status, took, exemplar(carried()))


def _observe(method: str, route: str, status: str, seconds: float, seen_in: Exemplar) -> None:
    known = method if method in _METHODS else "other"
    count, duration = _children(known, route, status)
    count.inc()
    duration.observe(seconds, seen_in)


@cache
def _children(method: str, route: str, status: str) -> tuple[Counter, Histogram]:
    return HTTP_REQUESTS.labels(method, route, status), HTTP_SECONDS.labels(method, route)
