"""The composition root of the API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.auth.keys import Callers
from app.auth.portal import PortalTokens
from app.kit import errors_http
from app.kit.db import assert_durable, make_async_engine, make_async_sessions
from app.kit.encryption import KeyRing
from app.settings import Secrets, Settings, read_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; gunicorn calls it in each worker process."""
    settings = settings or read_settings()
    app = FastAPI(title="Postrider", lifespan=_lifespan, redirect_slashes=False)
    app.state.settings = settings
    app.state.keyring = open_ring(settings.secrets)
    errors_http.install(app)
    return app


def open_ring(secrets: Secrets) -> KeyRing:
    """The key ring of the settings."""
    return KeyRing.parse({name: key.get_secret_value() for name, key in secrets.keys.items()}, secrets.active)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    database = settings.database
    engine = make_async_engine(
        database.url.get_secret_value(), pool_size=database.pool_size, pooler=database.pooler
    )
    async with engine.connect() as connection:
        await connection.run_sync(assert_durable)
    app.state.engine = engine
    app.state.sessions = make_async_sessions(engine)
    app.state.callers = Callers(engine, PortalTokens(app.state.keyring))
    try:
        yield
    finally:
        await engine.dispose()
