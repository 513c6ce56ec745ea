"""Turns kinds of error into HTTP: always JSON, with the wire's `code` and `detail` and RFC 9457's members."""

import math
from collections.abc import Sequence
from typing import Any

from asyncpg.exceptions import PostgresConnectionError, TooManyConnectionsError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.kit.db import sqlstate
from app.kit.errors import BEARER, Fault, Kind, Problem, changed, forbidden
from app.kit.methods import allowed
from app.kit.telemetry.logs import get_logger

STATUS = {
    Kind.bad_request: 400,
    Kind.unauthenticated: 401,
    Kind.forbidden: 403,
    Kind.not_found: 404,
    Kind.conflict: 409,
    Kind.precondition_failed: 412,
    Kind.too_large: 413,
    Kind.unsupported_media: 415,
    Kind.invalid: 422,
    Kind.precondition_required: 428,
    Kind.too_many: 429,
    Kind.bad_gateway: 502,
    Kind.unavailable: 503,
}
TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Payload too large",
    415: "Unsupported media type",
    422: "Invalid request",
    428: "Precondition required",
    429: "Too many requests",
    431: "Request header fields too large",
    500: "Internal error",
    502: "Bad gateway",
    503: "Service unavailable",
}
CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    415: "unsupported_media_type",
}
METHOD_NOT_ALLOWED = 405
REQUEST_ID = "x-request-id"
REQUEST_ID_KEY = "postrider.request_id"
"""Where the scope holds the request's id."""
UNPARSABLE = ("_parsing", "_type", "enum", "literal_error", "json_invalid")
OUTAGES = (DBAPIError, PoolTimeoutError, OSError, PostgresConnectionError, TooManyConnectionsError)
# Classes of errors that speak of the server or of the way to it: connection, login, database, room, shutdown, disk.
OUTAGE_CLASSES = frozenset({"08", "28", "3D", "53", "57", "58"})
# A policy of row-level security, or a right that the role does not have.
REFUSED_BY_THE_DATABASE = "42501"
logger = get_logger(__name__)


def install(app: FastAPI) -> None:
    """Makes every error of the app JSON."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(StaleDataError, _stale)
    for outage in OUTAGES:
        app.add_exception_handler(outage, _database)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unexpected)


def answer(
    request: Request,
    status: int,
    code: str,
    detail: object,
    headers: dict[str, str] | None = None,
    *,
    word: str | None = None,
) -> JSONResponse:
    """An error body: `detail` is a sentence, or the list of faults of a 422; `word` as in Problem."""
    request_id = request.scope.get(REQUEST_ID_KEY)
    body = described(status, code, detail, request.scope["path"], request_id, word)
    return JSONResponse(body, status, headers)


def described(
    status: int, code: str, detail: object, instance: str, request_id: str | None, word: str | None = None
) -> dict[str, object]:
    """The members of an error body."""
    return {
        "code": code,
        "detail": detail,
        "type": f"urn:postrider:error:{word or code.replace(' ', '_')}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "instance": instance,
        "requestId": request_id,
    }


async def refused(request: Request, error: Exception) -> Response:
    """The answer to whatever was raised, for what stands before the app's own handlers."""
    if isinstance(error, Problem):
        return problem_answer(request, error)
    if isinstance(error, HTTPException):
        return await _http(request, error)
    return await (_database if isinstance(error, OUTAGES) else _unexpected)(request, error)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem_answer(request, error)


async def _stale(request: Request, _error: Exception) -> JSONResponse:
    return problem_answer(request, changed())


def problem_answer(request: Request, error: Problem) -> JSONResponse:
    """The answer to a problem that a route or a middleware met."""
    status = STATUS[error.kind]
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.kind is Kind.unauthenticated or error.challenge != BEARER:
        headers["WWW-Authenticate"] = error.challenge
    detail: object = _faults(error.faults) if error.kind is Kind.invalid else error.detail
    return answer(request, status, error.code, detail, headers, word=error.word)


def _faults(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    return [{"loc": [str(part) for part in one.loc], "msg": one.msg, "type": one.type} for one in faults]


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [Fault(tuple(one["loc"]), one["msg"], one["type"]) for one in error.errors()]
    unparsable = [one for one in faults if one.loc[0] == "query" and one.type.endswith(UNPARSABLE)]
    if unparsable:
        first = unparsable[0]
        return answer(request, 400, "bad_request", f"query parameter {first.loc[-1]}: {first.msg}")
    return answer(request, 422, "invalid", _faults(faults))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == METHOD_NOT_ALLOWED:
        # The router knows the methods of one route only, and none of them takes OPTIONS.
        headers["Allow"] = ", ".join(allowed(request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    return answer(request, error.status_code, CODES.get(error.status_code, "error"), error.detail, headers)


async def _database(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, DBAPIError) and sqlstate(error) == REFUSED_BY_THE_DATABASE:
        # Nobody got at anything, but a check of ours that stands before the database's did not bite.
        logger.error("database_refused_request", exc_info=error)
        return problem_answer(request, forbidden())
    if isinstance(error, DBAPIError) and not _is_outage(error):
        return await _unexpected(request, error)
    logger.warning("database_unavailable", error=type(error).__name__)
    detail = "The service cannot reach its database; try again"
    return answer(request, 503, "unavailable", detail, {"Retry-After": "1"})


async def _gone(request: Request, _error: Exception) -> JSONResponse:
    # Nobody reads it; but neither is it an error of ours that would be worth a line.
    return answer(request, 400, "bad_request", "The body did not come whole")


def _is_outage(error: DBAPIError) -> bool:
    return error.connection_invalidated or isinstance(error, OperationalError) or sqlstate(error)[:2] in OUTAGE_CLASSES


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("request_failed", exc_info=error)
    return answer(request, 500, "internal_error", "Something went wrong; the request id names it in our logs")
