"""Organisations, applications and endpoints made in rows, and what is owed to them: where the worker works."""

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import delete, event, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from app.domain import ids
from app.domain.ids import uuid7
from app.domain.signing import generate_symmetric
from app.features.endpoints.sealing import seal_secret
from app.features.messages.operations import Incoming, Result, accept
from app.kit.clock import new_id, utc_now
from app.kit.db import Base, table_of
from app.kit.encryption import KeyRing
from app.models import (
    Application,
    ApplicationKind,
    Attempt,
    Delivery,
    DeliveryAction,
    DueDelivery,
    DueState,
    Endpoint,
    EndpointGate,
    EndpointHealth,
    EndpointSecret,
    Environment,
    EventType,
    Lane,
    Message,
    Organisation,
    Trigger,
)
from worker.delivery.claim import Claimed, Claimer, Demand
from worker.delivery.job import EndpointKey, Job, Sent
from worker.delivery.record import Recorded, record

Row = TypeVar("Row", bound=Base)
SECRET = generate_symmetric(bytes(range(32)))
CAP = 8
LEASE = timedelta(seconds=30)
PLENTY: Mapping[int, int] = {Lane.first: 256, Lane.retry: 128, Lane.replay: 64}
# What a test leaves behind that another would claim.
SHARED: tuple[type[Base], ...] = (DueDelivery, EndpointGate)


@dataclass(frozen=True)
class App:
    """An application of an organisation."""

    environment_id: UUID
    id: UUID
    kind: ApplicationKind = ApplicationKind.tenant

    @property
    def name(self) -> str:
        return ids.encode("app", self.id)

    def incoming(self, **more: Any) -> Incoming:  # noqa: ANN401 fields of Incoming
        """A message for the application."""
        message_id = new_id()
        plain = Incoming(
            environment_id=self.environment_id,
            application=self.name,
            message_id=message_id,
            event_type="a.b",
            body=b'{"n": 1}',
            content_type="application/json",
            expires_at=ids.timestamp(message_id) + timedelta(days=90),
            kind=self.kind,
            response=message_id.bytes,
        )
        return replace(plain, **more)


