"""Health checks, which need no credential."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.auth.dependencies import admit, require
from app.domain.permissions import Permission
from app.features.health import queries
from app.features.health.readiness import Readiness
from app.features.health.schemas import HealthOut, State
from app.kit import redis
from app.kit.errors import Problem
from app.kit.routing import Router

TIMEOUT_SECONDS = 2.0
router = Router(tag="health", prefix="/health")
probes = APIRouter(include_in_schema=False, default_response_class=PlainTextResponse)


@router.get("", response_model=HealthOut, responses={503: {"model": HealthOut}})
async def get(request: Request) -> Response:
    """Whether the service can do its work; 503 only without the database."""
    state = request.app.state
    database, queue = await asyncio.gather(
        _database_answers(state.engine), redis.answers(state.settings.redis.url.get_secret_value())
    )
    health = HealthOut(status=_word(database))
    if await _may_know_more(request):
        health = HealthOut(status=_word(database), db=_word(database), queue=_word(queue))
    text = health.model_dump_json(exclude_none=True)
    return Response(text, 200 if database else 503, media_type="application/json")


@router.get("/ping", status_code=204)
async def ping() -> None:
    """Whether the process answers at all."""


@probes.get("/livez")
async def livez() -> Response:
    """Whether the process turns: it says so itself."""
    return _words(None)


@probes.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether the process can serve; what is wrong stands in its log, and on the port for those who run it."""
    readiness: Readiness = request.app.state.readiness
    return _words(await readiness.fault())


@probes.get("/startupz")
async def startupz(request: Request) -> Response:
    """Whether the process has started."""
    readiness: Readiness = request.app.state.readiness
    return _words(readiness.starting())


def _words(fault: str | None) -> Response:
    return PlainTextResponse("unavailable\n" if fault else "ok\n", 503 if fault else 200)


async def _may_know_more(request: Request) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            require(await admit(request), Permission.organisation_read)
    except (Problem, SQLAlchemyError, OSError):
        return False
    return True


async def _database_answers(engine: AsyncEngine) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), engine.connect() as connection:
            await connection.execute(queries.nothing())
    except (SQLAlchemyError, OSError, TimeoutError):
        return False
    return True


def _word(answers: bool) -> State:  # noqa: FBT001 it is the subject
    return "ok" if answers else "unavailable"
