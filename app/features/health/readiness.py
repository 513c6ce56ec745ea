"""Whether a process of the API can serve: it has started, is not draining, and the database has what it needs."""

import asyncio
import time

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.features.health import queries, revision

TIMEOUT_SECONDS = 2.0
KEEP_SECONDS = 1.0


class Readiness:
    """What is asked of the database is asked once a second at most, however many ask; Redis is not asked at all."""

    def __init__(self) -> None:
        self._engine: AsyncEngine | None = None
        self._is_draining = False
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._fault: str | None = None

    def start(self, engine: AsyncEngine) -> None:
        """The process has started, on this database."""
        self._engine = engine

    def drain(self) -> None:
        """The process serves what it has begun, and nothing new."""
        self._is_draining = True

    def starting(self) -> str | None:
        """What is wrong while the process has not started."""
        return None if self._engine is not None else "starting"

    async def fault(self) -> str | None:
        """Why the process cannot serve, in words; None when it can."""
        if self._engine is None or self._is_draining:
            return "draining" if self._is_draining else "starting"
        async with self._lock:
            if time.monotonic() - self._asked >= KEEP_SECONDS:
                self._fault = await _fault_of(self._engine)
                self._asked = time.monotonic()
        return self._fault


async def _fault_of(engine: AsyncEngine) -> str | None:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), engine.connect() as connection:
            found = await connection.scalar(queries.revision())
    except TimeoutError:
        return f"the database has not answered within {TIMEOUT_SECONDS:g} s"
    except (SQLAlchemyError, OSError) as error:
        return f"the database is out of reach: {type(error).__name__}"
    return revision.fault_of(found or "")
