"""The page that a portal link opens: an application's endpoints and what was last tried at them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session

from app.auth.entrance import Entrance
from app.auth.portal import PAGE
from app.console import queries
from app.console.pages import HEADERS, render
from app.domain.ids import encode
from app.kit.db import enter_tenants
from app.kit.errors import Problem
from app.models import Application, Attempt, Endpoint, Status

COOKIE = "postrider_portal"
REASONS = {"gone": "it answered 410 Gone", "failing": "it failed for days"}
router = APIRouter(include_in_schema=False, prefix=PAGE)


@dataclass(frozen=True, slots=True)
class ShownEndpoint:
    """An endpoint on the page."""

    url: str
    description: str
    disabled: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """An attempt on the page; `answer` is the status code, or why there was none."""

    at: datetime
    event_type: str
    message: str
    url: str
    succeeded: bool
    manual: bool
    answer: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Portal:
    """All that the page shows."""

    application: str
    endpoints: list[ShownEndpoint]
    attempts: list[ShownAttempt]


@router.get("")
async def portal(request: Request, token: str | None = None) -> Response:
    """The page, for whoever holds a portal token in its cookie; a token in the URL moves into the cookie first."""
    if token is not None:
        return await _enter(request, token)
    holder = await _holder(request, request.cookies.get(COOKIE))
    if holder is None:
        return _closed(request)
    async with request.app.state.sessions.begin() as db:
        shown = await db.run_sync(_look, holder)
    if shown is None:
        return _closed(request)
    return HTMLResponse(render("portal.html", _base(request), portal=shown), headers=HEADERS)


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who holds a portal token."""

    environment_id: UUID
    application_id: UUID
    flags: Collection[str] | None


async def _enter(request: Request, token: str) -> Response:
    if await _holder(request, token) is None:
        return _closed(request)
    page = _base(request) + PAGE
    answer = RedirectResponse(page, status_code=303, headers=HEADERS)
    secure = str(request.app.state.settings.public_url).startswith("https:")
    answer.set_cookie(COOKIE, token, path=page, secure=secure, httponly=True, samesite="lax")
    return answer


async def _holder(request: Request, token: str | None) -> _Holder | None:
    """Who holds the token; None for no token, a bad one, and an API key, which has no business in a browser."""
    entrance: Entrance = request.app.state.entrance
    try:
        caller = await entrance.identify(request.scope, token or "")
    except Problem:
        return None
    if caller.application_id is None:
        return None
    return _Holder(caller.environment_id, caller.application_id, caller.feature_flags)


def _closed(request: Request) -> Response:
    base = _base(request)
    answer = HTMLResponse(render("portal_closed.html", base), status_code=401, headers=HEADERS)
    answer.delete_cookie(COOKIE, path=base + PAGE)
    return answer


def _base(request: Request) -> str:
    """The path under which the outside finds us, without a slash at its end."""
    return urlsplit(str(request.app.state.settings.public_url)).path.rstrip("/")


def _look(db: Session, holder: _Holder) -> Portal | None:
    enter_tenants(db, [holder.environment_id])
    owner = holder.environment_id, holder.application_id
    application: Application | None = db.scalars(queries.application(*owner)).one_or_none()
    if application is None:
        return None
    endpoints = list(db.scalars(queries.endpoints(*owner)))
    ids = [one.id for one in endpoints]
    attempts = db.scalars(queries.last_attempts(holder.environment_id, ids, holder.flags))
    return Portal(application.name, [_endpoint(one) for one in endpoints], [_attempt(one) for one in attempts])


def _endpoint(endpoint: Endpoint) -> ShownEndpoint:
    reason = REASONS.get(endpoint.disabled_reason or "")
    return ShownEndpoint(endpoint.url, endpoint.description, endpoint.disabled, reason)


def _attempt(attempt: Attempt) -> ShownAttempt:
    return ShownAttempt(
        at=attempt.started_at,
        event_type=attempt.event_type,
        message=encode("msg", attempt.message_id),
        url=attempt.url,
        succeeded=attempt.status == Status.success,
        manual=bool(attempt.trigger),
        answer=str(attempt.response_status) if attempt.response_status else (attempt.failure or "no answer"),
        duration_ms=attempt.duration_ms,
    )
