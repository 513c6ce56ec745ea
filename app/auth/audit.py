"""The audit trail of a request: who calls, from where, and what came of it."""

from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State
from starlette.types import Scope

from app.auth.caller import Caller
from app.auth.dependencies import AnyCaller, Db
from app.auth.entrance import IDENTIFIED, credential
from app.auth.keys import Callers
from app.domain.audit import Actor, Event, Outcome, Target, Where
from app.domain.ids import encode
from app.kit.errors import Problem
from app.kit.errors_http import REQUEST_ID_KEY
from app.kit.surface.https import log_leaked
from app.models import AuditEvent

NOBODY = Actor("nobody")


class Trail:
    """What a request's route tells the audit log, in the request's own transaction."""

    def __init__(self, db: AsyncSession, caller: Caller, where: Where) -> None:
        self._db = db
        self._caller = caller
        self._where = where

    def record(self, action: str, target: Target, *, outcome: Outcome = Outcome.success, **details: Any) -> None:  # noqa: ANN401 whatever JSON says
        """Writes an event, which is there when, and only when, the request's transaction is committed."""
        caller = self._caller
        event = Event(caller.organisation_id, action, actor_of(caller), target, self._where, outcome, details)
        self._db.add(AuditEvent.of(event))


def where_of(request: Request) -> Where:
    """Where a request came from."""
    return Where(
        ip=request.client.host if request.client else None,
        user_agent=request.headers.get("user-agent", ""),
        request_id=str(request.scope.get(REQUEST_ID_KEY, "")),
    )


def actor_of(caller: Caller) -> Actor:
    """Who a caller is; the label of a person is its client, that of a portal token its application."""
    kind, _, credential = caller.subject.partition(":")
    if caller.user_id is not None and caller.client_id is not None:
        return Actor(kind, encode(kind, caller.user_id), encode("client", caller.client_id))
    if caller.application_id is None:
        return Actor(kind, encode(kind, UUID(credential)))
    return Actor(kind, credential, encode("app", caller.application_id))


async def trail(request: Request, caller: AnyCaller, db: Db) -> Trail:
    """The dependency."""
    return Trail(db, caller, where_of(request))


Trailing = Annotated[Trail, Depends(trail)]


LEAKED = "credential.leaked"
REFUSED = {401: "access.unauthenticated", 403: "access.denied", 429: "access.limited"}


class Refusals(Protocol):
    """Counts refusals, to be written down together."""

    def note(self, organisation_id: UUID | None, actor: Actor, action: str, where: Where) -> None:
        """Counts one."""


def note_refusal(state: State, scope: Scope, status: int) -> None:
    """Counts an answer that refused its caller, of its organisation where that is known."""
    refusals: Refusals = state.refusals
    caller: Caller | None = scope.get(IDENTIFIED)
    actor = NOBODY if caller is None else actor_of(caller)
    refusals.note(None if caller is None else caller.organisation_id, actor, REFUSED[status], where_of(Request(scope)))


async def note_leak(state: State, scope: Scope) -> None:
    """Tells the operator, and its organisation by the audit log, of a credential that came over plain HTTP."""
    await log_leaked(scope)
    request = Request(scope)
    callers: Callers = state.callers
    try:
        caller = await callers.identify(credential(request.headers.get("authorization", ""), basic=True))
    except Problem:
        return  # it opens nothing
    refusals: Refusals = state.refusals
    refusals.note(caller.organisation_id, actor_of(caller), LEAKED, where_of(request))
