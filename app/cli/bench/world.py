"""The tenants of a bench: organisations with a key each, and their applications with an endpoint each."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app.cli.bench.wire import Caller
from app.domain import ids
from app.features.applications import operations as applications
from app.features.endpoints import operations as endpoints
from app.features.organisations import operations as organisations
from app.kit.db import make_engine, make_sessions
from app.kit.encryption import KeyRing

ORGANISATIONS = 50
APPLICATIONS_EACH = 10
# Where the references find the database and the tenants.
DATABASE_VARIABLE, TENANTS_VARIABLE, BROKER_VARIABLE = "BENCH_DATABASE_URL", "BENCH_TENANTS_FILE", "BENCH_BROKER_URL"


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application of the bench with its one endpoint, and the key of its organisation."""

    environment_id: UUID
    application_id: UUID
    endpoint_id: UUID
    key: str

    def caller(self) -> Caller:
        """What the wire knows of it."""
        return Caller(self.key, ids.encode("app", self.application_id))


def make_tenants(migrator_url: str, ring: KeyRing, receiver_url: str) -> list[Tenant]:
    """Makes the tenants, in turns of their organisations. All endpoints are at the receiver."""
    engine = make_engine(migrator_url, pool_size=1, name="postrider-bench")
    try:
        with make_sessions(engine).begin() as db:
            organisations_ = [list(_make_organisation(db, ring, receiver_url)) for _ in range(ORGANISATIONS)]
    finally:
        engine.dispose()
    return [tenant for turn in zip(*organisations_, strict=True) for tenant in turn]


def _make_organisation(db: Session, ring: KeyRing, url: str) -> Iterator[Tenant]:
    organisation_id = organisations.create_organisation(db, "Bench")
    key, text = organisations.create_key(db, organisation_id, organisations.NewKey("bench", "test"))
    environment_id = key.environment_id
    for number in range(APPLICATIONS_EACH):
        application = applications.add(db, environment_id, {"name": f"Bench {number}", "metadata_": {}})
        assert application is not None
        endpoint = endpoints.create(db, ring, application, endpoints.NewEndpoint({"url": f"{url}/{number}"}))
        yield Tenant(environment_id, application.id, endpoint.id, text)


def write_tenants(path: Path, tenants: Sequence[Tenant]) -> None:
    """Writes them for the references, to be read by us alone."""
    path.touch(mode=0o600)
    path.write_text(json.dumps([asdict(one) for one in tenants], default=str))


def read_tenants(path: Path) -> list[Tenant]:
    """What `write_tenants` wrote."""
    return [_read(**one) for one in json.loads(path.read_text())]


def _read(environment_id: str, application_id: str, endpoint_id: str, key: str) -> Tenant:
    return Tenant(UUID(environment_id), UUID(application_id), UUID(endpoint_id), key)