@dataclass
class House:
    """One database as the worker's role sees it. Every row that is due belongs to the test that runs."""

    sessions: sessionmaker[Session]
    ring: KeyRing
    claimers: dict[int, Claimer] = field(default_factory=dict)

    def add(self, *rows: Base) -> None:
        with self.sessions.begin() as db:
            for row in rows:
                db.add(row)
                db.flush()

    def organisation(self, **columns: object) -> UUID:
        owner = Organisation(id=new_id(), name="org")
        self.add(owner)
        row = Environment(id=new_id(), organisation_id=owner.id, kind="live", **columns)
        self.add(row)
        return row.id

    def app(self, environment_id: UUID | None = None, **columns: object) -> App:
        kind = ApplicationKind(str(columns.get("kind", ApplicationKind.tenant)))
        made = App(environment_id or self.organisation(), new_id(), kind)
        self.add(Application(environment_id=made.environment_id, id=made.id, name="app", metadata_={}, **columns))
        return made

    def endpoint(self, app: App, **columns: object) -> UUID:
        (endpoint_id,) = self.endpoints(app, 1, **columns)
        return endpoint_id

    def endpoints(self, app: App, number: int, **columns: object) -> list[UUID]:
        owner = {"environment_id": app.environment_id, "application_id": app.id}
        values = {"url": "http://127.0.0.1:9/hook", "description": "", "version": 1, "disabled": False, "metadata_": {}}
        made = [Endpoint(id=new_id(), **(owner | values | columns)) for _ in range(number)]
        self.add(*made, *(self.secret(one.environment_id, one.id) for one in made))
        return [one.id for one in made]

    def secret(self, environment_id: UUID, endpoint_id: UUID) -> EndpointSecret:
        sealed = seal_secret(self.ring, environment_id, endpoint_id, SECRET)
        return EndpointSecret(environment_id=environment_id, endpoint_id=endpoint_id, id=new_id(), secret=sealed)

    def event_type(self, environment_id: UUID, name: str = "a.b", **columns: object) -> None:
        values = {"description": "", "archived": False, "deprecated": False}
        self.add(EventType(environment_id=environment_id, name=name, **(values | columns)))

    def accept(self, *batch: Incoming) -> list[Result]:
        with self.sessions.begin() as db:
            return accept(db, batch)

    def send(self, app: App, number: int = 1, **more: object) -> list[UUID]:
        """Accepts messages; their ids."""
        batch = [app.incoming(**more) for _ in range(number)]
        self.accept(*batch)
        return [one.message_id for one in batch]

    def resend(self, app: App, endpoint_id: UUID, message_id: UUID) -> None:
        """Owes a message once more, by hand."""
        (message,) = self.rows(Message, environment_id=app.environment_id, id=message_id)
        self.add(
            DueDelivery(
                environment_id=app.environment_id,
                endpoint_id=endpoint_id,
                message_id=message_id,
                trigger=Trigger.manual,
                application_id=app.id,
                lane=Lane.first,
                state=DueState.ready,
                due_at=self.now(),
                attempt=0,
                failures=0,
                expires_on=message.payload_expires_at.astimezone(UTC).date(),
                event_type=message.event_type,
            )
        )

    def rows(self, model: type[Row], **where: object) -> list[Row]:
        with self.sessions() as db:
            statement = select(model).filter_by(**where).order_by(*table_of(model).primary_key)
            return list(db.scalars(statement))

    def one(self, model: type[Row], **where: object) -> Row:
        (row,) = self.rows(model, **where)
        return row

    def due(self, **where: object) -> list[DueDelivery]:
        return self.rows(DueDelivery, **where)

    def states(self, **where: object) -> Counter[int]:
        return Counter(row.state for row in self.due(**where))

    def gates(self, **where: object) -> list[EndpointGate]:
        return self.rows(EndpointGate, **where)

    def attempts(self, app: App) -> list[Attempt]:
        return self.rows(Attempt, environment_id=app.environment_id)

    def deliveries(self, app: App) -> list[Delivery]:
        return self.rows(Delivery, environment_id=app.environment_id)

    def actions(self, app: App) -> list[DeliveryAction]:
        return self.rows(DeliveryAction, environment_id=app.environment_id)

    def messages(self, app: App) -> list[Message]:
        return self.rows(Message, environment_id=app.environment_id, application_id=app.id)

    def health(self, endpoint_id: UUID) -> EndpointHealth:
        return self.one(EndpointHealth, endpoint_id=endpoint_id)

    def make_unwell(self, app: App, endpoint_id: UUID, **columns: object) -> None:
        """Notes failures of an endpoint; moments are given as seconds from now."""
        moments = {name: self.now(value) for name, value in columns.items() if isinstance(value, float)}
        self.add(EndpointHealth(environment_id=app.environment_id, endpoint_id=endpoint_id, **(columns | moments)))

    def change(self, model: type[Base], values: Mapping[str, object], **where: object) -> None:
        with self.sessions.begin() as db:
            db.execute(update(model).filter_by(**where).values(values))

    def age(self, seconds: float, **where: object) -> None:
        """Makes what is owed due earlier, ends of leases included."""
        self.change(DueDelivery, {"due_at": DueDelivery.due_at - timedelta(seconds=seconds)}, **where)

    def open_gates(self, **where: object) -> None:
        """Lets the time come at which gates may be looked at."""
        self.change(EndpointGate, {"next_at": func.now()}, **where)

    def now(self, seconds: float = 0.0) -> datetime:
        with self.sessions() as db:
            return db.execute(select(func.now())).scalar_one() + timedelta(seconds=seconds)

    def claimer(self, cap: int = CAP) -> Claimer:
        """A process's claimer; the same for the same cap, as in a process."""
        return self.claimers.setdefault(cap, self.new_claimer(cap))

    def new_claimer(self, cap: int = CAP) -> Claimer:
        """Another process's."""
        return Claimer(self.ring, cap=cap, lease=LEASE)

    def claim(
        self,
        room: Mapping[int, int] | None = None,
        *,
        cap: int = CAP,
        share: int = 128,
        in_flight: Mapping[UUID, int] | None = None,
        endpoints: Sequence[EndpointKey] = (),
        claimer: Claimer | None = None,
    ) -> Claimed:
        """Claims once, in a transaction of its own."""
        demand = Demand(dict(PLENTY if room is None else room), share, in_flight or {}, endpoints)
        with self.sessions.begin() as db:
            return (claimer or self.claimer(cap)).claim(db, demand)

    def claim_one(self, **more: Any) -> Job:  # noqa: ANN401 as claim
        (job,) = self.claim(**more).jobs
        return job

    def record(self, *results: Sent) -> Recorded:
        with self.sessions.begin() as db:
            return record(db, results)

    def finish(self, *jobs: Job, status: int | None = 200, **outcome: object) -> Recorded:
        """Records the same outcome for all jobs."""
        return self.record(*(sent(job, status, **outcome) for job in jobs))

    def clear(self) -> None:
        with self.sessions.begin() as db:
            for model in SHARED:
                db.execute(delete(model))

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """The statements that are executed meanwhile."""
        seen: list[str] = []
        engine = self.sessions.kw["bind"]

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            seen.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)

    @staticmethod
    def id_on(day: date) -> UUID:
        """An id as it is made on that day."""
        noon = datetime.combine(day, time(12), UTC)
        return uuid7(int(noon.timestamp() * 1000), 0, secrets.token_bytes(8))

    def partitions(self, table: str) -> set[str]:
        with self.sessions() as db:
            found = db.scalars(
                text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:t AS regclass)"),
                {"t": table},
            )
            return set(found)


def sent(job: Job, status: int | None = 200, **more: Any) -> Sent:  # noqa: ANN401 fields of Sent
    """What came of a job: by default a success."""
    plain = Sent(
        job=job,
        attempt_id=new_id(),
        started_at=utc_now(),
        status=status,
        failure=None,
        detail="",
        body=b"",
        retry_after=None,
        duration_ms=3,
    )
    return replace(plain, **more)
