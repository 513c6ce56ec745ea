"""What programs ask the authorization server for: tokens, their end, and what they are."""

from collections.abc import Callable
from http import HTTPMethod
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from app.auth.audit import where_of
from app.auth.limits import Limits
from app.auth.phases import InPhases, Phases
from app.features.oauth.clients import GrantType
from app.features.oauth.endpoints import Introspection, Revocation
from app.features.oauth.grants import ByCode, ByPassword, ByRefreshToken, InOwnName, OnlyS256
from app.features.oauth.parameters import Asked
from app.features.oauth.server import Server, Surroundings, failed
from app.features.sign_in.circumstances import Circumstances
from app.features.sign_in.passwords import Passwords
from app.kit.errors import Kind, Problem

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS, MAX_BYTES = 50, 64 * 1024
PREFIX = "/oauth"
router = APIRouter(prefix=PREFIX, include_in_schema=False)
Work = Callable[[Server, Asked], JSONResponse]


@router.post("/token")
async def token(request: Request, phases: InPhases) -> Response:
    """Tokens for a grant (RFC 6749, section 3.2)."""
    asked = await read(request)
    if asked.payload.grant_type == GrantType.password:
        return await _by_password(request, phases, asked)
    return await _answer(request, phases, asked, Server.token)


@router.post("/revoke")
async def revoke(request: Request, phases: InPhases) -> Response:
    """Ends a token of the client (RFC 7009)."""
    asked = await read(request)
    return await _answer(request, phases, asked, lambda server, asked: server.endpoint(Revocation, asked))


@router.post("/introspect")
async def introspect(request: Request, phases: InPhases) -> Response:
    """What a token of the client is good for (RFC 7662)."""
    return await _answer(
        request, phases, await read(request), lambda server, asked: server.endpoint(Introspection, asked)
    )


async def _answer(request: Request, phases: Phases, asked: Asked, work: Work) -> Response:
    surroundings = await surroundings_of(request)

    def ask(db: Session) -> JSONResponse:
        server = Server(db, surroundings)
        server.register_grant(ByCode, [OnlyS256()])
        server.register_grant(ByRefreshToken)
        server.register_grant(InOwnName)
        return work(server, asked)

    async with phases.begin() as db:
        answer = await db.run_sync(ask)
    return await _counted(request, answer)


async def _by_password(request: Request, phases: Phases, asked: Asked) -> Response:
    """Tokens for a person's password, which is verified as it is at sign-in, between two transactions."""
    surroundings = await surroundings_of(request)
    async with phases.begin() as db:
        client = await db.run_sync(lambda db: Server(db, surroundings).identify(asked))
    if isinstance(client, JSONResponse):
        return await _counted(request, client)
    proven_id = await _prove(request, phases, asked)

    def ask(db: Session) -> JSONResponse:
        server = Server(db, surroundings, client, proven_id)
        server.register_grant(ByPassword)
        return server.token(asked)

    async with phases.begin(client.row.organisation_id) as db:
        return await db.run_sync(ask)


async def _prove(request: Request, phases: Phases, asked: Asked) -> UUID | None:
    """Whose password it is; None for a wrong one. Raises Problem `too_many`, `unavailable`."""
    passwords: Passwords = request.app.state.passwords
    given = asked.form
    try:
        proven = await passwords.prove(phases, given["username"], given["password"], Circumstances(where_of(request)))
    except Problem as problem:
        if problem.kind is Kind.unauthenticated:
            return None
        raise
    return proven.user_id


async def read(request: Request) -> Asked:
    """What a client asks. Problem `unsupported_media` for what is no form, `invalid_request` for two credentials."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(Kind.unsupported_media, "unsupported_media_type", f"Content-Type must be {FORM}")
    if len(request.headers.getlist("authorization")) > 1:
        raise Problem(Kind.bad_request, "invalid_request", "The request carries more than one credential; send one")
    fields: FormData = await request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=MAX_BYTES)
    pairs = [(name, value) for name, value in fields.multi_items() if isinstance(value, str)]
    uri = request.app.state.settings.issuer + request.url.path
    return Asked(HTTPMethod.POST, uri, pairs, request.headers)


async def surroundings_of(request: Request) -> Surroundings:
    """What the server needs of the process and of the request."""
    state = request.app.state
    return Surroundings(
        keys=await state.signing_keys.current(),
        ring=state.keyring,
        issuer=state.settings.issuer,
        where=where_of(request),
        grace=state.settings.oauth.refresh_grace_seconds,
    )


async def _counted(request: Request, answer: JSONResponse) -> JSONResponse:
    """The answer. Raises Problem `limit_reached` for one client too many that could not show who it is."""
    limits: Limits = request.app.state.limits
    spent = await limits.failed(request.scope) if failed(answer) else None
    if spent is not None:
        raise spent
    return answer
