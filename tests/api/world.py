"""An application with endpoints and messages, and what workers would have written about them."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, event, func, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import decode
from app.kit.clock import new_id
from app.models import Attempt, Delivery, DueDelivery, Message, Status, Trigger
from tests.api.client import Api

BACKGROUND = frozenset({"batches", "committer", "keys", "usage", "uses"})
"""Tasks of the API that no request waits for."""


def uuid_of(text: str) -> UUID:
    """The id in a TypeID of any kind."""
    found = decode(text.split("_", maxsplit=1)[0], text)
    assert found is not None
    return found


@dataclass
class World:
    """One application of an organisation, by the API and by the worker's role."""

    api: Api
    sessions: sessionmaker[Session]
    environment_id: UUID
    app_id: str = ""
    endpoints: list[str] = field(default_factory=list)

    async def setup(self, endpoints: int = 1, **more: object) -> "World":
        self.app_id = (await self.api.post("/app", {"name": "world"})).body["id"]
        for _ in range(endpoints):
            await self.endpoint(**more)
        return self

    @property
    def engine(self) -> Engine:
        """The worker's."""
        engine = self.sessions.kw["bind"]
        assert isinstance(engine, Engine)
        return engine

    @property
    def path(self) -> str:
        return f"/app/{self.app_id}"

    async def endpoint(self, **more: object) -> str:
        reply = await self.api.post(f"{self.path}/endpoint", {"url": "http://127.0.0.1:9/hook", **more})
        assert reply.status == 201, reply.raw
        self.endpoints.append(reply.body["id"])
        return self.endpoints[-1]

    async def message(self, event_type: str = "a.b", payload: object = None, **more: object) -> str:
        body = {"eventType": event_type, "payload": {"a": 1} if payload is None else payload, **more}
        return await self.raw_message(json.dumps(body).encode())

    async def raw_message(self, raw: bytes) -> str:
        reply = await self.api.call("POST", f"{self.path}/msg", raw=raw)
        assert reply.status == 202, reply.raw
        found: str = reply.body["id"]
        return found

    def attempt(self, message: str, endpoint: str | None = None, **columns: object) -> UUID:
        """Writes an attempt; by default a success of the schedule, now."""
        made = Attempt(
            **{
                "environment_id": self.environment_id,
                "id": new_id(),
                "application_id": uuid_of(self.app_id),
                "endpoint_id": uuid_of(endpoint or self.endpoints[0]),
                "message_id": uuid_of(message),
                "event_type": "a.b",
                "trigger": Trigger.scheduled,
                "number": 1,
                "status": Status.success,
                "response_status": 200,
                "response": b"fine",
                "duration_ms": 12,
                "url": "http://127.0.0.1:9/hook",
                "started_at": datetime.now(UTC),
                **columns,
            }
        )
        with self.sessions.begin() as db:
            db.add(made)
        return made.id

    def finish(self, message: str, status: Status, endpoint: str | None = None) -> None:
        """Ends the scheduled delivery of a message."""
        key = {
            "environment_id": self.environment_id,
            "endpoint_id": uuid_of(endpoint or self.endpoints[0]),
            "message_id": uuid_of(message),
        }
        with self.sessions.begin() as db:
            db.execute(delete(DueDelivery).filter_by(**key, trigger=Trigger.scheduled))
            db.add(
                Delivery(
                    **key,
                    application_id=uuid_of(self.app_id),
                    status=status,
                    attempts=1,
                    finished_at=datetime.now(UTC),
                )
            )

    def due(self, **where: object) -> list[DueDelivery]:
        """The open deliveries."""
        statement = select(DueDelivery).filter_by(environment_id=self.environment_id, **where)
        with self.sessions() as db:
            return list(db.scalars(statement.order_by(DueDelivery.message_id, DueDelivery.trigger)))

    def set_due(self, message: str, **columns: object) -> None:
        """Changes the open deliveries of a message."""
        with self.sessions.begin() as db:
            db.execute(
                update(DueDelivery)
                .filter_by(environment_id=self.environment_id, message_id=uuid_of(message))
                .values(**columns)
            )

    def expire(self, message: str) -> None:
        """Lets the payload expire a second ago."""
        with self.sessions.begin() as db:
            db.execute(
                update(Message)
                .filter_by(environment_id=self.environment_id, id=uuid_of(message))
                .values(payload_expires_at=func.now() - timedelta(seconds=1))
            )


def _task() -> str:
    try:
        current = asyncio.current_task()
    except RuntimeError:  # a thread without a loop
        return ""
    return current.get_name() if current else ""


@contextmanager
def counted(engine: Engine | type[Engine]) -> Iterator[list[str]]:
    """The statements that an engine executes meanwhile, but for what the API does in the background."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if _task() not in BACKGROUND:
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
